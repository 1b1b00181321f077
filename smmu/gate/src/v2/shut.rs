//! Shutting an SMMUv1 or v2, whatever state firmware left it in.

use super::id::Features;
use super::registers::{CR0, CR2, FAULTS, FSR, RESUME, S2CR, SCTLR, SMR};
use super::smmu::Smmu;
use crate::Found;
use mmio::{Bus, Clock, Timeout, wait_until};
use tock_registers::fields::FieldValue;
use tock_registers::interfaces::{Readable, Writeable};

/// How long one synchronization may take, in microseconds: the gate's, and its driver's. It ends when the transactions in
/// flight have passed, and how long these take is not up to the SMMU: a PCIe function's may be answered as late as after
/// 50 ms by default (PCIe 2.8, completion timeout). This is twice that; whoever gives up earlier takes a slow device for
/// a broken SMMU. Linux waits 1 s, where only a message follows, and others do not wait meanwhile.
pub const TIMEOUT_US: u64 = 100_000;

/// What the gate found, of an SMMU that is shut now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V2Report {
    /// What the SMMU can do.
    pub features: Features,
    /// In which state firmware left it.
    pub found: Found,
    /// Stream mapping groups that bypassed it.
    pub bypassing: u16,
    /// Stream mapping groups that translated through tables of firmware's own.
    pub translating: u16,
}

/// A register that keeps an SMMU open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{register} {index} reads {value:#010x}")]
pub struct Opening {
    /// Its name.
    pub register: &'static str,
    /// Which of its kind: a group or a bank.
    pub index: u16,
    /// What it reads.
    pub value: u32,
}

/// Why an SMMU could not be shut. Its masters must then count as not isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Transactions in flight did not end, so what firmware had them translate through may still be used.
    #[error("every stream faults, but what was in flight does not end: {0}")]
    SyncStuck(Timeout),
    /// Transactions that firmware had let stall go on doing so: retried behind a bank that is off they would pass.
    #[error("every stream faults, but in context bank {bank} stalled transactions do not end: {timeout}")]
    Stalled {
        /// The bank.
        bank: u16,
        /// How long was waited.
        timeout: Timeout,
    },
    /// All steps were taken, and the registers still do not say that the SMMU is shut.
    #[error("not shut after all steps: {0}")]
    StillOpen(Opening),
}

/// SMMU_CR0 of a shut SMMU: client ports on, and whatever has no translation faults, without an interrupt, because
/// nobody is there to take it. Faults abort at the device. Nothing stalls: there is nobody to resume it. Broadcast
/// invalidation by the CPUs would only cost, as we never rely on it.
pub fn closed() -> FieldValue<u32, CR0::Register> {
    CR0::GFRE::SET
        + CR0::GCFGFRE::SET
        + CR0::STALLD::SET
        + CR0::USFCFG::SET
        + CR0::VMIDPNE::SET
        + CR0::PTM::SET
        + CR0::SMCFCFG::SET
}

