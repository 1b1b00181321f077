//! What a guest writes on its console, line by line.

use arrayvec::ArrayVec;

/// The longest line that is kept together; a longer one goes out in pieces.
pub const LINE_LENGTH: usize = 256;

/// A line of guest output, without its end. Any byte may be in it: escape before printing.
pub type Line = ArrayVec<u8, LINE_LENGTH>;

/// Collects bytes until a line is complete.
#[derive(Debug, Clone, Default)]
pub struct LineBuffer(Line);

impl LineBuffer {
    /// Takes a byte. Returns a line when it ended one, or when there was no room for it in the last one.
    pub fn push(&mut self, byte: u8) -> Option<Line> {
        if byte == b'\n' {
            let mut line = core::mem::take(&mut self.0);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Some(line);
        }
        let full = self.0.is_full().then(|| core::mem::take(&mut self.0));
        self.0.push(byte);
        full
    }

    /// What was written since the last line ended, if anything.
    pub fn take(&mut self) -> Option<Line> {
        Some(core::mem::take(&mut self.0)).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(lines: &mut LineBuffer, text: &str) -> Vec<Line> {
        text.bytes().filter_map(|byte| lines.push(byte)).collect()
    }

    #[test]
    fn output_comes_out_by_lines() {
        let mut buffer = LineBuffer::default();
        let lines = print(&mut buffer, "one\r\ntwo\n\nthr");
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_slice()).collect();
        assert_eq!(lines, [b"one".as_slice(), b"two", b""]);
        assert_eq!(buffer.take().as_deref(), Some(b"thr".as_slice()));
        assert_eq!(buffer.take(), None);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let mut buffer = LineBuffer::default();
        let lines = print(&mut buffer, &"x".repeat(600));
        assert_eq!(
            lines.iter().map(|line| line.len()).collect::<Vec<_>>(),
            [LINE_LENGTH, LINE_LENGTH]
        );
        assert_eq!(buffer.take().unwrap().len(), 600 - 2 * LINE_LENGTH);
    }
}
