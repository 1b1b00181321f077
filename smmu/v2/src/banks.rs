//! The context banks: one for each address space (IHI 0062 2.6, chapter 17).

use crate::error::Error;
use crate::fault;
use crate::groups::Groups;
use crate::registers::{CBA2R, CBAR, Registers, TCR, TTBR0};
use crate::tlb::Vmid;
use mmio::Bus;
use smmu_driver::Domain;
use smmu_gate::v2::registers::SCTLR;
use smmu_gate::v2::{Features, Smmu};
use tock_registers::LocalRegisterCopy;
use tock_registers::fields::{Field, FieldValue};
use tock_registers::interfaces::{Readable, Writeable};

/// The most banks that are used: as many address spaces can there be behind one SMMU. The architecture has 128.
const MOST: u16 = 64;

/// An address space as a bank is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) vmid: Vmid,
    root: u64,
    tcr: u32,
}

impl Space {
    /// The address space of `domain`, which was checked, tagged with `vmid`.
    pub(crate) fn new(domain: &Domain, vmid: Vmid, features: &Features, coherent: bool) -> Self {
        Space {
            vmid,
            root: domain.root,
            tcr: tcr(domain, features.aarch64_tables, coherent).value,
        }
    }
}

/// What has become of a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bank {
    space: Space,
    /// It is off, and to be given up once the SMMU has forgotten what it cached of it.
    leaving: bool,
}

/// Where an address space has its bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a bank that translates already.
    Shared(u16),
    /// In a bank that is free.
    Free(u16),
}

/// The banks, as they were told.
#[derive(Debug)]
pub(crate) struct Banks {
    banks: [Option<Bank>; MOST as usize],
    /// How many can be used.
    count: u16,
}

impl Banks {
    /// All banks of a shut SMMU: none is in use.
    pub(crate) fn new(features: &Features) -> Self {
        Banks {
            banks: [None; MOST as usize],
            count: features.banks.min(MOST),
        }
    }

    /// How many can be used.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Finds the bank of an address space, or one for it. A VMID has one address space: their TLB entries would mix. No
    /// bank may be leaving.
    pub(crate) fn place(&self, space: &Space) -> Result<Place, Error> {
        for (index, bank) in self.each() {
            if bank.space == *space {
                return Ok(Place::Shared(index));
            }
            if bank.space.vmid == space.vmid {
                return Err(Error::VmidTaken {
                    vmid: space.vmid.0,
                    bank: index,
                });
            }
        }
        let free = (0..self.count).find(|&index| self.get(index).is_none());
        free.map(Place::Free).ok_or(Error::Banks {
            demand: self.each().count() + 1,
            capacity: self.count.into(),
        })
    }

    /// The bank that a VMID's translations are made by.
    pub(crate) fn of(&self, vmid: Vmid) -> Option<u16> {
        let mut each = self.each();
        each.find(|(_, bank)| bank.space.vmid == vmid)
            .map(|(index, _)| index)
    }

    /// The VMID of a bank in use.
    pub(crate) fn vmid(&self, index: u16) -> Option<Vmid> {
        self.get(index).map(|bank| bank.space.vmid)
    }

    /// Each bank in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = u16> {
        self.each().map(|(index, _)| index)
    }

    /// Each bank that is off and not given up yet.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = u16> {
        self.each()
            .filter(|(_, bank)| bank.leaving)
            .map(|(index, _)| index)
    }

    /// Describes an address space to a bank that is off and that nothing leads to, and reads back what it was told: a bank
    /// that walks other tables, or others' tables, reaches other memory.
    ///
    /// CBA2R comes before CBAR: some SMMUs look at the former when the latter is written (that is what Linux does).
    pub(crate) fn describe<B: Bus>(&self, smmu: &Smmu<B>, index: u16, space: &Space) -> Result<(), Error> {
        let registers = Registers(smmu);
        let features = smmu.features();
        // A bank is not described anew while it has a fault to tell (IHI 0062 16.5.9).
        fault::clear_context(smmu, index);
        let vmid = u32::from(space.vmid.0);
        let (vmid8, vmid16) = if features.vmid_bits == 16 {
            (0, vmid)
        } else {
            (vmid, 0)
        };
        if features.version_2 {
            let value = CBA2R::VA64.val(features.aarch64_tables.into()) + CBA2R::VMID16.val(vmid16);
            registers.cba2r(index).write(value);
            taken(smmu, "CBA2R", value.value, |frame| {
                Registers(frame).cba2r(index).get() & value.mask()
            })?;
        }
        // Interrupt 0 for all, where it can be chosen: whichever comes, every bank is looked at.
        let value = CBAR::TYPE::Stage2 + CBAR::VMID.val(vmid8);
        registers.cbar(index).write(value + CBAR::IRPTNDX.val(0));
        taken(smmu, "CBAR", value.value, |frame| {
            Registers(frame).cbar(index).get() & value.mask()
        })?;
        registers.tcr(index).set(space.tcr);
        registers.ttbr0(index).set(space.root);
        let decides = decides_walks(space.tcr, features.aarch64_tables);
        taken(smmu, "TCR", space.tcr & decides, |frame| {
            Registers(frame).tcr(index).get() & decides
        })?;
        taken(smmu, "TTBR0", space.root, |frame| {
            Registers(frame).ttbr0(index).read(TTBR0::BASE)
        })
    }

    /// Lets a bank that was described translate. One that does not, though it was told to, would let everything pass: it
    /// goes off again, and counts as one that has to be forgotten about before it is used.
    pub(crate) fn enable<B: Bus>(&mut self, smmu: &Smmu<B>, index: u16, space: &Space) -> Result<(), Error> {
        let value = on(smmu.features());
        smmu.sctlr(index).write(value);
        let decides = (SCTLR::M::SET + SCTLR::AFFD::SET + SCTLR::E::SET + SCTLR::CFCFG::SET).mask();
        let result = taken(smmu, "SCTLR", value.value & decides, |frame| {
            frame.sctlr(index).get() & decides
        });
        if result.is_err() {
            smmu.sctlr(index).set(0);
        }
        self.set(
            index,
            Some(Bank {
                space: *space,
                leaving: result.is_err(),
            }),
        );
        result
    }

    /// Switches off every bank that no group leads to.
    pub(crate) fn disable_unused<B: Bus>(&mut self, smmu: &Smmu<B>, groups: &Groups) {
        for index in (0..self.count).filter(|&index| !groups.uses(index)) {
            if let Some(bank) = self.get(index) {
                smmu.sctlr(index).set(0);
                self.set(
                    index,
                    Some(Bank {
                        leaving: true,
                        ..bank
                    }),
                );
            }
        }
    }

    /// Gives up the banks that are off. The SMMU must have forgotten what it cached of them.
    pub(crate) fn give_up(&mut self) {
        for slot in &mut self.banks {
            *slot = slot.filter(|bank| !bank.leaving);
        }
    }

    fn each(&self) -> impl Iterator<Item = (u16, Bank)> {
        (0_u16..)
            .zip(self.banks)
            .filter_map(|(index, bank)| Some((index, bank?)))
    }

    fn get(&self, index: u16) -> Option<Bank> {
        self.banks.get(usize::from(index)).copied().flatten()
    }

    fn set(&mut self, index: u16, bank: Option<Bank>) {
        if let Some(slot) = self.banks.get_mut(usize::from(index)) {
            *slot = bank;
        }
    }
}

