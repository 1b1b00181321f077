//! Nothing that is written makes the model panic, and nothing passes that should not.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Mutex;

use mmio::{Bus, Clock as _};
use proptest::prelude::*;

use super::rig::*;
use crate::v2::{Device, FaultKind, Host, How, Params};
use crate::{Rule, Violation};

/// A host like a program on bare metal: memory that answers everything, and violations that are counted.
#[derive(Clone, Default)]
struct Anything(Rc<Cell<u64>>);

impl Host for Anything {
    fn read(&self, address: u64) -> Option<u64> {
        // Descriptors of every kind, tables above all, and here and there a bus error.
        let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 60 != 0).then_some(mixed | 3)
    }
    fn violation(&self, _: Violation) {
        self.0.set(self.0.get() + 1);
    }
}

fn any_params() -> impl Strategy<Value = Params> {
    let chosen = prop_oneof![
        Just(Params::mmu500()),
        Just(Params::generic()),
        Just(Params::mmu401()),
        Just(Params::small()),
        Just(Params::stream_indexing()),
        Just(Params::extended_ids()),
        Just(Params::pair()),
        Just(Params::secure_access()),
    ];
    (chosen, any::<[u32; 8]>(), any::<bool>(), 0..8usize).prop_map(|(params, idr, random, frames)| Params {
        idr: if random { idr } else { params.idr },
        frames: if random { frames } else { params.frames },
        tlb_entries: 8,
        ..params
    })
}

/// Offsets of registers, mostly.
fn any_offset() -> impl Strategy<Value = usize> {
    let register = prop_oneof![
        Just(0x0usize),
        Just(0x4),
        Just(0x8),
        Just(0x20),
        Just(0x24),
        Just(0x30),
        Just(0x48),
        Just(0x58),
        Just(0x64),
        Just(0x70),
        Just(0x630),
        Just(0x7f0),
        (0x800..0x808usize).prop_map(|at| at & !3),
        (0xc00..0xc08usize).prop_map(|at| at & !3),
        0..0x1000usize,
    ];
    prop_oneof![
        9 => (0..20usize, register).prop_map(|(page, register)| page * 0x1000 + register),
        1 => any::<usize>(),
    ]
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..4u64,
        (0..0x20u64).prop_map(|low| 1 << 31 | low),
        Just(TCR39.into()),
        Just(TCR39_LONG.into()),
        Just(SHUT.into()),
        Just(ON.into()),
    ]
}

/// A program on bare metal keeps it in a static, behind a lock.
#[test]
fn it_can_be_shared_behind_a_lock() {
    #[derive(Clone)]
    struct Nothing;
    impl Host for Nothing {
        fn read(&self, _: u64) -> Option<u64> {
            None
        }
        fn violation(&self, _: Violation) {}
    }
    static DEVICE: Mutex<Option<Device<Nothing>>> = Mutex::new(None);
    let mut device = DEVICE.lock().unwrap();
    let device = device.insert(Device::new(Params::small(), Nothing));
    assert_eq!(device.read32(0, IDR0), Params::small().idr[0]);
    assert_eq!(format!("{device:?}"), "Device(1 instances)");
}

