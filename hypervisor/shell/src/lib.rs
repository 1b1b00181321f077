//! What a person types at the core's console: a line, then a command.
//!
//! [`Keys`] keeps the keys for the console itself apart, [`Editor`] makes lines of bytes, [`Command`] makes sense of a line.
//! All are pure: who owns the UART feeds and echoes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod command;
mod editor;
mod keys;
mod lines;
mod pace;

pub use command::{Command, HELP};
pub use editor::{Editor, Event, LONGEST};
pub use keys::{Key, Keys};
pub use lines::Lines;
pub use pace::Pace;
