//! A sheet of SVG that grows downwards.

use std::fmt::Write;

/// What is drawn so far, and how far down.
pub(crate) struct Sheet {
    body: String,
    width: usize,
    y: usize,
    /// Added to `y` for what is drawn next.
    offset: usize,
}

impl Sheet {
    /// An empty sheet.
    pub(crate) fn new(width: usize) -> Self {
        Sheet {
            body: String::new(),
            width,
            y: 0,
            offset: 0,
        }
    }

    /// Goes on below.
    pub(crate) fn down(&mut self, by: usize) {
        self.y += by;
        self.offset = 0;
    }

    /// Draws next so far below where the sheet goes on.
    pub(crate) fn at(&mut self, offset: usize) -> &mut Self {
        self.offset = offset;
        self
    }

    /// A line of text.
    pub(crate) fn text(&mut self, x: usize, size: usize, weight: &str, colour: &str, text: &str) {
        let y = self.y + self.offset;
        self.add(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" font-weight=\"{weight}\" fill=\"{colour}\">{}</text>",
            escaped(text)
        ));
    }

    /// A line of text that shows `hint` under the pointer.
    pub(crate) fn hinted_text(&mut self, x: usize, size: usize, colour: &str, text: &str, hint: &str) {
        let y = self.y + self.offset;
        self.add(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\">{}<title>{}</title></text>",
            escaped(text),
            escaped(hint)
        ));
    }

    /// A dot.
    pub(crate) fn dot(&mut self, x: usize, colour: &str) {
        let y = self.y + self.offset;
        self.add(format_args!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>"
        ));
    }

    /// A dot at the middle of the letters of a text at the same place.
    pub(crate) fn dot_above(&mut self, x: usize, colour: &str) {
        let y = (self.y + self.offset).saturating_sub(4);
        self.add(format_args!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>"
        ));
    }

    /// A frame with rounded corners.
    pub(crate) fn rect(&mut self, x: usize, offset: usize, width: usize, height: usize, colour: &str) {
        let y = self.y + offset;
        self.add(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#f5f7fa\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        ));
    }

    /// A level line: dotted first, then a gap, then solid.
    pub(crate) fn line(&mut self, from: usize, gap: usize, (solid, to): (usize, usize), colour: &str) {
        let y = self.y + self.offset;
        self.add(format_args!(
            "<path d=\"M{from} {y}H{gap}\" stroke=\"{colour}\" stroke-dasharray=\"1 4\" opacity=\"0.6\"/>\
             <path d=\"M{solid} {y}H{to}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        ));
    }

    /// The whole picture.
    pub(crate) fn finish(self) -> String {
        let (width, height) = (self.width, self.y + 24);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// At most so many characters, left out in the middle: both ends of a path tell something.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_string();
    }
    let keep = most.saturating_sub(1);
    let head: String = text.chars().take(keep / 3).collect();
    let tail: String = text.chars().skip(count - (keep - keep / 3)).collect();
    format!("{head}…{tail}")
}

/// Lines of at most so many characters, broken between words where there are any.
pub(crate) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            let fits = line.is_empty() || line.chars().count() + 1 + word.chars().count() <= most;
            match (fits, line.is_empty()) {
                (true, true) => line.push_str(word),
                (true, false) => {
                    line.push(' ');
                    line.push_str(word);
                }
                (false, _) => lines.push(word.to_string()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_tree_is_no_markup() {
        let mut sheet = Sheet::new(10);
        sheet.hinted_text(0, 1, "#000", "<script>", "\"&\"");
        let text = sheet.finish();
        assert!(
            text.contains(">&lt;script&gt;<title>&quot;&amp;&quot;</title>"),
            "{text}"
        );
    }

    #[test]
    fn long_paths_keep_both_ends() {
        assert_eq!(shortened("/soc/usb@1000", 13), "/soc/usb@1000");
        assert_eq!(shortened("/soc/a-bus/usb@1000", 10), "/so…b@1000");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }
}
