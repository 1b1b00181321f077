//! What a defect means for isolation, where its effect alone does not say it well enough.

use super::Defect;

impl Defect {
    /// What it means for isolation, where its effect alone does not say it well enough.
    pub(crate) fn own_isolation(&self) -> Option<&'static str> {
        Some(match self {
            Defect::Unnamed => "it stays shut and isolates nothing",
            Defect::TooLarge { .. } => "every device is refused, and nothing is known to stop its DMA",
            Defect::NoRegisters(_) => {
                "it cannot be shut: its masters are refused, and nothing stops their DMA"
            }
            Defect::SharedRegisters { .. } | Defect::SeveralKinds { .. } => {
                "no driver can have it: its masters are refused, and nothing is known to stop their DMA"
            }
            Defect::UnknownMaster(_) => "the device that is meant is not known, and is not covered",
            Defect::LostTail { .. } | Defect::UnreadableList(_) => {
                "devices that may be listed there are refused"
            }
            Defect::BusesMeet { .. } => "no SMMU keeps devices apart that emit the same stream",
            Defect::EmptyTuple | Defect::Shadowed => "no device is behind it",
            Defect::NotPci => "nobody is given them, nor another device that may share a stream with them",
            Defect::GroupRefused { .. } => "no SMMU can tell the two apart, so both are refused",
            Defect::PeerRefused { .. } => "no SMMU stands between the two, so both are refused",
            Defect::PartialOverlap { .. } => "an ID would match two registers, so all owners are refused",
            Defect::TooManyMatches { .. } => "every device behind this SMMU is refused",
            Defect::TooFewRegisters { .. } => "not all of them can be let through at the same time",
            _ => return None,
        })
    }
}
