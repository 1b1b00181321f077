//! What can go wrong with an address space.

use crate::{AddressSpace, InvalidateError};
use mmio::OutOfTableMemory;

/// Why a change of an address space was refused or did not complete.
///
/// After every variant but [`Error::Invalidate`] the space is exactly as it was before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An address or size is not a multiple of the page, or the size is zero.
    #[error("IPA {ipa:#x}, PA {pa:#x}, size {size:#x}: not in whole pages")]
    NotPages {
        /// First IPA of the range.
        ipa: u64,
        /// First PA of the range; 0 where the call takes none.
        pa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// The range leaves the input addresses of the geometry.
    #[error("IPA {ipa:#x}, size {size:#x}: beyond {bits} bits")]
    IpaTooLarge {
        /// First IPA of the range.
        ipa: u64,
        /// Size in bytes.
        size: u64,
        /// IPA bits of the geometry.
        bits: u8,
    },
    /// The range leaves the output addresses of the geometry.
    #[error("PA {pa:#x}, size {size:#x}: beyond {bits} bits")]
    PaTooLarge {
        /// First PA of the range.
        pa: u64,
        /// Size in bytes.
        size: u64,
        /// PA bits of the geometry.
        bits: u8,
    },
    /// Part of the range to be mapped is mapped.
    #[error("IPA {ipa:#x} is mapped already")]
    AlreadyMapped {
        /// The first page that is.
        ipa: u64,
    },
    /// Part of the range to be changed is not mapped.
    #[error("IPA {ipa:#x} is not mapped")]
    NotMapped {
        /// The first page that is not.
        ipa: u64,
    },
    /// No memory for tables.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfTableMemory),
    /// A walker did not confirm an invalidation. Every entry that was being changed is unmapped now, whole blocks
    /// included where a part of a block was to change; tables taken out of the tree are kept back;
    /// the space refuses changes until [`AddressSpace::recover`] succeeds.
    #[error("VMID {vmid}, IPA {ipa:#x}, size {size:#x}: {cause}")]
    Invalidate {
        /// The space's VMID.
        vmid: u16,
        /// First IPA that may still be cached somewhere.
        ipa: u64,
        /// Size in bytes of the range that may still be cached.
        size: u64,
        /// Who failed.
        cause: InvalidateError,
    },
    /// An earlier invalidation failed and [`AddressSpace::recover`] has not succeeded since.
    #[error("VMID {vmid}: translations may be stale since an earlier invalidation failed")]
    Stale {
        /// The space's VMID.
        vmid: u16,
    },
}

/// An address space could not be taken down: a walker may still follow its tables.
#[derive(Debug, thiserror::Error)]
#[error("VMID {}: tables are kept: {cause}", .space.vmid())]
pub struct DestroyError {
    /// The space, unchanged: destroy it again later, or leak it.
    pub space: AddressSpace,
    /// Who failed.
    pub cause: InvalidateError,
}
