//! Why a guest came out: `ESR_EL2` decoded (DDI 0487 D23.2.37).

/// A synchronous exception from a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `HVC`. The return address is behind the instruction.
    Hvc,
    /// `SMC`. The return address is the instruction itself.
    Smc,
    /// An access to a system register.
    SystemRegister(SystemAccess),
    /// A load, store or cache instruction that stage 2, or the memory behind it, did not allow.
    Data(DataAbort),
    /// An instruction fetch of the same kind.
    Fetch(Fault),
    /// An instruction that guests do not have: SVE, SME, or floating point where it traps.
    Unimplemented,
    /// Anything else: nothing that a guest's traps are set up for.
    Other {
        /// `ESR_EL2.EC`.
        class: u8,
    },
}

/// Why translation or memory refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped at the IPA, which is known.
    Translation,
    /// It is mapped, but not for this access.
    Permission,
    /// The memory system answered with an error.
    External,
    /// Something else, a fault of the guest's own tables' walk included.
    Other,
}

/// A data abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataAbort {
    /// Why.
    pub fault: Fault,
    /// It was a write.
    pub write: bool,
    /// It was a cache maintenance instruction.
    pub cache_maintenance: bool,
    /// The access, where the syndrome describes it: one general register, no write-back.
    pub access: Option<MemoryAccess>,
}

/// A load or store of one general register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// The register, 0..=31; 31 is the zero register.
    pub register: u8,
    /// A load extends the sign.
    pub sign_extend: bool,
    /// A load fills the whole 64-bit register, not its lower half.
    pub wide: bool,
}

impl MemoryAccess {
    /// What a load leaves in the register for the bytes `value`.
    pub fn loaded(&self, value: u64) -> u64 {
        let bits = u32::from(self.size) * 8;
        let unused = 64 - bits.min(64);
        let value = value << unused >> unused;
        let extended = if self.sign_extend {
            ((value << unused).cast_signed() >> unused).cast_unsigned()
        } else {
            value
        };
        if self.wide {
            extended
        } else {
            extended & 0xffff_ffff
        }
    }

    /// The bytes that a store of a register holding `value` writes.
    pub fn stored(&self, value: u64) -> u64 {
        let unused = 64 - (u32::from(self.size) * 8).min(64);
        value << unused >> unused
    }
}

/// A trapped `MRS`, `MSR` or system instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemAccess {
    /// op0, op1, CRn, CRm, op2.
    pub encoding: (u8, u8, u8, u8, u8),
    /// The general register, 0..=31; 31 is the zero register.
    pub register: u8,
    /// The register is read (`MRS`).
    pub read: bool,
}

const IL: u64 = 1 << 25;

/// Bits `[low, low + count)`, at most 8 of them.
fn bits(value: u64, low: u32, count: u32) -> u8 {
    let [byte, ..] = (value >> low & ((1 << count) - 1)).to_le_bytes();
    byte
}

fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 != 0
}

/// Decodes `ESR_EL2`.
pub fn decode(esr: u64) -> Exit {
    match bits(esr, 26, 6) {
        0x12 | 0x16 => Exit::Hvc,
        0x13 | 0x17 => Exit::Smc,
        0x18 => Exit::SystemRegister(SystemAccess {
            encoding: (
                bits(esr, 20, 2),
                bits(esr, 14, 3),
                bits(esr, 10, 4),
                bits(esr, 1, 4),
                bits(esr, 17, 3),
            ),
            register: bits(esr, 5, 5),
            read: bit(esr, 0),
        }),
        0x20 => Exit::Fetch(fault(esr)),
        0x24 => Exit::Data(DataAbort {
            fault: fault(esr),
            write: bit(esr, 6),
            cache_maintenance: bit(esr, 8),
            access: bit(esr, 24).then(|| MemoryAccess {
                size: 1 << bits(esr, 22, 2),
                register: bits(esr, 16, 5),
                sign_extend: bit(esr, 21),
                wide: bit(esr, 15),
            }),
        }),
        0x07 | 0x19 | 0x1d => Exit::Unimplemented,
        class => Exit::Other { class },
    }
}

