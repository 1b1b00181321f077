//! Shutting an SMMUv3, whatever state firmware left it in.

use super::id::Features;
use super::registers::{CR0, GBPA, IDR0, Registers};
use crate::Found;
use mmio::{Bus, Clock, Timeout, wait_until};
use tock_registers::interfaces::{Readable, Writeable};

/// How long the SMMU has for each single step, in microseconds. Hardware needs a few microseconds at most: an
/// update ends when the transactions in flight have passed.
pub const TIMEOUT_US: u64 = 100_000;

/// What the gate found, of an SMMU that is shut now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V3Report {
    /// What the SMMU can do.
    pub features: Features,
    /// In which state firmware left it.
    pub found: Found,
}

/// Why an SMMU could not be shut. Its masters must then count as not isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// There is no SMMUv3 behind the register frame.
    #[error(
        "it does not identify itself as an SMMUv3: IDR0 reads {idr0:#010x}, IDR1 {idr1:#010x}, IDR5 {idr5:#010x}; perhaps there is none, or it has no clock or power"
    )]
    NoDevice {
        /// SMMU_IDR0 as read.
        idr0: u32,
        /// SMMU_IDR1 as read.
        idr1: u32,
        /// SMMU_IDR5 as read.
        idr5: u32,
    },
    /// GBPA.UPDATE stays set, so the SMMU never said that it aborts.
    #[error("GBPA.UPDATE stays set ({gbpa:#010x}): {timeout}")]
    UpdateStuck {
        /// SMMU_GBPA as read last.
        gbpa: u32,
        /// How long was waited.
        timeout: Timeout,
    },
    /// A change of CR0 is not acknowledged.
    #[error("CR0 {cr0:#x} is not acknowledged (CR0ACK {cr0ack:#x}): {timeout}")]
    NotAcknowledged {
        /// SMMU_CR0 as read last.
        cr0: u32,
        /// SMMU_CR0ACK as read last.
        cr0ack: u32,
        /// How long was waited.
        timeout: Timeout,
    },
    /// A change of IRQ_CTRL is not acknowledged.
    #[error("IRQ_CTRL is not acknowledged (IRQ_CTRLACK {irq_ctrlack:#x}): {timeout}")]
    InterruptsNotAcknowledged {
        /// SMMU_IRQ_CTRLACK as read last.
        irq_ctrlack: u32,
        /// How long was waited.
        timeout: Timeout,
    },
    /// All steps were taken, and the registers still do not say that the SMMU is shut.
    #[error("not shut after all steps: CR0 {cr0:#x}, CR0ACK {cr0ack:#x}, GBPA {gbpa:#010x}")]
    StillOpen {
        /// SMMU_CR0 as read.
        cr0: u32,
        /// SMMU_CR0ACK as read.
        cr0ack: u32,
        /// SMMU_GBPA as read.
        gbpa: u32,
    },
}

/// Shuts the SMMUv3 whose register page 0 starts at offset 0 of `bus`: afterwards every transaction of every
/// stream aborts.
///
/// The order of the writes is the point:
/// 1. GBPA.ABORT is set while CR0 is as firmware left it. If translation was off, the gate is shut by this step.
///    If it was on, GBPA has no effect yet, and says already what will happen when translation goes off.
/// 2. Only then CR0.SMMUEN is cleared. There is no moment between "translated by firmware" and "aborted".
/// 3. The queues and interrupts go last: nothing arises any more that would use them, and firmware's
///    queue memory may be ours to hand out.
///
/// If step 1 fails, step 2 is not taken: translation by firmware's tables is bad, bypass is worse.
pub fn shut_v3(bus: &impl Bus, clock: &impl Clock) -> Result<V3Report, GateError> {
    let registers = Registers(bus);
    identify(&registers)?;
    let features = Features::read(bus);
    let found = look(&registers);

    abort_when_off(&registers, clock)?;
    // A change that firmware has begun must end first: changing a bit whose acknowledgement is outstanding is
    // CONSTRAINED UNPREDICTABLE (IHI 0070 6.3.9).
    acknowledged(&registers, clock)?;
    let enables = registers.cr0().get();
    registers.cr0().set(enables & !CR0::SMMUEN::SET.value);
    acknowledged(&registers, clock)?;
    registers.cr0().set(0);
    acknowledged(&registers, clock)?;
    registers.irq_ctrl().set(0);
    wait_until(clock, TIMEOUT_US, || registers.irq_ctrlack().get() == 0).map_err(|timeout| {
        GateError::InterruptsNotAcknowledged {
            irq_ctrlack: registers.irq_ctrlack().get(),
            timeout,
        }
    })?;

    if is_shut(bus) {
        Ok(V3Report { features, found })
    } else {
        Err(GateError::StillOpen {
            cr0: registers.cr0().get(),
            cr0ack: registers.cr0ack().get(),
            gbpa: registers.gbpa().get(),
        })
    }
}

