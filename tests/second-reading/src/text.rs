//! The text that dtc prints, as a [`Tree`].
//!
//! That is less than what dtc reads: no references, no expressions, no includes. Anything else is an error with its line.

use crate::tree::Tree;
use crate::value;

/// Nodes deeper than this are refused: Linux refuses them too.
const DEEPEST: usize = 64;

/// Where the text is not what dtc prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else has to stand here.
    #[error("here should be {0}")]
    Expected(&'static str),
    /// A character after `\` that dtc never prints there.
    #[error("no such escape in a string")]
    Escape,
    /// What stands between `<` and `>` is no number of 32 bits.
    #[error("no cell")]
    Cell,
    /// What stands between `[` and `]` is no byte of two digits.
    #[error("no byte")]
    Byte,
    /// A node has two properties of one name.
    #[error("this property is here for the second time")]
    SecondProperty,
    /// There are more levels of nodes than any tree needs.
    #[error("nodes are nested deeper than {DEEPEST}")]
    TooDeep,
}

/// The rest of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest<'a>(pub(crate) &'a str);

impl Tree {
    /// Reads what `dtc -O dts` prints.
    ///
    /// # Errors
    /// The first place where the text is something else.
    pub fn parse(text: &str) -> Result<Tree, TextError> {
        let mut rest = Rest(text);
        file(&mut rest).map_err(|problem| {
            let read = text.len().saturating_sub(rest.0.len());
            let lines_before = text.bytes().take(read).filter(|byte| *byte == b'\n').count();
            TextError {
                line: lines_before + 1,
                problem,
            }
        })
    }
}

fn file(rest: &mut Rest<'_>) -> Result<Tree, Problem> {
    rest.expect("/dts-v1/", "/dts-v1/")?;
    rest.expect(";", "a semicolon")?;
    while rest.take("/memreserve/") {
        rest.word("an address")?;
        rest.word("a size")?;
        rest.expect(";", "a semicolon")?;
    }
    rest.expect("/", "the root node")?;
    rest.expect("{", "the root node")?;
    let mut tree = Tree::default();
    let mut open = vec![tree.add_node(None, "")];
    while let Some(node) = open.last().copied() {
        if rest.take("}") {
            rest.expect(";", "a semicolon")?;
            open.pop();
            continue;
        }
        let name = name_after_labels(rest)?;
        if rest.take("{") {
            if open.len() == DEEPEST {
                return Err(Problem::TooDeep);
            }
            open.push(tree.add_node(Some(node), name));
            continue;
        }
        let value = if rest.take("=") {
            value::read(rest)?
        } else {
            Vec::new()
        };
        rest.expect(";", "a semicolon")?;
        if !tree.add_property(node, name, value) {
            return Err(Problem::SecondProperty);
        }
    }
    if !rest.skip_space().is_empty() {
        return Err(Problem::Expected("the end"));
    }
    tree.learn_phandles();
    Ok(tree)
}

/// The name of a node or property. Labels are only for other sources, and nothing refers to them here.
fn name_after_labels<'a>(rest: &mut Rest<'a>) -> Result<&'a str, Problem> {
    loop {
        let name = rest.word("a name")?;
        if !rest.take(":") {
            return Ok(name);
        }
    }
}

impl<'a> Rest<'a> {
    /// Skips white space, and says what is left.
    pub(crate) fn skip_space(&mut self) -> &'a str {
        self.0 = self.0.trim_ascii_start();
        self.0
    }

    /// Takes `token`, if it comes next.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        let after = self.skip_space().strip_prefix(token);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    fn expect(&mut self, token: &str, what: &'static str) -> Result<(), Problem> {
        self.take(token).then_some(()).ok_or(Problem::Expected(what))
    }

    /// Takes the longest run of characters that names and numbers are made of.
    pub(crate) fn word(&mut self, what: &'static str) -> Result<&'a str, Problem> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b",._+*#?@-".contains(&byte);
        let text = self.skip_space();
        let length = text.bytes().take_while(|byte| is_part(*byte)).count();
        match text.split_at_checked(length) {
            Some((word, after)) if length > 0 => {
                self.0 = after;
                Ok(word)
            }
            _ => Err(Problem::Expected(what)),
        }
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
