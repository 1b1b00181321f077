//! Compiles the subset of device tree source that our fixtures use, so that host tests need no `dtc`.
//!
//! It knows nodes, labels, cells in `<>` (numbers and `&label`), texts, bytes in `[]`, `/memreserve/` and
//! comments. What it does not know is an error, never left out. Included by path, as `blob.rs` is.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::blob::Writer;

/// One piece of a property's value.
enum Piece {
    Cell(u32),
    Reference(String),
    Bytes(Vec<u8>),
}

#[derive(Default)]
struct Node {
    name: String,
    label: Option<String>,
    properties: Vec<(String, Vec<Piece>)>,
    children: Vec<Node>,
}

/// The blob of a source text. Nodes that are referred to and have no `phandle` get one.
pub(crate) fn compile(source: &str) -> Result<Vec<u8>, String> {
    let mut parser = Parser {
        tokens: tokens(source)?.into_iter().peekable(),
    };
    let mut writer = Writer::default();
    let mut root = None;
    while let Some(token) = parser.tokens.next() {
        match token.as_str() {
            "/dts-v1/" => parser.expect(";")?,
            "/memreserve/" => {
                writer.reserve(number(&parser.next()?)?, number(&parser.next()?)?);
                parser.expect(";")?;
            }
            "/" => root = Some(parser.node(String::new(), None)?),
            other => return Err(format!("unexpected {other:?} outside the root")),
        }
    }
    let mut root = root.ok_or("no root node")?;
    let mut labels = BTreeMap::new();
    let mut next = 1;
    assign(&mut root, &mut labels, &mut next)?;
    write(&root, &labels, &mut writer)?;
    Ok(writer.finish())
}

/// Splits the text into words, texts with their quotes, and punctuation.
fn tokens(source: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").ok_or("comment without end")?.1;
            continue;
        } else if first == '"' {
            rest[1..].find('"').ok_or("text without end")? + 2
        } else if "{}<>[];=".contains(first) {
            1
        } else if rest.starts_with("/dts-v1/") || rest.starts_with("/memreserve/") {
            rest[1..].find('/').ok_or("directive without end")? + 2
        } else if first == '/' {
            1
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "{}<>[];=\"".contains(c))
                .unwrap_or(rest.len());
            // A comma separates values only outside names; names have none at their end.
            let word = &rest[..end];
            if word == "," {
                1
            } else {
                word.trim_end_matches(',').len()
            }
        };
        found.push(rest[..length].to_owned());
        rest = &rest[length..];
    }
    Ok(found)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl Parser {
    fn next(&mut self) -> Result<String, String> {
        self.tokens.next().ok_or_else(|| "unexpected end".to_owned())
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let token = self.next()?;
        if token == wanted {
            Ok(())
        } else {
            Err(format!("{token:?} instead of {wanted:?}"))
        }
    }

    fn node(&mut self, name: String, label: Option<String>) -> Result<Node, String> {
        let mut node = Node {
            name,
            label,
            ..Node::default()
        };
        self.expect("{")?;
        loop {
            let mut word = self.next()?;
            if word == "}" {
                self.expect(";")?;
                return Ok(node);
            }
            let label = word.strip_suffix(':').map(str::to_owned);
            if label.is_some() {
                word = self.next()?;
            }
            match self.tokens.peek().map(String::as_str) {
                Some("{") => node.children.push(self.node(word, label)?),
                Some(";") => {
                    self.next()?;
                    node.properties.push((word, Vec::new()));
                }
                Some("=") => {
                    self.next()?;
                    node.properties.push((word, self.value()?));
                }
                other => return Err(format!("{other:?} behind {word:?}")),
            }
        }
    }

    fn value(&mut self) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        loop {
            let token = self.next()?;
            match token.as_str() {
                ";" => return Ok(pieces),
                "," => {}
                "<" => loop {
                    let cell = self.next()?;
                    match cell.strip_prefix('&') {
                        _ if cell == ">" => break,
                        Some(label) => pieces.push(Piece::Reference(label.to_owned())),
                        None => pieces.push(Piece::Cell(cell_number(&cell)?)),
                    }
                },
                "[" => loop {
                    let byte = self.next()?;
                    if byte == "]" {
                        break;
                    }
                    let byte = u8::from_str_radix(&byte, 16).map_err(|error| format!("{byte:?}: {error}"))?;
                    pieces.push(Piece::Bytes(Vec::from([byte])));
                },
                text => match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                    Some(text) => pieces.push(Piece::Bytes([text.as_bytes(), &[0]].concat())),
                    None => return Err(format!("{text:?} is no value")),
                },
            }
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text:?}: {error}"))
}

fn cell_number(text: &str) -> Result<u32, String> {
    u32::try_from(number(text)?).map_err(|error| format!("{text:?}: {error}"))
}

/// Gives every labelled node a phandle and remembers it.
fn assign(node: &mut Node, labels: &mut BTreeMap<String, u32>, next: &mut u32) -> Result<(), String> {
    if let Some(label) = node.label.clone() {
        let own = node
            .properties
            .iter()
            .find(|(name, _)| name == "phandle" || name == "linux,phandle");
        let phandle = match own {
            Some((_, pieces)) => match pieces[..] {
                [Piece::Cell(phandle)] => phandle,
                _ => return Err(format!("{label}: phandle is no cell")),
            },
            None => {
                let phandle = *next;
                *next += 1;
                node.properties
                    .push(("phandle".to_owned(), Vec::from([Piece::Cell(phandle)])));
                phandle
            }
        };
        if labels.insert(label.clone(), phandle).is_some() {
            return Err(format!("label {label} twice"));
        }
    }
    node.children
        .iter_mut()
        .try_for_each(|child| assign(child, labels, next))
}

fn write(node: &Node, labels: &BTreeMap<String, u32>, writer: &mut Writer) -> Result<(), String> {
    writer.begin(&node.name);
    for (name, pieces) in &node.properties {
        let mut value = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Cell(cell) => value.extend_from_slice(&cell.to_be_bytes()),
                Piece::Bytes(bytes) => value.extend_from_slice(bytes),
                Piece::Reference(label) => {
                    let phandle = labels.get(label).ok_or_else(|| format!("no label {label}"))?;
                    value.extend_from_slice(&phandle.to_be_bytes());
                }
            }
        }
        writer.property(name, &value);
    }
    node.children
        .iter()
        .try_for_each(|child| write(child, labels, writer))?;
    writer.end();
    Ok(())
}
