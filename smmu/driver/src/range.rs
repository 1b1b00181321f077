//! Ranges of input addresses.

/// A range of IPAs of one VMID, in 4 KiB pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpaRange {
    /// Whose address space.
    pub vmid: u16,
    /// First byte, 4 KiB aligned.
    pub ipa: u64,
    /// Size in bytes, a multiple of 4 KiB; 0 means everything of the VMID.
    pub size: u64,
}
