//! Faults, and how they are told (IHI 0062 chapter 3).

use crate::registers::{FAULT_STREAM, FSYNR0, GFSR, GFSYNR0, Registers};
use mmio::Bus;
use smmu_driver::{Event, EventKind};
use smmu_gate::v2::Smmu;
use smmu_gate::v2::registers::{FAULTS, FSR};
use tock_registers::LocalRegisterCopy;
use tock_registers::fields::FieldValue;
use tock_registers::interfaces::{Readable, Writeable};

/// A fault as it was recorded, taken out of its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first fault, if it is a stream's.
    pub(crate) event: Option<Event>,
    /// There were more, or there was one, of which nothing is known.
    pub(crate) lost: bool,
    /// Causes that are no stream's, as in SMMU_GFSR.
    pub(crate) other: u32,
    /// The register reads all ones, which no fault is: nobody answers, and there is nothing to clear.
    pub(crate) dead: bool,
}

/// What is read where nobody answers. Both fault registers have bits that are reserved and read as zero.
const DEAD: u32 = u32::MAX;

impl Fault {
    const OF_NOBODY: Fault = Fault {
        event: None,
        lost: false,
        other: 0,
        dead: true,
    };
}

/// Takes a frame's global fault, if there is one.
pub(crate) fn take_global<B: Bus>(frame: &Smmu<B>) -> Option<Fault> {
    let registers = Registers(frame);
    let status = registers.gfsr().extract();
    if status.get() == DEAD {
        return Some(Fault::OF_NOBODY);
    }
    if !is_global_pending(status) {
        return None;
    }
    let other = status.get() & of_no_stream().value;
    let syndrome = registers.gfsynr0().extract();
    let event = status.any_matching_bits_set(of_stream()).then(|| Event {
        stream: registers.gfsynr1().read(FAULT_STREAM::ID),
        kind: global_kind(status),
        code: status.get(),
        address: Some(registers.gfar().get()),
        write: syndrome.is_set(GFSYNR0::WNR),
        instruction: syndrome.is_set(GFSYNR0::IND),
        count: 1,
    });
    // Only what was seen is cleared: a fault that came meanwhile interrupts again.
    registers.gfsr().set(status.get() & all_global().mask());
    Some(Fault {
        event,
        lost: status.is_set(GFSR::MULTI),
        other,
        dead: false,
    })
}

/// Clears whatever an earlier owner left in the global fault register.
pub(crate) fn clear_global<B: Bus>(smmu: &Smmu<B>) {
    Registers(smmu).gfsr().write(all_global());
}

/// Clears whatever an earlier owner left in a bank's fault register.
pub(crate) fn clear_context<B: Bus>(smmu: &Smmu<B>, bank: u16) {
    smmu.fsr(bank).set(FAULTS);
}

/// Global faults of a transaction.
fn of_stream() -> FieldValue<u32, GFSR::Register> {
    GFSR::ICF::SET + GFSR::USF::SET + GFSR::SMCF::SET + GFSR::UCBF::SET + GFSR::UCIF::SET
}

/// Global faults of which nothing but the status is known, or the address of a register (IHI 0062 3.8.1).
fn of_no_stream() -> FieldValue<u32, GFSR::Register> {
    GFSR::CAF::SET + GFSR::EF::SET + GFSR::PF::SET + GFSR::UUT::SET
}

/// Every bit of SMMU_GFSR that is a fault. Others are reserved, and what an implementation has there is not a fault.
fn all_global() -> FieldValue<u32, GFSR::Register> {
    of_stream() + of_no_stream() + GFSR::MULTI::SET
}

fn is_global_pending(status: LocalRegisterCopy<u32, GFSR::Register>) -> bool {
    status.get() != DEAD && status.any_matching_bits_set(all_global())
}

fn global_kind(status: LocalRegisterCopy<u32, GFSR::Register>) -> EventKind {
    if status.any_matching_bits_set(GFSR::ICF::SET + GFSR::USF::SET) {
        EventKind::NotAttached
    } else {
        EventKind::Other
    }
}

/// Takes a bank's fault, if there is one.
pub(crate) fn take_context<B: Bus>(frame: &Smmu<B>, bank: u16) -> Option<Fault> {
    let registers = Registers(frame);
    let status = frame.fsr(bank).extract();
    if status.get() == DEAD {
        return Some(Fault::OF_NOBODY);
    }
    if !is_pending(status) {
        return None;
    }
    let syndrome = registers.fsynr0(bank).extract();
    // What was recorded late came without its stream and address, and so may a transaction that is not supported
    // (IHI 0062 3.7.2). MULTI alone is what came while the fault before it was being cleared: it left nothing but
    // that it came. Whoever stands there from an earlier fault must not be blamed.
    let unknown = (FSR::UUT::SET + FSR::MULTI::SET).value;
    let known = status.get() & FAULTS & !unknown != 0 && !syndrome.is_set(FSYNR0::AFR);
    let event = known.then(|| Event {
        stream: registers.cbfrsynra(bank).read(FAULT_STREAM::ID),
        kind: context_kind(status),
        code: status.get(),
        address: Some(registers.far(bank).get()),
        write: syndrome.is_set(FSYNR0::WNR),
        instruction: syndrome.is_set(FSYNR0::IND),
        count: 1,
    });
    frame.fsr(bank).set(status.get() & FAULTS);
    Some(Fault {
        event,
        lost: !known || status.is_set(FSR::MULTI),
        other: 0,
        dead: false,
    })
}

/// Whether a frame has a fault of its own or of one of `banks` to tell.
pub(crate) fn any<B: Bus>(frame: &Smmu<B>, mut banks: impl Iterator<Item = u16>) -> bool {
    is_global_pending(Registers(frame).gfsr().extract())
        || banks.any(|bank| is_pending(frame.fsr(bank).extract()))
}

fn is_pending(status: LocalRegisterCopy<u32, FSR::Register>) -> bool {
    status.get() != DEAD && status.get() & FAULTS != 0
}

fn context_kind(status: LocalRegisterCopy<u32, FSR::Register>) -> EventKind {
    if status.is_set(FSR::TF) {
        EventKind::Translation
    } else if status.is_set(FSR::PF) {
        EventKind::Permission
    } else if status.is_set(FSR::AFF) {
        EventKind::AccessFlag
    } else if status.is_set(FSR::ASF) {
        EventKind::AddressSize
    } else if status.is_set(FSR::EF) {
        EventKind::WalkAbort
    } else {
        EventKind::Other
    }
}