/// Checks that every frame has taken what decides how a bank's tables are read, and under which tag they are cached.
fn taken<B: Bus, T: Into<u64>>(
    smmu: &Smmu<B>,
    register: &'static str,
    wanted: T,
    read: impl Fn(&Smmu<&B>) -> T,
) -> Result<(), Error> {
    let wanted = wanted.into();
    let other = smmu
        .each_frame()
        .map(|frame| read(&frame).into())
        .find(|read| *read != wanted);
    other.map_or(Ok(()), |read| {
        Err(Error::Register {
            register,
            wanted,
            read,
        })
    })
}

/// SMMU_CBn_SCTLR of a bank that translates. A fault ends at once, aborts at the device, and leaves other transactions of the
/// same address space alone. It interrupts, where there is an interrupt at all: to name one that does not exist is a
/// fault of its own (IHI 0062 3.6.2). A clear access flag faults, as it does on the CPU that walks the same tables.
fn on(features: &Features) -> FieldValue<u32, SCTLR::Register> {
    SCTLR::M::SET
        + SCTLR::TRE::SET
        + SCTLR::AFE::SET
        + SCTLR::CFRE::SET
        + SCTLR::CFIE.val((features.interrupts != 0).into())
        + SCTLR::HUPCF::SET
}

/// SMMU_CBn_TCR for a domain, in the format for AArch64 tables or for AArch32 ones (IHI 0062 17.3.8).
fn tcr(domain: &Domain, aarch64: bool, coherent: bool) -> FieldValue<u32, TCR::Register> {
    let walks = if coherent {
        TCR::IRGN0::WriteBack + TCR::ORGN0::WriteBack + TCR::SH0::Inner
    } else {
        TCR::IRGN0::NonCacheable + TCR::ORGN0::NonCacheable + TCR::SH0::Outer
    };
    let size = 64_u8.saturating_sub(domain.ipa_bits);
    let level = TCR::SL0.val(2_u32.saturating_sub(domain.start_level.into()));
    let shared = walks + level + TCR::LONG::SET + TCR::PASIZE.val(output_code(domain));
    if aarch64 {
        shared + TCR::T0SZ.val(size.into()) + TCR::TG0::Small
    } else {
        // Relative to 32 bits, signed, in four bits, above which S repeats the sign.
        shared + TCR::T0SZ.val(u32::from(size) & 0x1f)
    }
}

/// The bits of a bank's TCR that decide which descriptors are read and whether the CPUs' caches are looked into for them.
/// What a format does not have, or has as a constant, may read as anything.
fn decides_walks(tcr: u32, aarch64: bool) -> u32 {
    let in_place = |field: Field<u32, TCR::Register>| field.mask << field.shift;
    let shape = in_place(TCR::SL0) | if aarch64 { in_place(TCR::T0SZ) } else { 0x1f };
    let format = in_place(TCR::TG0) | in_place(TCR::PASIZE);
    let caches = in_place(TCR::IRGN0) | in_place(TCR::ORGN0) | in_place(TCR::SH0);
    let cacheable = LocalRegisterCopy::<u32, TCR::Register>::new(tcr).matches_all(TCR::IRGN0::WriteBack);
    shape | if aarch64 { format } else { 0 } | if cacheable { caches } else { 0 }
}

/// The encoding of an output size; `Domain::check` has refused sizes without one.
fn output_code(domain: &Domain) -> u32 {
    match domain.pa_bits {
        48.. => 5,
        44.. => 4,
        42.. => 3,
        40.. => 2,
        36.. => 1,
        _ => 0,
    }
}
