//! Switching an SMMU on: what is set before the first stream is attached.

use crate::error::{Error, Missing};
use crate::fault;
use crate::registers::{ACR, ACTLR, Registers};
use crate::streams::Limits;
use crate::tlb::SYNC_TIMEOUT_US;
use mmio::{Bus, Clock};
use smmu_gate::v2::registers::{CR0, EXSMR};
use smmu_gate::v2::{Features, Smmu, closed};
use tock_registers::interfaces::{Readable, Writeable};

/// Refuses an SMMU that this driver cannot use.
pub(crate) fn check(features: &Features) -> Result<(), Error> {
    let missing = if !features.stage2 {
        Missing::Stage2
    } else if !(features.aarch64_tables || features.aarch32_tables) {
        Missing::TableFormat
    } else if features.groups == 0 {
        Missing::Groups
    } else if features.banks == 0 {
        Missing::Banks
    } else {
        return Ok(());
    };
    Err(Error::Unsupported(missing))
}

/// Whether stream IDs have 16 bits: wherever they can. A last bit that is not compared would give a stream to the owner of
/// another one.
pub(crate) fn extended(features: &Features) -> bool {
    features.extended_ids
}

/// Sets up an SMMU that is shut, and stays as shut as it is: interrupts come on, and formats are chosen, which can change
/// only while no group is valid (IHI 0062 9.6.3).
pub(crate) fn start<B: Bus>(smmu: &Smmu<B>, clock: &impl Clock, extended: bool) -> Result<(), Error> {
    if smmu.features().mmu_500 {
        tame_mmu_500(smmu);
    }
    fault::clear_global(smmu);
    let formats =
        CR0::EXIDENABLE.val(extended.into()) + CR0::VMID16EN.val((smmu.features().vmid_bits == 16).into());
    let cr0 = closed() + formats + CR0::GFIE::SET + CR0::GCFGFIE::SET;
    smmu.cr0().write(cr0);
    for frame in smmu.each_frame() {
        let read = frame.cr0().extract();
        let chosen = CR0::CLIENTPD::SET + CR0::EXIDENABLE::SET + CR0::VMID16EN::SET;
        if read.get() & chosen.mask() != formats.value {
            return Err(Error::Register {
                register: "CR0",
                wanted: cr0.value.into(),
                read: read.get().into(),
            });
        }
    }
    // What a VMID is has changed with its size.
    Ok(smmu.forget_all(clock, SYNC_TIMEOUT_US)?)
}

/// Finds out which bits of ID and mask the groups have, by writing them to an invalid one. One after the other: a bit of
/// the ID need not be kept where the mask has it (IHI 0062 9.6.25).
pub(crate) fn limits<B: Bus>(smmu: &Smmu<B>, extended: bool) -> Limits {
    let features = smmu.features();
    if !features.stream_match {
        return Limits {
            id_bits: features.groups.saturating_sub(1),
            mask_bits: 0,
        };
    }
    let all = if extended { 0xffff } else { 0x7fff };
    // What every frame has.
    let kept = |value: u32| {
        smmu.smr(0).set(value);
        smmu.each_frame()
            .fold(value, |kept, frame| kept & frame.smr(0).get())
    };
    let id = kept(EXSMR::ID.val(all).value);
    let mask = kept(EXSMR::MASK.val(all).value) >> 16;
    smmu.smr(0).set(0);
    let half = |bits: u32| u16::try_from(bits).unwrap_or(0);
    Limits {
        id_bits: half(id),
        mask_bits: half(mask),
    }
}

/// Turns off what the MMU-500 has of its own. Its prefetcher of next pages goes for errata 826419 and 841119, numbered
/// so in Linux, which does the same; from r2p0 on it is locked first. TLB entries for streams that bypass are not wanted,
/// because none ever does.
fn tame_mmu_500<B: Bus>(smmu: &Smmu<B>) {
    for frame in smmu.each_frame() {
        let registers = Registers(&frame);
        let mut unwanted = ACR::SMTNMB_TLBEN::SET + ACR::S2CRB_TLBEN::SET;
        if smmu.features().major >= 2 {
            unwanted += ACR::CACHE_LOCK::SET;
        }
        registers.acr().set(registers.acr().get() & !unwanted.value);
        for bank in 0..smmu.features().banks {
            let rest = registers.actlr(bank).get() & !ACTLR::CPRE::SET.value;
            registers.actlr(bank).set(rest);
        }
    }
}

/// Whether some bank prefetches in spite of [`start`]: secure firmware has locked it.
pub(crate) fn prefetches<B: Bus>(smmu: &Smmu<B>) -> bool {
    let features = smmu.features();
    features.mmu_500
        && smmu
            .each_frame()
            .any(|frame| (0..features.banks).any(|bank| Registers(&frame).actlr(bank).is_set(ACTLR::CPRE)))
}