proptest! {
    #[test]
    fn nothing_that_is_written_makes_it_panic(
        params in any_params(),
        writes in proptest::collection::vec((0..3usize, any_offset(), any_value(), 0..5u8), 1..200),
        forbid in any::<bool>(),
    ) {
        let host = Anything::default();
        let mut device = Device::new(params, host.clone());
        if forbid {
            device.forbid_bypass();
        }
        for (frame, offset, value, action) in writes {
            match action {
                0 => device.write64(frame, offset, value),
                1 => device.tick(),
                2 => {
                    let stream = u32::try_from(offset & 0x1ff).unwrap();
                    if let Err(blocked) = device.dma(stream, value, offset & 1 == 0) {
                        device.take_resumed(blocked.stalled.unwrap_or(0));
                    }
                    device.route(stream);
                }
                _ => device.write32(frame, offset, u32::try_from(value & 0xffff_ffff).unwrap()),
            }
            device.read32(frame, offset);
            device.read64(frame, offset & !7);
        }
        device.global_interrupt();
        device.context_interrupt(0);
        device.context_interrupt(usize::MAX);
        device.memory_freed(0, u64::MAX);
        device.unsettled();
        let before = host.0.get();
        device.wrong_width(0, 2, 1);
        prop_assert_eq!(host.0.get(), before + 1);
    }

    /// Tables of any shape and content are walked without a panic, and what passes fits the output size.
    #[test]
    fn any_tables_can_be_walked(
        params in any_params(),
        (size, granule, level, input) in (0..7u32, 0..4u32, 0..4u32, 0..64u32),
        (va64, sctlr, root) in (any::<bool>(), any::<u32>(), any::<u64>()),
        accesses in proptest::collection::vec((any::<u64>(), 0..64u32, any::<bool>()), 1..40),
    ) {
        let mut device = Device::new(params, Anything::default());
        let page = if params.idr[1] >> 31 == 1 { 0x1_0000 } else { 0x1000 };
        let bank = (2 << (params.idr[1] >> 28 & 7)) * page;
        let tcr = 1 << 31 | size << 16 | 3 << 12 | granule << 14 | level << 6 | input;
        for frame in 0..2 {
            device.write32(frame, smr(0), VALID | STREAM);
            device.write32(frame, s2cr(0), 0);
            device.write32(frame, s2cr(STREAM as usize), 0);
            device.write32(frame, page, 0);
            device.write32(frame, page + 0x800, va64.into());
            device.write32(frame, bank + TCR, tcr);
            device.write64(frame, bank + TTBR0, (root & 0x1ff_ffff) << 16);
            device.write32(frame, bank + FSR, ALL_FAULTS);
            device.write32(frame, bank + SCTLR, sctlr | 1);
            device.write32(frame, CR0, SHUT);
        }
        for (address, shift, write) in accesses {
            let outcome = device.dma(STREAM, address >> shift, write);
            if let Ok(passed) = outcome && let How::Translated { .. } = passed.how {
                prop_assert_eq!(passed.address >> 48, 0);
            }
        }
        device.unsettled();
    }

    /// With every change invalidated and synchronised, the outcome is what the tables say.
    #[test]
    fn with_invalidation_the_tables_decide(
        changes in proptest::collection::vec((0..4u64, 0..3u8, any::<bool>()), 1..40),
    ) {
        let rig = Rig::new(Params::generic());
        let mut tree = rig.attach(0, STREAM, BANK, VMID);
        let mut pages = [None; 4];
        for (page, right, by_ipa) in changes {
            let ipa = IPA + page * 0x1000;
            tree.unmap(ipa, 3);
            if by_ipa {
                rig.write_bank64(BANK, TLBIIPAS2, ipa >> 12);
                rig.bank_sync(BANK);
            } else {
                rig.write(TLBIVMID, VMID.into());
                rig.global_sync();
            }
            let writable = match right {
                0 => None,
                1 => Some(false),
                _ => Some(true),
            };
            if let Some(writable) = writable {
                tree.map_page(ipa, PA + page * 0x1000, if writable { RW } else { RO });
            }
            pages[usize::try_from(page).unwrap()] = writable;
            for (page, writable) in (0u64..).zip(pages) {
                let outcome = rig.dma(IPA + page * 0x1000, true);
                match writable {
                    Some(true) => prop_assert_eq!(outcome.unwrap().address, PA + page * 0x1000),
                    Some(false) => prop_assert_eq!(outcome.unwrap_err().kind, FaultKind::Permission),
                    None => prop_assert_eq!(outcome.unwrap_err().kind, FaultKind::Translation),
                }
            }
        }
        rig.settled();
        rig.smmu.violations().assert_none();
    }

    /// Transactions that pass without translation are always reported where bypass is forbidden.
    #[test]
    fn no_bypass_goes_unnoticed(
        writes in proptest::collection::vec((any_offset(), any_value()), 1..60),
        stream in 0..0x40u32,
    ) {
        let rig = Rig::new(Params::generic());
        for (offset, value) in writes {
            rig.frame.write32(offset & !3, u32::try_from(value & 0xffff_ffff).unwrap());
            rig.clock.now_us();
            let outcome = rig.smmu.dma(stream, IPA, true);
            let rules = rig.smmu.violations().rules();
            if outcome.is_ok_and(|passed| matches!(passed.how, How::Bypassed(_))) {
                prop_assert!(rules.contains(&Rule::Bypass), "{:?}", rules);
            }
        }
        rig.smmu.violations().take();
    }
}
