//! Standard output: `print!` and `println!` that end the program quietly when nobody reads any more, as behind `| head`.
//!
//! They take the place of the standard ones in every file of this program: those panic then.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};
use std::process::exit;

/// What a shell says of a program that was ended by SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

macro_rules! print {
    ($($text:tt)*) => {
        $crate::output::write(format_args!($($text)*))
    };
}

macro_rules! println {
    () => {
        $crate::output::write(format_args!("\n"))
    };
    ($($text:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Writes to standard output. QEMU, if it runs, dies with this program.
pub(crate) fn write(text: Arguments<'_>) {
    match stdout().write_fmt(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(NOBODY_READS),
        Err(error) => {
            eprintln!("\nerror: cannot write to standard output: {error}");
            exit(1);
        }
    }
}
