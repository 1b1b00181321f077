//! What firmware left behind.

/// The state in which firmware left an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Transactions of some stream, or of all, passed untranslated: they could reach all of memory.
    Open,
    /// Every transaction aborting.
    Shut,
    /// Translation on, with tables of firmware's own.
    Translating,
}
