//! Register accesses: which register an offset is, and how wide.

use alloc::format;

use super::host::Host;
use super::instance::Instance;
use super::params::Version;
use super::registers::{cb, gr0, gr1};
use crate::Rule;
use crate::bits::low32;

/// Where an offset leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Global register space 0, non-secure view.
    Global0(usize),
    /// A banked register of global register space 0, secure view.
    Secure(usize),
    /// Global register space 1.
    Global1(usize),
    /// A register of a context bank.
    Bank(usize, usize),
    /// Nothing is there.
    Nowhere,
}

/// What a write covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Width {
    const fn bytes(self) -> usize {
        match self {
            Width::Word => 4,
            Width::Double => 8,
        }
    }
}

const SPACE: &str = "IHI 0062 SMMU address space";

/// The registers of which each security state has its own, and that a secure access finds at +0x400 for the other.
const fn is_banked(offset: usize) -> bool {
    matches!(offset, gr0::CR0 | gr0::CR2 | gr0::ACR | gr0::GFAR..=gr0::GFSYNR2)
}

impl<H: Host> Instance<H> {
    pub(super) fn read(&self, offset: usize, width: Width) -> u64 {
        let place = self.place(offset, width);
        let (even, odd) = split(place);
        if let Some(value) = self.wide(even) {
            return match (width, odd) {
                (Width::Double, _) => value,
                (Width::Word, false) => value & 0xffff_ffff,
                (Width::Word, true) => value >> 32,
            };
        }
        if place == Place::Nowhere {
            return u64::MAX;
        }
        if width == Width::Double {
            self.no_register(
                offset,
                0,
                "a 64-bit read of something that is not a 64-bit register",
            );
            return 0;
        }
        let value = match place {
            Place::Global0(register) => self.read_global0(register),
            Place::Secure(register) => Some(self.read_secure(register)),
            Place::Global1(register) => self.read_global1(register),
            Place::Bank(index, register) => self.read_bank(index, register),
            Place::Nowhere => None,
        };
        if value.is_none() {
            self.no_register(offset, 0, "nothing can be read there");
        }
        value.unwrap_or(0).into()
    }

    pub(super) fn write(&mut self, offset: usize, width: Width, value: u64) {
        self.moment += 1;
        let place = self.place(offset, width);
        if place == Place::Nowhere {
            return;
        }
        let before = self.live_banks();
        let taken = match place {
            Place::Bank(index, register @ (cb::TLBIIPAS2..=0x63f)) => {
                self.write_tlbi_ipa(index, register, width, value)
            }
            _ => self.write_wide(place, width, value),
        };
        if !taken && width == Width::Double {
            self.no_register(
                offset,
                value,
                "a 64-bit write of something that is not a 64-bit register",
            );
        } else if !taken {
            self.write_word(place, offset, low32(value));
        }
        if matches!(place, Place::Global0(_)) {
            self.check_mappings();
        }
        for bank in self.live_banks() {
            if !before.contains(&bank) {
                self.check_live(bank);
            }
        }
    }

    fn write_word(&mut self, place: Place, offset: usize, value: u32) {
        let taken = match place {
            Place::Global0(register) => self.write_global0(register, value),
            Place::Global1(register) => self.write_global1(register, value),
            Place::Bank(index, register) => self.write_bank(index, register, value),
            Place::Secure(_) => {
                let detail = "the access is a secure one: the non-secure register is at +0x400";
                self.violation(
                    Rule::SecureRegister,
                    format!("register {offset:#x}"),
                    value,
                    SPACE,
                    detail,
                );
                true
            }
            Place::Nowhere => false,
        };
        if !taken {
            self.no_register(offset, value.into(), "nothing can be written there");
        }
    }

    /// A read-only register was written.
    pub(super) fn read_only(&self, name: &str, value: u32) -> bool {
        self.violation(Rule::ReadOnly, name, value, SPACE, "read-only");
        true
    }

