//! Where a guest finds its virtual devices: guest physical addresses, the same for every guest.

use crate::vgic::{CPU_INTERFACE_SIZE, DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, Version};
use crate::{its, pl011};

/// The interrupt controller's distributor.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// The CPU interface of a GICv2.
pub const CPU_INTERFACE: u64 = 0x0801_0000;
/// The interrupt translation service: registers, and one frame after them [`TRANSLATER`].
pub const ITS: u64 = 0x0808_0000;
/// The frame of `GITS_TRANSLATER`, which devices write their messages to. Its first page is that of the physical ITS,
/// mapped; the rest is not there.
pub const TRANSLATER: u64 = ITS + its::CONTROL_SIZE;
/// The redistributors, one after the other.
pub const REDISTRIBUTORS: u64 = 0x080a_0000;
/// The UART.
pub const UART: u64 = 0x0900_0000;
/// The UART's interrupt: SPI 1.
pub const UART_INTERRUPT: u32 = 33;
/// The virtual timer's interrupt, PPI 11 (Arm BSA, table of PPI assignments).
pub const TIMER_INTERRUPT: u32 = 27;
/// PCI configuration space.
pub const ECAM: u64 = 0x40_1000_0000;
/// The most vCPUs whose redistributors fit below the UART.
pub const MOST_VCPUS: usize = 64;

/// A virtual device that a guest reaches by loads and stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The distributor.
    Distributor,
    /// All redistributors.
    Redistributors,
    /// The CPU interface of a GICv2.
    CpuInterface,
    /// The interrupt translation service; what traps in its second frame reads as zero and ignores writes.
    Its,
    /// The UART.
    Uart,
    /// PCI configuration space.
    Ecam,
}

/// Which devices a guest has, as far as that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Which GIC it is.
    pub gic: Version,
    /// The number of vCPUs, at most [`MOST_VCPUS`].
    pub vcpus: usize,
    /// The size of configuration space in bytes; zero without PCI.
    pub ecam_size: u64,
    /// Whether there is an interrupt translation service.
    pub its: bool,
}

impl Layout {
    /// The windows: device, start, size.
    pub fn windows(&self) -> [(Device, u64, u64); 6] {
        let vcpus = u64::try_from(self.vcpus.min(MOST_VCPUS)).unwrap_or(0);
        let (redistributors, cpu_interface) = match self.gic {
            Version::V2 => (0, CPU_INTERFACE_SIZE),
            Version::V3 => (REDISTRIBUTOR_SIZE * vcpus, 0),
        };
        [
            (Device::Distributor, DISTRIBUTOR, DISTRIBUTOR_SIZE),
            (Device::Redistributors, REDISTRIBUTORS, redistributors),
            (Device::CpuInterface, CPU_INTERFACE, cpu_interface),
            (Device::Its, ITS, if self.its { its::SIZE } else { 0 }),
            (Device::Uart, UART, pl011::SIZE),
            (Device::Ecam, ECAM, self.ecam_size),
        ]
    }

    /// The device at guest physical address `ipa`, and the offset in its window.
    pub fn find(&self, ipa: u64) -> Option<(Device, u64)> {
        let hit = |(device, start, size)| {
            let offset = ipa.checked_sub(start).filter(|offset| *offset < size)?;
            Some((device, offset))
        };
        self.windows().into_iter().find_map(hit)
    }

    /// The device whose window `[ipa, ipa + size)` overlaps, so that nothing may be mapped there.
    pub fn overlapping(&self, ipa: u64, size: u64) -> Option<Device> {
        let end = ipa.saturating_add(size);
        let hit = |(_, start, size): &(Device, u64, u64)| ipa < start + size && *start < end && *size != 0;
        self.windows().into_iter().find(hit).map(|(device, ..)| device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_found_and_lie_apart() {
        let layout = Layout {
            gic: Version::V3,
            vcpus: 2,
            ecam_size: 1 << 20,
            its: true,
        };
        assert_eq!(layout.find(DISTRIBUTOR), Some((Device::Distributor, 0)));
        assert_eq!(
            layout.find(REDISTRIBUTORS + 0x3_fffc),
            Some((Device::Redistributors, 0x3_fffc))
        );
        assert_eq!(layout.find(REDISTRIBUTORS + 0x4_0000), None);
        assert_eq!(layout.find(ITS), Some((Device::Its, 0)));
        assert_eq!(layout.find(TRANSLATER + 0x40), Some((Device::Its, 0x1_0040)));
        assert_eq!(
            Layout { its: false, ..layout }.find(ITS),
            None,
            "a guest without sees nothing there"
        );
        assert_eq!(layout.find(UART + 0xfff), Some((Device::Uart, 0xfff)));
        assert_eq!(layout.find(ECAM + 0xf_fffc), Some((Device::Ecam, 0xf_fffc)));
        assert_eq!(layout.find(ECAM - 1), None);
        assert_eq!(
            Layout {
                ecam_size: 0,
                ..layout
            }
            .find(ECAM),
            None
        );

        let v2 = Layout {
            gic: Version::V2,
            ..layout
        };
        assert_eq!(
            v2.find(CPU_INTERFACE + 0x1000),
            Some((Device::CpuInterface, 0x1000))
        );
        assert_eq!(v2.find(REDISTRIBUTORS), None);
        assert_eq!(layout.find(CPU_INTERFACE), None);

        let most = Layout {
            gic: Version::V3,
            vcpus: MOST_VCPUS,
            ecam_size: 256 << 20,
            its: true,
        };
        let mut windows = most.windows();
        windows.sort_by_key(|(_, start, _)| *start);
        assert!(windows.is_sorted_by(|before, after| before.1 + before.2 <= after.1));
    }

    #[test]
    fn memory_may_not_lie_on_a_device() {
        let layout = Layout {
            gic: Version::V3,
            vcpus: 1,
            ecam_size: 0,
            its: false,
        };
        assert_eq!(layout.overlapping(UART - 0x1000, 0x1001), Some(Device::Uart));
        assert_eq!(layout.overlapping(UART - 0x1000, 0x1000), None);
        assert_eq!(layout.overlapping(UART + 0x1000, u64::MAX), None);
        assert_eq!(layout.overlapping(ECAM, 0x1000), None);
    }
}
