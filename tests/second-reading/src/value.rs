//! The value of a property: cells, strings and bytes, in any mixture.

use crate::text::{Problem, Rest};

/// Reads a value up to the semicolon, as the bytes that the blob has for it.
pub(crate) fn read(rest: &mut Rest<'_>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    loop {
        if rest.take("<") {
            cells(rest, &mut bytes)?;
        } else if rest.take("\"") {
            string(rest, &mut bytes)?;
        } else if rest.take("[") {
            byte_string(rest, &mut bytes)?;
        } else {
            return Err(Problem::Expected("a value: <..>, \"..\" or [..]"));
        }
        if !rest.take(",") {
            return Ok(bytes);
        }
    }
}

fn cells(rest: &mut Rest<'_>, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    while !rest.take(">") {
        let number = rest.word("a cell or >")?;
        let cell = match number.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        bytes.extend(cell.map_err(|_| Problem::Cell)?.to_be_bytes());
    }
    Ok(())
}

fn byte_string(rest: &mut Rest<'_>, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    while !rest.take("]") {
        let two_digits = rest.0.get(..2).ok_or(Problem::Byte)?;
        bytes.push(hex_byte(two_digits)?);
        rest.0 = rest.0.get(2..).unwrap_or_default();
    }
    Ok(())
}

/// The rest of a string, and the NUL at its end.
///
/// dtc prints a list of strings as one string with `\0` in it, and prints no other octal number. So what comes after `\0` is text
/// even if it is a digit, as in the list "clk", "32k"; and `\x` has two digits.
fn string(rest: &mut Rest<'_>, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    loop {
        let end = rest
            .0
            .find(['"', '\\'])
            .ok_or(Problem::Expected("the end of a string"))?;
        let (plain, after) = rest.0.split_at(end);
        bytes.extend(plain.bytes());
        rest.0 = after;
        if rest.take("\"") {
            bytes.push(0);
            return Ok(());
        }
        let mut characters = after.chars();
        characters.next();
        let escaped = characters.next();
        let mut after = characters.as_str();
        bytes.push(match escaped {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('t') => b'\t',
            Some('n') => b'\n',
            Some('v') => 0x0b,
            Some('f') => 0x0c,
            Some('r') => b'\r',
            Some('0') => 0,
            Some('"') => b'"',
            Some('\\') => b'\\',
            Some('x') => {
                let two_digits = after.get(..2).ok_or(Problem::Escape)?;
                after = after.get(2..).unwrap_or_default();
                hex_byte(two_digits).map_err(|_| Problem::Escape)?
            }
            _ => return Err(Problem::Escape),
        });
        rest.0 = after;
    }
}

fn hex_byte(two_digits: &str) -> Result<u8, Problem> {
    let are_digits = two_digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = u8::from_str_radix(two_digits, 16).ok();
    byte.filter(|_| are_digits).ok_or(Problem::Byte)
}
