//! Tests of the stream table entry format.

use super::*;
use crate::Features;
use crate::driver::walker;
use proptest::prelude::*;

/// What QEMU 10.0.2's virt machine says of its SMMUv3.
pub(crate) fn features() -> Features {
    Features {
        major: 3,
        minor: 1,
        stage2: true,
        aarch64_tables: true,
        little_endian: true,
        granule_4k: true,
        coherent: true,
        broadcast: false,
        el2: false,
        ats: false,
        two_level: true,
        range_invalidation: true,
        forced_stall: false,
        preset: false,
        vmid_bits: 16,
        output_bits: 44,
        stream_bits: 16,
        command_bits: 19,
        event_bits: 19,
    }
}

/// Any domain that an SMMU with 48 output bits can walk.
fn domains() -> impl Strategy<Value = Domain> {
    let shapes = prop_oneof![
        (40_u8..=48, Just(0_u8)),
        (31_u8..=43, Just(1)),
        (25_u8..=34, Just(2))
    ];
    let outputs = prop::sample::select(vec![32_u8, 36, 40, 42, 44, 48]);
    (shapes, outputs, any::<u16>(), any::<u64>()).prop_map(
        |((ipa_bits, start_level), pa_bits, vmid, root)| {
            let domain = Domain {
                root: 0,
                vmid,
                ipa_bits,
                pa_bits,
                start_level,
            };
            Domain {
                root: (root & ((1 << pa_bits) - 1)) & !(domain.root_size() - 1),
                ..domain
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_back(domain in domains(), coherent: bool) {
        prop_assert_eq!(domain.check(&walker(&Features { output_bits: 48, ..features() })), Ok(()));
        let repr = SteRepr::Stage2 { domain, coherent };
        prop_assert_eq!(SteRepr::parse(&repr.emit()), Ok(repr));
    }

    /// Flipping any one bit gives another entry of ours, an invalid one, or a refusal: never the same entry.
    #[test]
    fn no_bit_is_ignored(domain in domains(), coherent: bool, word in 0_usize..8, bit in 0_u32..64) {
        let repr = SteRepr::Stage2 { domain, coherent };
        let mut words = repr.emit();
        words[word] ^= 1 << bit;
        prop_assert_ne!(SteRepr::parse(&words), Ok(repr));
    }

    #[test]
    fn no_words_parse_as_bypass_or_stage_1(words: [u64; 8]) {
        match SteRepr::parse(&words) {
            Ok(SteRepr::Invalid) => prop_assert_eq!(words[0] & 1, 0),
            Ok(SteRepr::Abort) => prop_assert_eq!(words[0] & 0xf, 0b0001),
            Ok(SteRepr::Stage2 { .. }) => prop_assert_eq!(words[0] & 0xf, 0b1101),
            Err(_) => {}
        }
    }
}

/// Written out by hand from the manual's table, so that a mistake in the field constants shows.
#[test]
fn a_stage_2_entry_has_exactly_these_words() {
    let domain = Domain {
        root: 0x8765_4000,
        vmid: 0x1234,
        ipa_bits: 40,
        pa_bits: 44,
        start_level: 1,
    };
    let expected = [
        0x0000_0000_0000_000d,
        0x0000_1000_0008_0000,
        // S2R 58, S2AA64 51, S2PS 4 at 48, S2SH0 3 at 44, S2OR0 1 at 42, S2IR0 1 at 40, S2SL0 1 at 38, S2T0SZ 24.
        (1 << 58)
            | (1 << 51)
            | (4 << 48)
            | (3 << 44)
            | (1 << 42)
            | (1 << 40)
            | (1 << 38)
            | (24 << 32)
            | 0x1234,
        0x8765_4000,
        0,
        0,
        0,
        0,
    ];
    assert_eq!(
        SteRepr::Stage2 {
            domain,
            coherent: true
        }
        .emit(),
        expected
    );
}

#[test]
fn bypass_and_stage_1_entries_are_refused() {
    for config in [0b100, 0b101, 0b111] {
        let word0 = 1 | (config << 1);
        assert_eq!(
            SteRepr::parse(&[word0, 0, 0, 0, 0, 0, 0, 0]),
            Err(BadSte {
                word: 0,
                value: word0
            })
        );
    }
}
