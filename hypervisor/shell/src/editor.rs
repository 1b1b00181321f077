//! A line while it is typed.

use alloc::string::String;

/// The longest line that is taken.
pub const LONGEST: usize = 120;

/// What came of a byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing to be seen.
    Nothing,
    /// A character was added: echo it.
    Added(char),
    /// The last character was taken back.
    Erased,
    /// All characters were taken back.
    Cleared,
    /// The line is complete.
    Line(String),
    /// The line is complete, and was too long to be kept.
    TooLong,
}

/// Collects bytes until a line is complete. Its memory is bounded by [`LONGEST`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Editor {
    line: String,
    too_long: bool,
    /// The last byte was a carriage return, so a line feed behind it ends nothing.
    after_return: bool,
}

impl Editor {
    /// An empty line.
    pub const fn new() -> Editor {
        Editor {
            line: String::new(),
            too_long: false,
            after_return: false,
        }
    }

    /// What was typed of a line that is not complete.
    pub fn unfinished(&self) -> &str {
        &self.line
    }

    /// Takes the next byte.
    pub fn take(&mut self, byte: u8) -> Event {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => Event::Nothing,
            b'\r' | b'\n' => self.complete(),
            // Backspace and delete: terminals disagree about which of them the key sends.
            0x08 | 0x7f => match self.line.pop() {
                Some(_) => Event::Erased,
                None => Event::Nothing,
            },
            // Ctrl-C and Ctrl-U.
            0x03 | 0x15 => {
                *self = Editor::default();
                Event::Cleared
            }
            b' '..=b'~' => self.add(char::from(byte)),
            _ => Event::Nothing,
        }
    }

    fn add(&mut self, letter: char) -> Event {
        if self.line.len() >= LONGEST {
            self.too_long = true;
            return Event::Nothing;
        }
        self.line.push(letter);
        Event::Added(letter)
    }

    fn complete(&mut self) -> Event {
        let line = core::mem::take(&mut self.line);
        if core::mem::take(&mut self.too_long) {
            Event::TooLong
        } else {
            Event::Line(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn lines(bytes: &[u8]) -> Vec<Event> {
        let mut editor = Editor::default();
        let events = bytes.iter().map(|byte| editor.take(*byte));
        events
            .filter(|event| matches!(event, Event::Line(_) | Event::TooLong))
            .collect()
    }

    fn line(text: &str) -> Event {
        Event::Line(text.into())
    }

    #[test]
    fn every_line_end_ends_one_line() {
        assert_eq!(
            lines(b"a\rb\nc\r\nd\n\re\r"),
            ["a", "b", "c", "d", "", "e"].map(line)
        );
        assert_eq!(lines(b"\n\n"), ["", ""].map(line));
    }

    #[test]
    fn mistakes_can_be_taken_back() {
        assert_eq!(lines(b"whz\x08y\x7f\x7f\x7f\x7fok\n"), ["ok"].map(line));
        assert_eq!(lines(b"rubbish\x15help\nmore\x03\n"), ["help", ""].map(line));
        let mut editor = Editor::default();
        assert_eq!(editor.take(0x7f), Event::Nothing);
        assert_eq!(
            [editor.take(b'a'), editor.take(0x7f)],
            [Event::Added('a'), Event::Erased]
        );
    }

    #[test]
    fn what_is_no_text_is_not_taken() {
        assert_eq!(lines(b"\x1b[Ahe\0l\xc3\xa9p\t\n"), ["[Ahelp"].map(line));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_as_a_whole() {
        let mut typed = [b'x'; LONGEST + 1].to_vec();
        typed.extend_from_slice(b"\nhelp\n");
        assert_eq!(lines(&typed), [Event::TooLong, line("help")]);
        let mut typed = [b'x'; LONGEST].to_vec();
        typed.push(b'\n');
        assert_eq!(lines(&typed), [line(&"x".repeat(LONGEST))]);
        // Clearing it makes room again.
        let mut typed = [b'x'; 2 * LONGEST].to_vec();
        typed.extend_from_slice(b"\x15help\n");
        assert_eq!(lines(&typed), ["help"].map(line));
    }
}
