//! Giving a guest an exception of its own, as if its CPU had taken it to EL1 (DDI 0487 D1.3).

/// The registers that taking an exception changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// New program counter.
    pub pc: u64,
    /// New processor state.
    pub pstate: u64,
    /// `ELR_EL1`.
    pub elr: u64,
    /// `SPSR_EL1`.
    pub spsr: u64,
    /// `ESR_EL1`.
    pub esr: u64,
    /// `FAR_EL1`, where the exception sets it.
    pub far: Option<u64>,
}

/// Where the guest was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Program counter: the instruction that causes the exception.
    pub pc: u64,
    /// Processor state, in the form of SPSR_EL2.
    pub pstate: u64,
    /// `VBAR_EL1`.
    pub vbar: u64,
    /// `SCTLR_EL1`.
    pub sctlr: u64,
    /// `ESR_EL2` of the exit, for the length of the instruction.
    pub esr: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The instruction is undefined.
    Undefined,
    /// Nothing answers at the address of a load or store: a synchronous external abort.
    DataAbort {
        /// The virtual address.
        address: u64,
        /// It was a write.
        write: bool,
        /// It was a cache maintenance instruction.
        cache_maintenance: bool,
    },
    /// Nothing answers at the address of an instruction.
    FetchAbort {
        /// The virtual address.
        address: u64,
    },
}

const MODE: u64 = 0x1f;
const EL1H: u64 = 5;
/// PSTATE bits in SPSR form (DDI 0487 C5.2.19).
const NZCV: u64 = 0xf << 28;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const SSBS: u64 = 1 << 12;
const DAIF: u64 = 0xf << 6;
/// SCTLR_EL1.SPAN and DSSBS.
const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;
/// ESR_ELx.IL.
const IL: u64 = 1 << 25;
/// Synchronous external abort, not on a table walk.
const EXTERNAL_ABORT: u64 = 0x10;

/// The registers as they are after `cause` was taken to EL1.
pub fn take(before: &Before, cause: Cause) -> Taken {
    // A 64-bit guest's EL1 is 64-bit; its EL0 need not be.
    let mode = before.pstate & MODE;
    let from_el1 = mode & 0x1c == 4;
    let offset = match mode {
        EL1H => 0x200,
        4 => 0x000,
        mode if mode & 0x10 != 0 => 0x600,
        _ => 0x400,
    };
    let class = |lower: u64| if from_el1 { lower + 1 } else { lower } << 26;
    let (esr, far) = match cause {
        Cause::Undefined => (before.esr & IL, None),
        Cause::DataAbort {
            address,
            write,
            cache_maintenance,
        } => {
            let flags = u64::from(write) << 6 | u64::from(cache_maintenance) << 8;
            (
                class(0x24) | before.esr & IL | flags | EXTERNAL_ABORT,
                Some(address),
            )
        }
        Cause::FetchAbort { address } => (class(0x20) | IL | EXTERNAL_ABORT, Some(address)),
    };
    let mut pstate = before.pstate & (NZCV | DIT | PAN) | DAIF | EL1H;
    if before.sctlr & SCTLR_SPAN == 0 {
        pstate |= PAN;
    }
    if before.sctlr & SCTLR_DSSBS != 0 {
        pstate |= SSBS;
    }
    Taken {
        pc: before.vbar.wrapping_add(offset),
        pstate,
        elr: before.pc,
        spsr: before.pstate,
        esr,
        far,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Before = Before {
        pc: 0x4008_1234,
        pstate: 0x6000_03c5,
        vbar: 0x4009_0000,
        sctlr: SCTLR_SPAN,
        esr: 0x9381_0006,
    };

    #[test]
    fn an_abort_at_el1() {
        let taken = take(
            &BEFORE,
            Cause::DataAbort {
                address: 0x1000,
                write: true,
                cache_maintenance: false,
            },
        );
        let expected = Taken {
            pc: 0x4009_0200,
            pstate: 0x6000_03c5,
            elr: 0x4008_1234,
            spsr: 0x6000_03c5,
            esr: 0x9600_0050,
            far: Some(0x1000),
        };
        assert_eq!(taken, expected);
        let taken = take(
            &BEFORE,
            Cause::DataAbort {
                address: 0x1000,
                write: true,
                cache_maintenance: true,
            },
        );
        assert_eq!(taken.esr, 0x9600_0150);
    }

    #[test]
    fn where_it_came_from_decides_vector_and_class() {
        let fetch = Cause::FetchAbort { address: 0x10 };
        let check = |mode: u64, vector: u64, esr: u64| {
            let taken = take(
                &Before {
                    pstate: mode,
                    ..BEFORE
                },
                fetch,
            );
            assert_eq!(
                (taken.pc - BEFORE.vbar, taken.esr),
                (vector, esr),
                "mode {mode:#x}"
            );
        };
        check(5, 0x200, 0x8600_0010);
        check(4, 0x000, 0x8600_0010);
        check(0, 0x400, 0x8200_0010);
        check(0x10, 0x600, 0x8200_0010);
    }

    #[test]
    fn undefined_instructions_have_no_address() {
        let taken = take(
            &Before {
                esr: 0x623a_3076,
                ..BEFORE
            },
            Cause::Undefined,
        );
        assert_eq!((taken.esr, taken.far), (IL, None));
    }

    #[test]
    fn the_state_is_that_of_an_exception() {
        // Single step, IL and BTYPE go; PAN is set unless SPAN says to keep it; SSBS comes from DSSBS.
        let before = Before {
            pstate: 0xf030_0c00 | SSBS,
            sctlr: 0,
            ..BEFORE
        };
        assert_eq!(take(&before, Cause::Undefined).pstate, 0xf040_03c5);
        let before = Before {
            sctlr: SCTLR_SPAN | SCTLR_DSSBS,
            ..before
        };
        assert_eq!(take(&before, Cause::Undefined).pstate, 0xf000_13c5);
    }
}