fn fault(esr: u64) -> Fault {
    // S1PTW: the guest's own table lies where nothing is.
    if bit(esr, 7) {
        return Fault::Other;
    }
    match bits(esr, 0, 6) {
        0x04..=0x07 => Fault::Translation,
        0x0c..=0x0f => Fault::Permission,
        0x10 => Fault::External,
        _ => Fault::Other,
    }
}

/// The length of the instruction that caused the exception, in bytes.
pub fn instruction_length(esr: u64) -> u64 {
    if esr & IL == 0 { 2 } else { 4 }
}

/// The guest physical address of a translation fault, from `HPFAR_EL2` and `FAR_EL2` (D23.2.63).
pub fn guest_address(hpfar: u64, far: u64) -> u64 {
    (hpfar & 0xfff_ffff_fff0) << 8 | far & 0xfff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU reported for instructions of a guest.
    #[test]
    fn syndromes_are_told_apart() {
        assert_eq!(decode(0x5a00_0000), Exit::Hvc);
        assert_eq!(decode(0x5e00_0000), Exit::Smc);
        // ldr w1, [x2]: 32 bits, register 1.
        let load = MemoryAccess {
            size: 4,
            register: 1,
            sign_extend: false,
            wide: false,
        };
        let abort = DataAbort {
            fault: Fault::Translation,
            write: false,
            cache_maintenance: false,
            access: Some(load),
        };
        assert_eq!(decode(0x9381_0006), Exit::Data(abort));
        // strb w31, [x2]
        let store = MemoryAccess {
            size: 1,
            register: 31,
            ..load
        };
        assert_eq!(
            decode(0x931f_0047),
            Exit::Data(DataAbort {
                write: true,
                access: Some(store),
                ..abort
            })
        );
        // ldp: not described.
        assert_eq!(
            decode(0x9200_0006),
            Exit::Data(DataAbort {
                access: None,
                ..abort
            })
        );
        assert_eq!(
            decode(0x9200_0010),
            Exit::Data(DataAbort {
                access: None,
                fault: Fault::External,
                ..abort
            })
        );
        assert_eq!(decode(0x8200_0006), Exit::Fetch(Fault::Translation));
        assert_eq!(
            decode(0x8200_0086),
            Exit::Fetch(Fault::Other),
            "in a walk of the guest's tables"
        );
        let status = |code: u64| match decode(0x8200_0000 | code) {
            Exit::Fetch(fault) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            status(0x03),
            Fault::Other,
            "an address too large for the tables has no IPA"
        );
        assert_eq!(
            [status(0x0b), status(0x0c), status(0x0f)],
            [Fault::Other, Fault::Permission, Fault::Permission]
        );
        // msr icc_sgi1r_el1, x3
        let access = SystemAccess {
            encoding: (3, 0, 12, 11, 5),
            register: 3,
            read: false,
        };
        assert_eq!(decode(0x623a_3076), Exit::SystemRegister(access));
        assert_eq!(decode(0x6600_0000), Exit::Unimplemented);
        assert_eq!(decode(0x0200_0000), Exit::Other { class: 0 });
    }

    #[test]
    fn loads_extend_as_told() {
        let byte = MemoryAccess {
            size: 1,
            register: 0,
            sign_extend: false,
            wide: false,
        };
        assert_eq!(byte.loaded(0xffff_ff80), 0x80);
        let signed = MemoryAccess {
            sign_extend: true,
            ..byte
        };
        assert_eq!(signed.loaded(0x80), 0xffff_ff80);
        assert_eq!(
            MemoryAccess { wide: true, ..signed }.loaded(0x80),
            0xffff_ffff_ffff_ff80
        );
        let double = MemoryAccess {
            size: 8,
            wide: true,
            ..byte
        };
        assert_eq!(double.loaded(u64::MAX - 1), u64::MAX - 1);
        assert_eq!((byte.stored(0x1234), double.stored(u64::MAX)), (0x34, u64::MAX));
    }

    #[test]
    fn addresses_come_from_two_registers() {
        assert_eq!(guest_address(0x9_0000, 0xffff_0000_1234_5018), 0x0900_0018);
        assert_eq!(guest_address(u64::MAX, 0xfff), 0xf_ffff_ffff_ffff);
        assert_eq!((instruction_length(0x5a00_0000), instruction_length(0)), (4, 2));
    }
}