/// Shuts an SMMU: afterwards every transaction of every stream faults.
///
/// There are four ways past an SMMU (IHI 0062 2.3.5, 2.6): client ports that are off, a stream that nothing matches, a
/// group that says bypass, and a context bank that is off. The order of the writes closes each before it could open:
/// 1. Every group says fault, and stays as valid as it was: an invalid group would let its streams go as unmatched.
///    If client ports are off this has no effect yet.
/// 2. One write of CR0 makes unmatched streams fault. Only now can tables of indices and extra groups, which step 1 did
///    not reach, go: their streams become unmatched. Then client ports go on, if they were off, and before that the
///    groups become invalid, because after reset they hold anything, and several may match one stream, which is
///    UNPREDICTABLE. Nothing passes from here on.
/// 3. Everything cached is forgotten, and with that what was in flight has ended. Stalled transactions are terminated
///    before, and once more after: retried behind a bank that is off, they would pass, and one that was in flight may
///    have stalled late.
/// 4. Only then the banks go off: until there, what had got as far as a bank was still translated by it.
/// 5. The groups become invalid, and CR0 loses the formats that firmware had chosen, which can change only while
///    nothing is valid (IHI 0062 9.6.3). What a last walk may have cached is forgotten.
///
/// If step 3 fails the banks stay on: translation by firmware's tables is bad, bypass is worse.
pub fn shut_v2<B: Bus>(smmu: &Smmu<B>, clock: &impl Clock) -> Result<V2Report, GateError> {
    let report = look(smmu);
    fault_all(smmu);
    close(smmu);
    terminate_stalled(smmu, clock)?;
    smmu.forget_all(clock, TIMEOUT_US).map_err(GateError::SyncStuck)?;
    terminate_stalled(smmu, clock)?;
    for bank in 0..smmu.features().banks {
        smmu.sctlr(bank).set(0);
    }
    invalidate_all(smmu);
    smmu.cr0().write(closed());
    smmu.forget_all(clock, TIMEOUT_US).map_err(GateError::SyncStuck)?;
    match opening(smmu) {
        None => Ok(report),
        Some(opening) => Err(GateError::StillOpen(opening)),
    }
}

/// A register because of which the SMMU is not shut, if there is one. Shut is, in every frame: client ports on,
/// unmatched and doubly matched streams faulting, every group invalid and faulting, every bank off, nothing stalled.
pub fn opening<B: Bus>(smmu: &Smmu<B>) -> Option<Opening> {
    smmu.each_frame().find_map(|frame| opening_of(&frame))
}

fn opening_of<B: Bus>(frame: &Smmu<B>) -> Option<Opening> {
    let features = frame.features();
    let at = |register, index, value| {
        Some(Opening {
            register,
            index,
            value,
        })
    };
    let cr0 = frame.cr0().extract();
    // Where the stream ID is an index there is always exactly one match, and the two bits need not exist.
    let matched = CR0::USFCFG::SET + CR0::SMCFCFG::SET;
    if cr0.is_set(CR0::CLIENTPD) || features.stream_match && !cr0.matches_all(matched) {
        return at("CR0", 0, cr0.get());
    }
    let cr2 = frame.cr2().extract();
    if cr2.any_matching_bits_set(CR2::COMPINDEXENABLE::SET + CR2::EXSMRGENABLE::SET) {
        return at("CR2", 0, cr2.get());
    }
    for group in 0..features.groups {
        let s2cr = frame.s2cr(group).extract();
        if !s2cr.matches_all(S2CR::TYPE::Fault) {
            return at("S2CR", group, s2cr.get());
        }
        if features.stream_match && is_valid(frame, group) {
            return at("SMR", group, frame.smr(group).get());
        }
    }
    (0..features.banks).find_map(|bank| {
        let (sctlr, fsr) = (frame.sctlr(bank).extract(), frame.fsr(bank).extract());
        if sctlr.is_set(SCTLR::M) {
            at("SCTLR", bank, sctlr.get())
        } else if fsr.is_set(FSR::SS) {
            at("FSR", bank, fsr.get())
        } else {
            None
        }
    })
}

/// The state firmware left. Of two frames, the more open one counts.
fn look<B: Bus>(smmu: &Smmu<B>) -> V2Report {
    let mut report = V2Report {
        features: *smmu.features(),
        found: Found::Shut,
        bypassing: 0,
        translating: 0,
    };
    let mut open = false;
    for frame in smmu.each_frame() {
        let cr0 = frame.cr0().extract();
        open |= cr0.is_set(CR0::CLIENTPD) || report.features.stream_match && !cr0.is_set(CR0::USFCFG);
        let (bypassing, translating) = count(&frame);
        report.bypassing = report.bypassing.max(bypassing);
        report.translating = report.translating.max(translating);
    }
    if open || report.bypassing != 0 {
        report.found = Found::Open;
    } else if report.translating != 0 {
        report.found = Found::Translating;
    }
    report
}