    /// The value of a 64-bit register.
    fn wide(&self, place: Place) -> Option<u64> {
        match place {
            Place::Global0(gr0::GFAR) => Some(self.fault.gfar),
            Place::Secure(gr0::GFAR) => Some(0),
            Place::Bank(index, register) => {
                let bank = self.banks.get(index)?;
                match register {
                    cb::TTBR0 => Some(bank.ttbr0),
                    cb::TTBR1 => Some(bank.ttbr1),
                    cb::FAR => Some(bank.far),
                    cb::IPAFAR => Some(bank.ipafar),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Writes a 64-bit register or a half of it; false if it is none.
    fn write_wide(&mut self, place: Place, width: Width, value: u64) -> bool {
        let (even, odd) = split(place);
        let Some(old) = self.wide(even) else {
            return false;
        };
        let value = match (width, odd) {
            (Width::Double, _) => value,
            (Width::Word, false) => old & 0xffff_ffff_0000_0000 | value & 0xffff_ffff,
            (Width::Word, true) => old & 0xffff_ffff | value << 32,
        };
        match even {
            Place::Global0(_) => self.fault.gfar = value,
            Place::Bank(index, register) => {
                let (low, high) = (width == Width::Double || !odd, width == Width::Double || odd);
                self.write_bank_wide(index, register, value, (low, high));
            }
            _ => return false,
        }
        true
    }

    /// SMMU_CBn_TLBIIPAS2 and TLBIIPAS2L: 64 bits for AArch64 tables, 32 or 64 for others.
    fn write_tlbi_ipa(&mut self, index: usize, register: usize, width: Width, value: u64) -> bool {
        let aarch64 = self.banks.get(index).is_some_and(super::bank::Bank::aarch64);
        let known = self.params.version == Version::V2 && matches!(register, cb::TLBIIPAS2 | cb::TLBIIPAS2L);
        if !known || width == Width::Word && aarch64 {
            return false;
        }
        self.tlbi_ipa(index, value, register == cb::TLBIIPAS2L);
        true
    }

    fn place(&self, offset: usize, width: Width) -> Place {
        let params = &self.params;
        let size = width.bytes();
        let ends = offset
            .checked_add(size)
            .is_some_and(|end| end <= params.frame_size());
        if !offset.is_multiple_of(size) || !ends {
            self.no_register(offset, 0, "outside the frame, or not aligned to its width");
            return Place::Nowhere;
        }
        if params.words_only && width == Width::Double {
            self.no_register(
                offset,
                0,
                "an access of 64 bits, which this integration does not carry",
            );
            return Place::Nowhere;
        }
        let (page, within) = (offset / params.page_size(), offset % params.page_size());
        let bank = page.checked_sub(params.pages());
        match (page, bank) {
            (0, _) if params.secure_access && is_banked(within) => return Place::Secure(within),
            (0, _) => return self.global0(within, offset),
            (1, _) if params.pages() > 1 => return Place::Global1(within),
            (_, Some(bank)) if bank < self.banks.len() => return Place::Bank(bank, within),
            _ => {}
        }
        self.no_register(
            offset,
            0,
            "a page of the frame without registers that are modelled",
        );
        Place::Nowhere
    }

    fn global0(&self, within: usize, offset: usize) -> Place {
        let aliased = within.checked_sub(gr0::NONSECURE).filter(|_| within < gr0::SMR);
        match aliased {
            None => Place::Global0(within),
            Some(register) if self.params.secure_access && (is_banked(register) || is_sync(register)) => {
                Place::Global0(register)
            }
            Some(_) => {
                self.no_register(
                    offset,
                    0,
                    "the alias of non-secure registers is for secure accesses",
                );
                Place::Nowhere
            }
        }
    }

    fn no_register(&self, offset: usize, value: u64, detail: &str) {
        self.violation(
            Rule::NoSuchRegister,
            format!("register {offset:#x}"),
            value,
            SPACE,
            detail,
        );
    }

    fn read_global1(&self, register: usize) -> Option<u32> {
        let (base, index) = table(register);
        let bank = self.banks.get(index)?;
        match base {
            gr1::CBAR => Some(bank.cbar),
            gr1::CBFRSYNRA => Some(bank.cbfrsynra),
            gr1::CBA2R if self.params.version == Version::V2 => Some(bank.cba2r),
            _ => None,
        }
    }

    fn write_global1(&mut self, register: usize, value: u32) -> bool {
        let (base, index) = table(register);
        if index >= self.banks.len() {
            return false;
        }
        match base {
            gr1::CBAR => self.write_cbar(index, value),
            gr1::CBFRSYNRA => {
                if let Some(bank) = self.banks.get_mut(index) {
                    bank.cbfrsynra = value;
                }
            }
            gr1::CBA2R if self.params.version == Version::V2 => self.write_cba2r(index, value),
            _ => return false,
        }
        true
    }
}

const fn is_sync(offset: usize) -> bool {
    matches!(offset, gr0::TLBGSYNC | gr0::TLBGSTATUS)
}

/// Which table of global register space 1, and which entry of it.
const fn table(register: usize) -> (usize, usize) {
    (register & !0x3ff, (register & 0x3ff) / 4)
}

/// The even word of a pair, and whether it was the odd one.
fn split(place: Place) -> (Place, bool) {
    match place {
        Place::Global0(offset) => (Place::Global0(offset & !7), offset & 4 != 0),
        Place::Secure(offset) => (Place::Secure(offset & !7), offset & 4 != 0),
        Place::Bank(index, offset) => (Place::Bank(index, offset & !7), offset & 4 != 0),
        other => (other, false),
    }
}
