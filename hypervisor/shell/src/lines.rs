//! Text of many lines, taken a line at a time: nobody has to hold all of it.

use alloc::string::String;
use core::fmt;

/// Bytes of one line that are kept; the rest of it is cut off.
const LONGEST_LINE: usize = 1024;

/// Hands on each line that is written to it. What has no line end yet is handed on by [`finish`](Self::finish).
#[derive(Debug)]
pub struct Lines<F> {
    line: String,
    take: F,
}

impl<F: FnMut(&str)> Lines<F> {
    /// Hands lines to `take`.
    pub fn new(take: F) -> Self {
        Lines {
            line: String::new(),
            take,
        }
    }

    /// Hands on what is left.
    pub fn finish(mut self) {
        if !self.line.is_empty() {
            (self.take)(&self.line);
        }
    }
}

impl<F: FnMut(&str)> fmt::Write for Lines<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if letter == '\n' {
                (self.take)(&self.line);
                self.line.clear();
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(letter);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use std::vec::Vec;

    fn lines(parts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::new(|line: &str| found.push(line.into()));
        parts.iter().for_each(|part| lines.write_str(part).unwrap());
        lines.finish();
        found
    }

    #[test]
    fn lines_are_handed_on_whole_however_they_are_written() {
        assert_eq!(lines(&["one\ntw", "o\n\nthr", "ee"]), ["one", "two", "", "three"]);
        assert_eq!(lines(&["one\n"]), ["one"]);
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_share() {
        let long = "x".repeat(3 * LONGEST_LINE);
        let found = lines(&[&long, &long, "\nnext"]);
        assert_eq!((found[0].len(), found[1].as_str()), (LONGEST_LINE, "next"));
    }
}
