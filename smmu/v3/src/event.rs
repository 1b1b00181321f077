//! Events: what the SMMU reports of transactions it stopped (IHI 0070 7.3).

use crate::bits::Field;

/// Bytes of an event record.
pub const EVENT_BYTES: u32 = 32;

/// The words of an event record as they lie in the queue.
pub type Words = [u64; 4];

/// Word 0: the event number.
const TYPE: Field = Field::new(7, 0);
/// Word 0: the stream ID.
const STREAM: Field = Field::new(63, 32);
/// Word 1: it was an instruction fetch.
const IND: Field = Field::new(34, 34);
/// Word 1: it was a read.
const RNW: Field = Field::new(35, 35);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// F_TRANSLATION: the IPA is not mapped.
    Translation,
    /// F_PERMISSION: it is mapped, without that right. F_TRANSL_FORBIDDEN: the device claimed that it need not be.
    Permission,
    /// F_ACCESS: its access flag is clear.
    AccessFlag,
    /// F_ADDR_SIZE: an address in a table is too large.
    AddressSize,
    /// C_BAD_STE, F_STREAM_DISABLED, or C_BAD_STREAMID of a stream that the table covers: the stream is not attached.
    NotAttached,
    /// C_BAD_STREAMID: the stream ID lies outside the stream table.
    UnknownStream,
    /// F_STE_FETCH, F_WALK_EABT: an entry or a table could not be read.
    WalkAbort,
    /// Events were lost, because the queue was full or could not be written.
    Lost,
    /// Any other event; see [`Event::code`].
    Other,
}

/// One event, or several equal ones in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The stream ID; 0 for [`EventKind::Lost`].
    pub stream: u32,
    /// What happened.
    pub kind: EventKind,
    /// The event number; 0 for [`EventKind::Lost`].
    pub code: u8,
    /// The address that the device used, where the event has one.
    pub address: Option<u64>,
    /// Whether it was a write.
    pub write: bool,
    /// Whether it was an instruction fetch.
    pub instruction: bool,
    /// How many this stands for, at least 1.
    pub count: u32,
}

impl Event {
    /// Events were lost.
    pub const LOST: Event = Event {
        stream: 0,
        kind: EventKind::Lost,
        code: 0,
        address: None,
        write: false,
        instruction: false,
        count: 1,
    };

    /// Decodes a record of an SMMU whose stream table covers `stream_bits` bits. Every record decodes: what is not
    /// known is [`EventKind::Other`].
    pub fn parse(words: &Words, stream_bits: u8) -> Self {
        let [word0, word1, word2, _] = *words;
        let stream = STREAM.get32(word0);
        let code = TYPE.get8(word0);
        let covered = u64::from(stream) >> stream_bits.min(32) == 0;
        let kind = match code {
            0x10 => EventKind::Translation,
            0x11 => EventKind::AddressSize,
            0x12 => EventKind::AccessFlag,
            0x07 | 0x13 => EventKind::Permission,
            0x04 | 0x06 => EventKind::NotAttached,
            // A second-level table that was never needed: the stream is as unattached as its neighbours.
            0x02 if covered => EventKind::NotAttached,
            0x02 => EventKind::UnknownStream,
            0x03 | 0x0b => EventKind::WalkAbort,
            _ => EventKind::Other,
        };
        // Word 2 is InputAddr in these records: F_UUT, F_TRANSL_FORBIDDEN, F_WALK_EABT and the four faults.
        let has_address = matches!(code, 0x01 | 0x07 | 0x0b | 0x10..=0x13);
        Event {
            stream,
            kind,
            code,
            address: has_address.then_some(word2),
            write: has_address && !RNW.is_set(word1),
            instruction: has_address && IND.is_set(word1),
            count: 1,
        }
    }

    /// Whether both tell the same: stream, event, direction and page.
    pub fn is_like(&self, other: &Event) -> bool {
        let page = |event: &Event| event.address.map(|address| address >> 12);
        self.stream == other.stream
            && self.kind == other.kind
            && self.code == other.code
            && self.write == other.write
            && self.instruction == other.instruction
            && page(self) == page(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record as QEMU 10.0.2 wrote it for a blocked read.
    #[test]
    fn a_measured_record_is_decoded() {
        let words = [0x10_0000_0010, 0x288_0000_0000, 0x4800_1234, 0x4800_1234];
        let expected = Event {
            stream: 0x10,
            kind: EventKind::Translation,
            code: 0x10,
            address: Some(0x4800_1234),
            write: false,
            instruction: false,
            count: 1,
        };
        assert_eq!(Event::parse(&words, 16), expected);
        let write = [words[0], 0x280_0000_0000, words[2], words[3]];
        assert_eq!(
            Event::parse(&write, 16),
            Event {
                write: true,
                ..expected
            }
        );
    }

    #[test]
    fn a_stream_without_second_level_table_is_unattached_not_unknown() {
        let record = |stream: u64| Event::parse(&[(stream << 32) | 0x02, 0, 0, 0], 16).kind;
        assert_eq!(record(0xffff), EventKind::NotAttached);
        assert_eq!(record(0x1_0000), EventKind::UnknownStream);
    }

    #[test]
    fn records_without_an_address_have_none() {
        for code in [0x02, 0x03, 0x04, 0x0a, 0x20, 0x25] {
            let event = Event::parse(&[code, u64::MAX, u64::MAX, u64::MAX], 8);
            assert_eq!(
                (event.address, event.write, event.instruction),
                (None, false, false),
                "{code:#x}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_record_decodes(words: [u64; 4], stream_bits: u8) {
            let event = Event::parse(&words, stream_bits);
            prop_assert_eq!(u64::from(event.stream), words[0] >> 32);
            prop_assert!(event.is_like(&event));
        }
    }
}
