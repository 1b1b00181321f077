//! Trapped system registers: what a guest reads, and what a write does.
//!
//! A guest's CPU is the physical one without what Portcullis does not virtualise: no EL2, no AArch32, no SVE or SME, no
//! performance monitors, no statistical profiling or trace, no memory tagging, no RAS registers. Identification registers
//! say so, and the registers themselves are undefined. Fields that a later architecture may define read as zero.

use crate::syndrome::SystemAccess;

/// What is to be done about a trapped access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A read of this value, or a write without effect.
    Value(u64),
    /// A read of an identification register: ask the CPU, then [`IdRegister::for_guest`].
    Identification(IdRegister),
    /// A write of `ICC_SGI1R_EL1`.
    SendSgi,
    /// The register does not exist.
    Undefined,
}

/// An identification register that a guest reads the physical value of, cut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the manual's, DDI 0487 D23.2")]
pub enum IdRegister {
    Pfr0,
    Pfr1,
    Isar0,
    Isar1,
    Isar2,
    Mmfr0,
    Mmfr1,
    Mmfr2,
}

/// 4-bit fields of a 64-bit register, by their lowest bits.
const fn fields(lows: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < lows.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "bounded by the loop; iterators are not const"
        )]
        let low = lows[index];
        mask |= 0xf << low;
        index += 1;
    }
    mask
}

/// `value` with its field at `low` at most `limit`.
fn at_most(value: u64, low: u32, limit: u64) -> u64 {
    let field = (value >> low & 0xf).min(limit);
    value & !(0xf << low) | field << low
}

impl IdRegister {
    /// What a guest with `ipa_bits` of address reads where the CPU has `physical`.
    pub fn for_guest(self, physical: u64, ipa_bits: u8) -> u64 {
        match self {
            // FP, AdvSIMD, GIC, DIT, CSV2, CSV3 as they are; EL1 and EL0 in AArch64 only; CSV2 without the registers
            // that its second version adds.
            IdRegister::Pfr0 => at_most(physical & fields(&[16, 20, 24, 48, 56, 60]), 56, 1) | 0x11,
            // BT, SSBS without its instruction's absence mattering.
            IdRegister::Pfr1 => physical & fields(&[0, 4]),
            // Without TME.
            IdRegister::Isar0 => physical & !fields(&[0, 24]),
            // Without LS64.
            IdRegister::Isar1 => physical & !fields(&[60]),
            // WFxT, RPRES, GPA3, APA3, BC, PAC_frac.
            IdRegister::Isar2 => physical & fields(&[0, 4, 8, 12, 20, 24]),
            // Without FGT and ECV; the physical range is that of stage 2.
            IdRegister::Mmfr0 => {
                let range = match ipa_bits {
                    0..36 => 0,
                    36..40 => 1,
                    40..42 => 2,
                    42..44 => 3,
                    44..48 => 4,
                    _ => 5,
                };
                at_most(physical & !fields(&[48, 52, 56, 60]), 0, range)
            }
            // HAFDBS, HPDS, PAN, SpecSEI, XNX, ETS, AFP.
            IdRegister::Mmfr1 => physical & fields(&[0, 12, 20, 24, 28, 36, 44]),
            // CnP, UAO, LSM, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
            IdRegister::Mmfr2 => physical & fields(&[0, 4, 8, 16, 20, 28, 32, 36, 48, 52, 60]),
        }
    }
}

/// Decides about a trapped access.
pub fn answer(access: &SystemAccess) -> Answer {
    match (access.encoding, access.read) {
        ((3, 0, 12, 11, 5), false) => Answer::SendSgi,
        // ICC_ASGI1R_EL1 and ICC_SGI0R_EL1: groups that no interrupt is in.
        ((3, 0, 12, 11, 6 | 7), false) => Answer::Value(0),
        ((3, 0, 0, 1..=7, _), true) => identification(access),
        // ACTLR_EL1.
        ((3, 0, 1, 0, 1), _) => Answer::Value(0),
        ((2, 0, ..), _) => debug(access),
        _ => Answer::Undefined,
    }
}

/// The identification registers of group 3 (HCR_EL2.TID3).
fn identification(access: &SystemAccess) -> Answer {
    match (access.encoding.3, access.encoding.4) {
        (4, 0) => Answer::Identification(IdRegister::Pfr0),
        (4, 1) => Answer::Identification(IdRegister::Pfr1),
        // ID_AA64DFR0_EL1: Armv8.0 debug, and nothing else.
        (5, 0) => Answer::Value(6),
        (6, 0) => Answer::Identification(IdRegister::Isar0),
        (6, 1) => Answer::Identification(IdRegister::Isar1),
        (6, 2) => Answer::Identification(IdRegister::Isar2),
        (7, 0) => Answer::Identification(IdRegister::Mmfr0),
        (7, 1) => Answer::Identification(IdRegister::Mmfr1),
        (7, 2) => Answer::Identification(IdRegister::Mmfr2),
        // AArch32, SVE, SME, and what is not yet defined.
        _ => Answer::Value(0),
    }
}

