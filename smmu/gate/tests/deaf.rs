//! Hardware that takes every step and does not do what it was told.

use mmio::{Bus, Clock};
use smmu_gate::v3::is_shut;
use smmu_gate::{GateError, shut_v3};
use std::cell::RefCell;
use std::collections::BTreeMap;

const IDR0: usize = 0x00;
const CR0: usize = 0x20;
const CR0ACK: usize = 0x24;
const GBPA: usize = 0x44;
const ABORT: u32 = 1 << 20;
const UPDATE: u32 = 1 << 31;

/// Registers as plain memory, with the acknowledgements that the procedure waits for.
struct Plain {
    registers: RefCell<BTreeMap<usize, u32>>,
    /// Bits of GBPA that a write reaches.
    gbpa: u32,
}

impl Bus for Plain {
    fn read32(&self, offset: usize) -> u32 {
        let registers = self.registers.borrow();
        let followed = registers.get(&offset).or_else(|| match offset {
            CR0ACK => registers.get(&CR0),
            _ => None,
        });
        followed.copied().unwrap_or(0)
    }
    fn write32(&self, offset: usize, value: u32) {
        let mut registers = self.registers.borrow_mut();
        let register = registers.entry(offset).or_default();
        *register = match offset {
            GBPA => *register & !self.gbpa | value & self.gbpa & !UPDATE,
            _ => value,
        };
    }
    fn read64(&self, _: usize) -> u64 {
        0
    }
    fn write64(&self, _: usize, _: u64) {}
}

struct Now(RefCell<u64>);

impl Clock for Now {
    fn now_us(&self) -> u64 {
        *self.0.borrow_mut() += 100;
        *self.0.borrow()
    }
}

fn plain(gbpa: u32) -> Plain {
    // Stage 2, AArch64 tables; bypass with attributes.
    let registers = BTreeMap::from([(IDR0, 0b1001), (GBPA, 0x1204)]);
    Plain {
        registers: RefCell::new(registers),
        gbpa,
    }
}

#[test]
fn an_smmu_that_cannot_abort_is_not_called_shut() {
    let bus = plain(!ABORT);
    let result = shut_v3(&bus, &Now(RefCell::new(0)));
    assert!(matches!(result, Err(GateError::StillOpen { .. })), "{result:?}");
}

#[test]
fn the_attributes_of_bypass_stay_as_they_were() {
    let bus = plain(u32::MAX);
    shut_v3(&bus, &Now(RefCell::new(0))).unwrap();
    assert_eq!(bus.read32(GBPA), ABORT | 0x1204);
}

/// Shut is: off, known to be off, told to abort, and known to abort.
#[test]
fn only_one_of_all_states_is_shut() {
    for state in 0..16_u32 {
        let bit = |number: u32, value: u32| if state >> number & 1 == 1 { value } else { 0 };
        let (cr0, cr0ack) = (bit(0, 1), bit(1, 1));
        let gbpa = bit(2, ABORT) | bit(3, UPDATE);
        let bus = Plain {
            registers: RefCell::new(BTreeMap::from([(CR0, cr0), (CR0ACK, cr0ack), (GBPA, gbpa)])),
            gbpa: u32::MAX,
        };
        assert_eq!(
            is_shut(&bus),
            (cr0, cr0ack, gbpa) == (0, 0, ABORT),
            "{state:#06b}"
        );
    }
}
