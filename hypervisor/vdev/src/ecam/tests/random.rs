//! Whatever a guest does.

use super::capabilities::rich;
use super::*;
use proptest::prelude::*;

const OTHER: u64 = 3 << 15;

/// An ECAM with two functions of the guest, the second of which may not do DMA, and is to be left alone.
fn two() -> Ecam {
    let mut ecam = Ecam::new(0);
    ecam.add(bdf(1, 0), &rich(), Messages::Shown).unwrap();
    ecam.add(bdf(3, 0), &edu(bdf(6, 0)), Messages::Shown).unwrap();
    ecam.set_present(bdf(1, 0), true);
    ecam.set_present(bdf(3, 0), true);
    ecam.allow_dma(bdf(1, 0), true);
    ecam
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every action is about a function of the guest that the access was to; none lets a function do DMA that may not; what
    /// is copied stays as it is.
    #[test]
    fn no_access_goes_too_far(
        writes in prop::collection::vec((0u64..0x20_0000, 0u8..10, any::<u32>(), any::<bool>()), 0..96),
    ) {
        let mut ecam = two();
        let copied = |ecam: &Ecam| [0, 8, 0x2c, 0x34, 0x60, 0x64, 0x70, 0x74, 0xb0, 0xb4].map(|at| ecam.read(AT + at, 4));
        let before = copied(&ecam);
        for (at, size, value, finish) in writes {
            for at in [at, AT + at % 0x100, OTHER + at % 0x40] {
                if let Some(action) = ecam.write(at, size, value) {
                    let place = (action.at, action.physical);
                    let expected = match at >> 12 {
                        0x08 => (bdf(1, 0), bdf(2, 0)),
                        0x18 => (bdf(3, 0), bdf(6, 0)),
                        _ => panic!("an action for {at:#x}: {action:?}"),
                    };
                    prop_assert_eq!(place, expected);
                    prop_assert!(!action.switches.bus_master || action.at == bdf(1, 0));
                    prop_assert!(!action.reset || !action.switches.bus_master);
                    if action.reset && finish {
                        ecam.finish_reset(action.at);
                    }
                }
                ecam.read(at, size);
                for decoded in ecam.take_decoded().unwrap_or_default() {
                    prop_assert!(decoded.at == bdf(1, 0) || decoded.at == bdf(3, 0));
                    let size = if decoded.index == 0 { 1 << 20 } else { 8 << 30 };
                    prop_assert_eq!(decoded.address % size, 0);
                }
            }
        }
        ecam.finish_reset(bdf(1, 0));
        ecam.write(AT + 0x62, 2, 0);
        prop_assert_eq!(copied(&ecam), before);
    }
}