/// Self-hosted debug registers (MDCR_EL2.TDA, TDOSA): there, and without effect, because operating systems reset
/// them without asking.
fn debug(access: &SystemAccess) -> Answer {
    match (access.encoding.2, access.encoding.3, access.encoding.4) {
        // OSLSR_EL1: the OS lock is implemented and open.
        (1, 1, 4) => Answer::Value(1 << 3),
        // Breakpoints, watchpoints, MDSCR_EL1, MDCCINT_EL1, the OS lock, DBGPRCR_EL1, claim tags, MDRAR_EL1,
        // DBGAUTHSTATUS_EL1.
        (0 | 1 | 7, ..) => Answer::Value(0),
        _ => Answer::Undefined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8, read: bool) -> Answer {
        answer(&SystemAccess {
            encoding: (op0, op1, crn, crm, op2),
            register: 0,
            read,
        })
    }

    #[test]
    fn registers_are_told_apart() {
        assert_eq!(ask(3, 0, 12, 11, 5, false), Answer::SendSgi);
        assert_eq!(ask(3, 0, 12, 11, 5, true), Answer::Undefined);
        assert_eq!(ask(3, 0, 0, 4, 0, true), Answer::Identification(IdRegister::Pfr0));
        assert_eq!(ask(3, 0, 0, 4, 4, true), Answer::Value(0), "ID_AA64ZFR0_EL1");
        assert_eq!(ask(3, 0, 0, 4, 0, false), Answer::Undefined);
        assert_eq!(ask(3, 3, 9, 12, 0, true), Answer::Undefined, "PMCR_EL0");
        assert_eq!(ask(3, 3, 14, 2, 1, false), Answer::Undefined, "CNTP_CTL_EL0");
        assert_eq!(ask(2, 0, 1, 0, 4, false), Answer::Value(0), "OSLAR_EL1");
        assert_eq!(ask(2, 0, 1, 1, 4, true), Answer::Value(8), "OSLSR_EL1");
        assert_eq!(ask(2, 1, 0, 0, 1, true), Answer::Undefined, "trace");
        assert_eq!(ask(3, 4, 1, 1, 0, false), Answer::Undefined, "HCR_EL2");
    }

    #[test]
    fn a_guest_does_not_see_what_it_does_not_have() {
        // QEMU's `max`.
        assert_eq!(
            IdRegister::Pfr0.for_guest(0x1301_1121_1011_1112, 44) >> 32 & 0xf,
            0,
            "no SVE"
        );
        assert_eq!(
            IdRegister::Pfr0.for_guest(0x1301_1121_1011_1112, 44) & 0xffff,
            0x11,
            "EL1 and EL0, 64-bit"
        );
        assert_eq!(
            IdRegister::Pfr0.for_guest(0x1301_1121_1011_1112, 44) >> 56,
            0x11,
            "CSV2 without its registers"
        );
        assert_eq!(
            IdRegister::Mmfr0.for_guest(0x2100_0222_1020_1126, 44),
            0x0222_1020_1124
        );
        assert_eq!(
            IdRegister::Mmfr0.for_guest(0x2, 44),
            2,
            "never more than the CPU has"
        );
        assert_eq!(IdRegister::Mmfr0.for_guest(0x6, 48) & 0xf, 5);
        assert_eq!(IdRegister::Pfr1.for_guest(0x0000_0003_0121_3021, 44), 0x21);
    }

    proptest! {
        /// No field of an identification register grows, but for the two that are fixed.
        #[test]
        fn nothing_is_promised_that_is_not_there(physical: u64) {
            for register in [IdRegister::Pfr1, IdRegister::Isar0, IdRegister::Isar1, IdRegister::Isar2,
                             IdRegister::Mmfr0, IdRegister::Mmfr1, IdRegister::Mmfr2] {
                let seen = register.for_guest(physical, 48);
                for low in (0..64).step_by(4) {
                    prop_assert!(seen >> low & 0xf <= physical >> low & 0xf);
                }
            }
        }

        /// Any access has an answer, and a write never asks for an identification register.
        #[test]
        fn every_access_is_answered(op0 in 0u8..4, op1 in 0u8..8, crn in 0u8..16, crm in 0u8..16, op2 in 0u8..8) {
            prop_assert!(!matches!(ask(op0, op1, crn, crm, op2, false), Answer::Identification(_)));
            prop_assert_ne!(ask(op0, op1, crn, crm, op2, true), Answer::SendSgi);
        }
    }
}
