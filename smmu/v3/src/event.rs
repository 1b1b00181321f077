//! Events: what the SMMU reports of transactions it stopped (IHI 0070 7.3).

use crate::bits::Field;
use smmu_driver::{Event, EventKind};

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

/// Decodes a record of an SMMU whose stream table covers `stream_bits` bits. Every record decodes: what is not
/// known is [`EventKind::Other`].
pub fn parse(words: &Words, stream_bits: u8) -> Event {
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
        code: code.into(),
        address: has_address.then_some(word2),
        write: has_address && !RNW.is_set(word1),
        instruction: has_address && IND.is_set(word1),
        count: 1,
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
        assert_eq!(parse(&words, 16), expected);
        let write = [words[0], 0x280_0000_0000, words[2], words[3]];
        assert_eq!(
            parse(&write, 16),
            Event {
                write: true,
                ..expected
            }
        );
    }

    #[test]
    fn a_stream_without_second_level_table_is_unattached_not_unknown() {
        let record = |stream: u64| parse(&[(stream << 32) | 0x02, 0, 0, 0], 16).kind;
        assert_eq!(record(0xffff), EventKind::NotAttached);
        assert_eq!(record(0x1_0000), EventKind::UnknownStream);
    }

    #[test]
    fn records_without_an_address_have_none() {
        for code in [0x02, 0x03, 0x04, 0x0a, 0x20, 0x25] {
            let event = parse(&[code, u64::MAX, u64::MAX, u64::MAX], 8);
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
            let event = parse(&words, stream_bits);
            prop_assert_eq!(u64::from(event.stream), words[0] >> 32);
            prop_assert!(event.is_like(&event));
        }
    }
}