/// Whether the SMMU aborts everything because translation is off and GBPA says abort.
pub fn is_shut<B: Bus + ?Sized>(bus: &B) -> bool {
    let registers = Registers(bus);
    let gbpa = registers.gbpa().extract();
    let off = !registers.cr0().is_set(CR0::SMMUEN) && !registers.cr0ack().is_set(CR0::SMMUEN);
    off && gbpa.is_set(GBPA::ABORT) && !gbpa.is_set(GBPA::UPDATE)
}

/// Refuses a frame that nobody or nothing sensible answers from. Every SMMUv3 has a translation table format
/// (IDR0.TTF is never 0) and its major revision is 0; an empty bus reads as all zeros or all ones.
fn identify<B: Bus>(registers: &Registers<'_, B>) -> Result<(), GateError> {
    let (idr0, idr1, idr5) = (
        registers.idr0().get(),
        registers.idr1().get(),
        registers.idr5().get(),
    );
    let empty = |value: u32| value == 0 || value == u32::MAX;
    if empty(idr0)
        || idr1 == u32::MAX
        || idr5 == u32::MAX
        || !registers.idr0().any_matching_bits_set(IDR0::TTF::SET)
    {
        return Err(GateError::NoDevice { idr0, idr1, idr5 });
    }
    Ok(())
}

/// The state firmware left. A translation that is just going on or off counts as on.
fn look<B: Bus>(registers: &Registers<'_, B>) -> Found {
    if registers.cr0().is_set(CR0::SMMUEN) || registers.cr0ack().is_set(CR0::SMMUEN) {
        Found::Translating
    } else if registers.gbpa().is_set(GBPA::ABORT) {
        Found::Shut
    } else {
        Found::Open
    }
}

/// Sets GBPA.ABORT by the procedure of IHI 0070 6.3.14: UPDATE must be 0 before the write, is written as 1
/// together with the new value, and reads 0 once every later transaction sees it.
fn abort_when_off<B: Bus>(registers: &Registers<'_, B>, clock: &impl Clock) -> Result<(), GateError> {
    updated(registers, clock)?;
    // The other fields are attributes for bypass, which will not happen: they stay as they are.
    let attributes = registers.gbpa().get();
    registers
        .gbpa()
        .set(attributes | (GBPA::ABORT::SET + GBPA::UPDATE::SET).value);
    updated(registers, clock)
}

/// Waits until no update of GBPA is under way.
fn updated<B: Bus>(registers: &Registers<'_, B>, clock: &impl Clock) -> Result<(), GateError> {
    wait_until(clock, TIMEOUT_US, || !registers.gbpa().is_set(GBPA::UPDATE)).map_err(|timeout| {
        GateError::UpdateStuck {
            gbpa: registers.gbpa().get(),
            timeout,
        }
    })
}

/// Waits until CR0ACK says that CR0 has taken effect.
fn acknowledged<B: Bus>(registers: &Registers<'_, B>, clock: &impl Clock) -> Result<(), GateError> {
    wait_until(clock, TIMEOUT_US, || {
        registers.cr0ack().get() == registers.cr0().get()
    })
    .map_err(|timeout| GateError::NotAcknowledged {
        cr0: registers.cr0().get(),
        cr0ack: registers.cr0ack().get(),
        timeout,
    })
}
