//! Where things are on the board: QEMU's virt machine, with our devices where it has none.

use core::ops::Range;

/// Configuration space of bus 0. QEMU's own host bridge has its space elsewhere.
pub const ECAM: Range<u64> = 0x3f00_0000..0x3f10_0000;
/// The host bridge's window for BARs: the beginning of that of QEMU's own host bridge, which nobody reaches any more.
pub const BARS: Range<u64> = 0x1000_0000..0x1100_0000;
/// Room for the registers of the SMMU.
pub const SMMU: Range<u64> = 0x0b00_0000..0x0b40_0000;
/// The registers of an edu that is no PCI function. Nobody else answers there; only some boards' device trees tell of it.
pub const PLATFORM: Range<u64> = 0x0b80_0000..0x0b80_1000;
/// RAM that everybody may use.
pub const RAM: Range<u64> = 0x4000_0000..0x8000_0000;
/// The PL011 of the machine.
pub const UART: Range<u64> = 0x0900_0000..0x0900_1000;

/// Everything that the firmware answers for.
pub const EMULATED: [Range<u64>; 4] = [ECAM, BARS, SMMU, PLATFORM];

/// Device numbers of the three functions on bus 0. Their requester IDs are eight times that.
pub const SLOTS: [u8; 3] = [1, 2, 3];
/// The stream of the edu that is no function: none that a requester ID on bus 0 could be.
pub const PLATFORM_STREAM: u32 = 0x400;

/// The first of the four interrupts that the pins of PCI slots share.
const PCI_INTERRUPT: u32 = 32 + 3;
/// The interrupt of the edu that is no function: QEMU's machine has nothing there.
pub const PLATFORM_INTERRUPT: u32 = 32 + 64;
/// The SMMU's global interrupt; those of its context banks follow.
pub const SMMU_GLOBAL_INTERRUPT: u32 = 32 + 80;
/// How many interrupts the context banks may have.
pub const SMMU_CONTEXT_INTERRUPTS: u32 = 16;
/// The global interrupt of a second SMMU; those of its context banks follow.
pub const SMMU_SECOND_GLOBAL_INTERRUPT: u32 = SMMU_GLOBAL_INTERRUPT + 1 + SMMU_CONTEXT_INTERRUPTS;
/// All interrupts of the board lie below this.
pub const INTERRUPTS: u32 = SMMU_SECOND_GLOBAL_INTERRUPT + 1 + SMMU_CONTEXT_INTERRUPTS;

/// The interrupt of pin INTA of `slot`: as QEMU's `interrupt-map` has it.
pub const fn pci_interrupt(slot: u8) -> u32 {
    PCI_INTERRUPT + slot as u32 % 4
}

/// The streams of all devices.
pub fn streams() -> impl Iterator<Item = u32> {
    SLOTS
        .into_iter()
        .map(|slot| u32::from(slot) << 3)
        .chain([PLATFORM_STREAM])
}

/// The number that the first cell of a device tree's interrupt specifier takes: of a shared interrupt, from 0.
pub const fn shared_number(interrupt: u32) -> u32 {
    interrupt - 32
}

/// Where the core lies when the firmware starts it, and where its device tree.
pub const CORE: u64 = 0x4020_0000;
/// See [`CORE`].
pub const TREE: u64 = 0x4a00_0000;
/// Offset in the firmware's image of a word that says which SMMU there is: the number of a [`Kind`](crate::Kind), or 0 for none.
pub const SMMU_KIND_OFFSET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_lead_where_the_machines_interrupt_map_says() {
        // The first entries of slots 1, 2 and 3: <0x800 0 0 1 &gic 0 0 0 4 4>, <0x1000 .. 5 4>, <0x1800 .. 6 4>.
        assert_eq!(SLOTS.map(|slot| shared_number(pci_interrupt(slot))), [4, 5, 6]);
    }

    #[test]
    fn devices_have_addresses_streams_and_interrupts_of_their_own() {
        for (index, range) in EMULATED.iter().enumerate() {
            let others = EMULATED.iter().skip(index + 1);
            assert!(
                others
                    .clone()
                    .all(|other| other.end <= range.start || range.end <= other.start)
            );
        }
        let streams: std::collections::BTreeSet<u32> = streams().collect();
        assert_eq!(streams.len(), SLOTS.len() + 1);
        assert!(SLOTS.iter().all(|slot| pci_interrupt(*slot) < PLATFORM_INTERRUPT));
        const { assert!(PLATFORM_INTERRUPT < SMMU_GLOBAL_INTERRUPT) };
    }
}
