//! Standard output: `print!` and `println!` that end the program quietly when nobody reads any more, as behind `| head`.
//!
//! They take the place of the standard ones in every file of this program: those panic then.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write, stdout};
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
    end_if_failed(stdout().write_fmt(text));
}

/// Writes bytes that somebody wants to see now, whether they end a line or not.
pub(crate) fn write_now(bytes: &[u8]) {
    let mut stdout = stdout().lock();
    end_if_failed(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

fn end_if_failed(outcome: io::Result<()>) {
    match outcome {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(NOBODY_READS),
        Err(error) => {
            eprintln!("\nerror: cannot write to standard output: {error}");
            exit(1);
        }
    }
}
