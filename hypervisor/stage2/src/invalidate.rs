//! Making every walker forget.

/// Who caches translations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walker {
    /// The CPUs.
    Cpu,
    /// An SMMU, by its number in the device tree's order.
    Smmu(u16),
}

impl core::fmt::Display for Walker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Walker::Cpu => write!(f, "the CPU"),
            Walker::Smmu(number) => write!(f, "SMMU {number}"),
        }
    }
}

/// A walker did not confirm that it forgot a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{walker} did not complete the invalidation (status {status})")]
pub struct InvalidateError {
    /// Who it was.
    pub walker: Walker,
    /// What it answered: a `driver_abi::Status` for an SMMU.
    pub status: u32,
}

/// Invalidation of cached translations in all CPUs and all SMMUs that use the tables.
pub trait Invalidate {
    /// Forgets every cached translation of `[ipa, ipa + size)` under `vmid`: leaf entries, the table entries on the
    /// way to them (not the last level only), and stage-1 results combined with them. Both bounds are page aligned.
    ///
    /// Returns `Ok` only once no CPU and no SMMU uses any of them, nor has an access in flight that did.
    /// The range may be the whole address space; an implementor may always forget more than it is asked to.
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError>;
}

impl<I: Invalidate + ?Sized> Invalidate for &mut I {
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        (**self).invalidate(vmid, ipa, size)
    }
}
