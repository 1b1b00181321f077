//! The physical interrupt lines of a guest's devices: taken for it, all of them or none.

use super::build::BuildError;
use super::interrupts;
use super::spec::Spec;
use crate::arch::gic::{self, GicError};
use crate::arch::{native, percpu};
use alloc::vec::Vec;
use devicetree::GicInterrupt;

/// Takes the interrupt lines of the guest's devices and sets them up, still off.
pub(super) fn claim(spec: &Spec<'_>) -> Result<Vec<GicInterrupt>, BuildError> {
    let mut claimed: Vec<GicInterrupt> = Vec::new();
    let taken = take(spec, &mut claimed);
    if let Err(error) = taken {
        claimed
            .iter()
            .for_each(|interrupt| interrupts::release_interrupt(interrupt.intid));
        return Err(error);
    }
    Ok(claimed)
}

fn take(spec: &Spec<'_>, claimed: &mut Vec<GicInterrupt>) -> Result<(), BuildError> {
    for (device, interrupt) in spec.lines() {
        let intid = interrupt.intid;
        if claimed.iter().any(|own| own.intid == intid) {
            continue;
        }
        if !interrupts::claim_interrupt(intid) {
            return Err(BuildError::InterruptTaken { device, intid });
        }
        claimed.push(interrupt);
        set_up(spec, &interrupt)?;
    }
    Ok(())
}

fn set_up(spec: &Spec<'_>, interrupt: &GicInterrupt) -> Result<(), GicError> {
    gic::disable(interrupt.intid)?;
    gic::clear(interrupt.intid)?;
    gic::set_trigger(interrupt.intid, interrupt.trigger)?;
    let first = spec
        .guest
        .cpus
        .first()
        .and_then(|cpu| percpu::of(native(u64::from(*cpu))));
    first.map_or(Ok(()), |cpu| gic::route(interrupt.intid, cpu))
}
