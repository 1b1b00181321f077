//! What is typed for a machine, byte by byte, except the keys that are for us.

use std::mem::replace;

/// The key before a key that is not for the guest: Ctrl-A. All but ours are the hypervisor's, and go there.
const PREFIX: u8 = 0x01;

/// What came of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// These are for the machine.
    Bytes(Vec<u8>),
    /// The run is to end.
    Quit,
}

/// Tells the two kinds of keys apart.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    after_prefix: bool,
}

impl Keyboard {
    /// Takes what was typed.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut kept = Vec::new();
        for byte in bytes {
            match (replace(&mut self.after_prefix, false), *byte) {
                (false, PREFIX) => self.after_prefix = true,
                (true, b'x' | b'X') => return Typed::Quit,
                (true, byte) => kept.extend([PREFIX, byte]),
                (false, byte) => kept.push(byte),
            }
        }
        Typed::Bytes(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_for_the_hypervisor_go_through() {
        let mut keyboard = Keyboard::default();
        let bytes = |text: &[u8]| Typed::Bytes(text.to_vec());
        assert_eq!(keyboard.take(b"ls\r\x01c"), bytes(b"ls\r\x01c"));
        assert_eq!(keyboard.take(b"\x01\x01x"), bytes(b"\x01\x01x"));
        assert_eq!(keyboard.take(b"\x03\x04\xff"), bytes(b"\x03\x04\xff"));
    }

    #[test]
    fn our_key_ends_the_run_also_when_its_halves_come_apart() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.take(b"a\x01"), Typed::Bytes(b"a".to_vec()));
        assert_eq!(keyboard.take(b"x"), Typed::Quit);
        assert_eq!(Keyboard::default().take(b"\x01Xyz"), Typed::Quit);
    }
}
