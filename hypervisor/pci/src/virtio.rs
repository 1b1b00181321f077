//! Virtio functions: their capabilities, whether an SMMU sees their DMA, and their reset.
//!
//! Section numbers are those of the Virtual I/O Device Specification 1.2 ("virtio").

use crate::{Capability, Function, Space, id};
use mmio::{ByteBus, Clock, wait_until};

/// Vendor and device IDs of virtio (virtio 4.1.2).
const VENDOR: u32 = 0x1af4;
const DEVICES: core::ops::RangeInclusive<u32> = 0x1000..=0x107f;

/// Types of virtio's capabilities, in bits 31:24 of the first word; bits 23:16 are its length (virtio 4.1.4).
const COMMON: u32 = 1;
const NOTIFY: u32 = 2;
const CONFIGURATION_ACCESS: u32 = 5;
const SHARED_MEMORY: u32 = 8;

/// Registers of the common configuration structure, and its size up to the last one of version 1.0 (virtio 4.1.4.3).
const FEATURE_SELECT: usize = 0;
const FEATURES: usize = 4;
const STATUS: usize = 0x14;
const COMMON_SIZE: u64 = 0x38;
/// What FEATURE_SELECT selects, and the feature in it: the function's DMA is translated as the platform says (virtio 6).
const FEATURES_32_TO_63: u32 = 1;
const ACCESS_PLATFORM: u32 = 33;
/// How long a function may take for its reset; virtio names no time.
const RESET_US: u64 = 100_000;

/// Why a virtio function cannot be given to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VirtioError {
    /// It has the legacy interface only.
    #[error(
        "it is a virtio function without the modern interface, so that its DMA may pass the SMMU by; make it a modern one \
         (QEMU: disable-legacy=on,iommu_platform=on)"
    )]
    Legacy,
    /// Its DMA does not go through the SMMU.
    #[error(
        "it is a virtio function that does not offer VIRTIO_F_ACCESS_PLATFORM, so that its DMA passes the SMMU by; \
         switch that on (QEMU: iommu_platform=on)"
    )]
    PastSmmu,
    /// Its registers hold nonsense.
    #[error("it is a virtio function whose common configuration does not answer")]
    NoAnswer,
    /// It stays as it is.
    #[error("it is a virtio function that does not finish its reset")]
    NotReset,
}

/// Whether the register at offset 0 is that of a virtio function.
pub(crate) fn is_virtio(id: u32) -> bool {
    id & 0xffff == VENDOR && DEVICES.contains(&(id >> 16))
}

/// The type of a virtio capability whose first word is `first`.
const fn kind(first: u32) -> u32 {
    first >> 24
}

/// How many words of a virtio capability can be read without effect: where its structure is, and what follows for its
/// type. Behind those of the configuration access capability is a register that accesses a BAR when it is read.
pub const fn words(first: u32) -> usize {
    match kind(first) {
        NOTIFY => 5,
        SHARED_MEMORY => 6,
        _ => 4,
    }
}

/// Whether a guest may see a copy of a virtio capability whose first word is `first`. The configuration access
/// capability would let it reach BARs through configuration space, past stage 2: they may not be mapped for it.
pub const fn is_shown(first: u32) -> bool {
    kind(first) != CONFIGURATION_ACCESS
}

/// A function's common configuration structure, as it lies in what was mapped of a BAR.
#[derive(Debug)]
pub struct Common<'b, B: ByteBus> {
    bus: &'b B,
    at: usize,
}

/// Where a function's common configuration structure is: address on the PCI bus, and size.
///
/// # Errors
/// There is none in a memory BAR, as is so with a legacy function, which cannot say that it lets an SMMU see its DMA.
pub fn common_configuration(function: &Function) -> Result<(u64, u64), VirtioError> {
    let place = |capability: &Capability| {
        let [first, bar, offset, length, ..] = capability.words;
        let wanted = capability.id == id::VENDOR && kind(first) == COMMON && capability.offset <= 0xf0;
        let bar = function
            .bars
            .iter()
            .filter(|found| wanted && u32::from(found.index) == bar & 0xff)
            .find(|found| found.space != Space::Io && found.address != 0)?;
        // What the function says is checked against what its BAR decodes; the sum of two 32-bit numbers does not wrap.
        let inside = u64::from(offset) + u64::from(length) <= bar.size;
        let sound = u64::from(length) >= COMMON_SIZE && offset.is_multiple_of(4);
        (inside && sound).then(|| (bar.address + u64::from(offset), COMMON_SIZE))
    };
    let mut found = function.capabilities.iter().filter_map(place);
    found.next().ok_or(VirtioError::Legacy)
}

impl<'b, B: ByteBus> Common<'b, B> {
    /// The structure at offset `at` of `bus`.
    pub fn new(bus: &'b B, at: usize) -> Self {
        Common { bus, at }
    }

    /// Checks that the function lets an SMMU see its DMA.
    ///
    /// # Errors
    /// It does not, or does not answer as a virtio function does.
    pub fn check_access_platform(&self) -> Result<(), VirtioError> {
        let (select, bit) = (FEATURES_32_TO_63, 1 << (ACCESS_PLATFORM - 32));
        self.bus.write32(self.at + FEATURE_SELECT, select);
        if self.bus.read32(self.at + FEATURE_SELECT) != select {
            return Err(VirtioError::NoAnswer);
        }
        match self.bus.read32(self.at + FEATURES) {
            // A function that decodes nothing offers everything.
            u32::MAX => Err(VirtioError::NoAnswer),
            offered if offered & bit == 0 => Err(VirtioError::PastSmmu),
            _ => Ok(()),
        }
    }

    /// Resets the function (virtio 4.1.4.3.2).
    ///
    /// # Errors
    /// It does not become ready again.
    pub fn reset(&self, clock: &impl Clock) -> Result<(), VirtioError> {
        self.bus.write8(self.at + STATUS, 0);
        wait_until(clock, RESET_US, || self.bus.read8(self.at + STATUS) == 0)
            .map_err(|_| VirtioError::NotReset)
    }
}
