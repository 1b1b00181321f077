//! Keys for the console itself, among those for whoever has it.

/// The key before a key for the console itself: Ctrl-A.
const PREFIX: u8 = 0x01;

/// What came of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It is for whoever has the console.
    Plain(u8),
    /// The next one is to have the console.
    Switch,
    /// Nothing yet, or nothing at all.
    Nothing,
}

/// Tells the two kinds of keys apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    after_prefix: bool,
}

impl Keys {
    /// Nothing was typed yet.
    pub const fn new() -> Keys {
        Keys { after_prefix: false }
    }

    /// Takes the next byte. Behind [`PREFIX`] `c` switches, a second one is the key itself, and all others mean nothing.
    pub const fn take(&mut self, byte: u8) -> Key {
        let after_prefix = core::mem::replace(&mut self.after_prefix, false);
        match (after_prefix, byte) {
            (false, PREFIX) => {
                self.after_prefix = true;
                Key::Nothing
            }
            (false, byte) | (true, byte @ PREFIX) => Key::Plain(byte),
            (true, b'c' | b'C') => Key::Switch,
            (true, _) => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let mut keys = Keys::new();
        let taken: Vec<Key> = b"a\x01c\x01\x01c\x01qb"
            .iter()
            .map(|byte| keys.take(*byte))
            .collect();
        use Key::{Nothing, Plain, Switch};
        assert_eq!(
            taken,
            [
                Plain(b'a'),
                Nothing,
                Switch,
                Nothing,
                Plain(PREFIX),
                Plain(b'c'),
                Nothing,
                Nothing,
                Plain(b'b')
            ]
        );
    }
}
