//! Names for addresses in the core's reports: the image carries none, its ELF file does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;

use crate::build::write_if_changed;

/// What an address looks like in a report: an offset from the start of the image.
const MARK: &str = "image+0x";

/// The functions of an image, by rising offset.
#[derive(Debug, Default)]
pub(crate) struct Symbols(Vec<Symbol>);

#[derive(Debug)]
struct Symbol {
    start: u64,
    size: u64,
    name: String,
}

/// Where the symbols of an image are kept.
fn file_of(image: &Path) -> PathBuf {
    image.with_added_extension("symbols")
}

/// Keeps the functions of `elf` beside the image that was made of it.
pub(crate) fn keep(image: &Path, elf: &[u8]) -> Result<()> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(elf)?;
    let mut lines: Vec<(u64, String)> = Vec::new();
    if let Some((table, names)) = file.symbol_table()? {
        for symbol in table
            .iter()
            .filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_size > 0)
        {
            let name = names.get(usize::try_from(symbol.st_name)?)?;
            let plain = format!("{:#}", rustc_demangle::demangle(name));
            lines.push((
                symbol.st_value,
                format!("{:x} {:x} {plain}\n", symbol.st_value, symbol.st_size),
            ));
        }
    }
    lines.sort();
    let text: String = lines.into_iter().map(|(_, line)| line).collect();
    write_if_changed(&file_of(image), text.as_bytes())
}

impl Symbols {
    /// The functions of an image; none if they were not kept.
    pub(crate) fn of(image: &Path) -> Symbols {
        fs::read_to_string(file_of(image))
            .map(|text| Symbols::parse(&text).unwrap_or_default())
            .unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Symbols> {
        let symbol = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut number = || u64::from_str_radix(words.next().unwrap_or_default(), 16);
            let (start, size) = (number()?, number()?);
            Ok(Symbol {
                start,
                size,
                name: words.next().context("no name")?.to_string(),
            })
        };
        text.lines().map(symbol).collect::<Result<_>>().map(Symbols)
    }

    fn name(&self, offset: u64) -> Option<String> {
        let after = self.0.partition_point(|symbol| symbol.start <= offset);
        let symbol = self.0.get(after.checked_sub(1)?)?;
        let inside = offset - symbol.start;
        (inside < symbol.size).then(|| format!(" <{}+{inside:#x}>", symbol.name))
    }

    /// The line, with a name behind each address that has one.
    pub(crate) fn annotate(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(at) = rest.find(MARK) {
            let digits_at = at + MARK.len();
            let digits = rest[digits_at..]
                .bytes()
                .take_while(u8::is_ascii_hexdigit)
                .count();
            let (before, after) = rest.split_at(digits_at + digits);
            out.push_str(before);
            let offset = u64::from_str_radix(&before[digits_at..], 16);
            out.extend(offset.ok().and_then(|offset| self.name(offset)));
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        Symbols::parse("40 20 core::start\n80 10 alloc::vec::Vec<T, A>::push\n").unwrap()
    }

    #[test]
    fn addresses_in_functions_get_names() {
        let annotated = symbols().annotate("at image+0x48 (text), from image+0x8f.");
        assert_eq!(
            annotated,
            "at image+0x48 <core::start+0x8> (text), from image+0x8f <alloc::vec::Vec<T, A>::push+0xf>."
        );
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for line in [
            "",
            "image+0x",
            "image+0x3f",
            "image+0x60 x",
            "image+0x90",
            "image+0xffffffffffffffffff",
            "é image+0xg",
        ] {
            assert_eq!(symbols().annotate(line), line);
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        for text in ["40 20", "x 20 name", "40 y name"] {
            assert!(Symbols::parse(text).is_err(), "{text}");
        }
    }
}