/// How many groups of a frame bypass, and how many translate. Behind a bank that is off everything passes.
fn count<B: Bus>(frame: &Smmu<B>) -> (u16, u16) {
    let features = frame.features();
    let (mut bypassing, mut translating) = (0, 0);
    for group in (0..features.groups).filter(|&group| !features.stream_match || is_valid(frame, group)) {
        let s2cr = frame.s2cr(group).extract();
        let bank = u16::from(s2cr.read(S2CR::CBNDX).to_le_bytes()[0]);
        let on = bank < features.banks && frame.sctlr(bank).is_set(SCTLR::M);
        match s2cr.read_as_enum(S2CR::TYPE) {
            Some(S2CR::TYPE::Value::Bypass) => bypassing += 1,
            Some(S2CR::TYPE::Value::Translate) if on => translating += 1,
            Some(S2CR::TYPE::Value::Translate) => bypassing += 1,
            Some(S2CR::TYPE::Value::Fault) | None => {}
        }
    }
    (bypassing, translating)
}

/// Whether a group matches streams (IHI 0062 9.6.23, 9.6.25).
fn is_valid<B: Bus>(smmu: &Smmu<B>, group: u16) -> bool {
    if smmu.cr0().is_set(CR0::EXIDENABLE) {
        smmu.s2cr(group).is_set(S2CR::EXIDVALID)
    } else {
        smmu.smr(group).is_set(SMR::VALID)
    }
}

/// Makes every group fault, and leaves it as valid as it is, in each frame.
fn fault_all<B: Bus>(smmu: &Smmu<B>) {
    for frame in smmu.each_frame() {
        for group in 0..frame.features().groups {
            let valid = frame.s2cr(group).read(S2CR::EXIDVALID);
            frame
                .s2cr(group)
                .write(S2CR::TYPE::Fault + S2CR::EXIDVALID.val(valid));
        }
    }
}

/// Makes unmatched streams fault, leaves only the groups that were made to fault, and turns client ports on.
fn close<B: Bus>(smmu: &Smmu<B>) {
    for frame in smmu.each_frame() {
        let kept = CR0::EXIDENABLE::SET + CR0::VMID16EN::SET;
        let (kept, ports) = (frame.cr0().get() & kept.mask(), frame.cr0().read(CR0::CLIENTPD));
        frame.cr0().set(closed().value | kept | ports);
        frame.cr2().set(0);
        if ports != 0 {
            invalidate_all(&frame);
        }
        frame.cr0().set(closed().value | kept);
    }
}

/// Ends every transaction that a fault has stalled. The fault is cleared first (IHI 0062 16.5.28). Behind one that ends
/// another may have waited, which stalls in its place; so banks are told before not to stall what faults from now on.
/// CR0.STALLD says the same for all, but not every SMMU has it. They go on translating.
fn terminate_stalled<B: Bus>(smmu: &Smmu<B>, clock: &impl Clock) -> Result<(), GateError> {
    for frame in smmu.each_frame() {
        for bank in 0..frame.features().banks {
            let sctlr = frame.sctlr(bank).extract();
            if sctlr.is_set(SCTLR::CFCFG) {
                frame.sctlr(bank).set(sctlr.get() & !SCTLR::CFCFG::SET.mask());
            }
            let is_settled = || {
                let stalled = frame.fsr(bank).is_set(FSR::SS);
                if stalled {
                    frame.fsr(bank).set(FAULTS);
                    frame.resume(bank).write(RESUME::TNR::Terminate);
                }
                !stalled
            };
            wait_until(clock, TIMEOUT_US, is_settled)
                .map_err(|timeout| GateError::Stalled { bank, timeout })?;
        }
    }
    Ok(())
}

/// Makes every group invalid, faulting as it is, in either format.
fn invalidate_all<B: Bus>(smmu: &Smmu<B>) {
    for group in 0..smmu.features().groups {
        smmu.s2cr(group).write(S2CR::TYPE::Fault);
        if smmu.features().stream_match {
            smmu.smr(group).set(0);
        }
    }
}
