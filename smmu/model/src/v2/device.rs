//! An SMMU as software meets it: one instance, or two that are programmed as one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::access::Width;
use super::checks::{difference, opening};
use super::format::root_bytes;
use super::host::Host;
use super::instance::Instance;
use super::params::Params;
use super::route::{Bypass, Outcome, Route};
use super::transaction::Access;
use crate::bits::low32;
use crate::{Rule, Violation};

/// A fault of the hardware, to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// TLB synchronisations never end.
    SyncStuck,
}

/// The model as a state machine, without any sharing: what a bare-metal program runs.
///
/// No input makes it panic. Memory grows with its parameters only, not with what is written.
pub struct Device<H> {
    instances: Vec<Instance<H>>,
    bypass_forbidden: bool,
}

/// Which instance a transaction of two goes through: they take turns by 4 KiB of address.
const INTERLEAVE: u32 = 12;

impl<H: Host> Device<H> {
    /// An SMMU after reset.
    pub fn new(params: Params, host: H) -> Self {
        let count = params.frames.clamp(1, 2);
        let mut instances: Vec<Instance<H>> =
            (0..count).map(|_| Instance::new(params, host.clone())).collect();
        if let [_, second] = instances.as_mut_slice() {
            second.next_ticket = 1 << 24;
            // They do not end together: to wait for one is not to wait for both.
            second.params.sync_delay = params.sync_delay.saturating_mul(2);
        }
        Device {
            instances,
            bypass_forbidden: false,
        }
    }

    /// Reads 32 bits at `offset` of a register frame.
    pub fn read32(&self, frame: usize, offset: usize) -> u32 {
        let instance = self.instances.get(frame);
        instance.map_or(u32::MAX, |instance| low32(instance.read(offset, Width::Word)))
    }

    /// Reads 64 bits at `offset` of a register frame.
    pub fn read64(&self, frame: usize, offset: usize) -> u64 {
        let instance = self.instances.get(frame);
        instance.map_or(u64::MAX, |instance| instance.read(offset, Width::Double))
    }

    /// Writes 32 bits at `offset` of a register frame.
    pub fn write32(&mut self, frame: usize, offset: usize, value: u32) {
        if let Some(instance) = self.instances.get_mut(frame) {
            instance.write(offset, Width::Word, value.into());
        }
        self.check_bypass();
    }

    /// Writes 64 bits at `offset` of a register frame.
    pub fn write64(&mut self, frame: usize, offset: usize, value: u64) {
        if let Some(instance) = self.instances.get_mut(frame) {
            instance.write(offset, Width::Double, value);
        }
        self.check_bypass();
    }

    /// An access of a width that no register has, as a program behind trapped registers may see it.
    pub fn wrong_width(&self, frame: usize, offset: usize, bytes: usize) {
        if let Some(instance) = self.instances.get(frame) {
            let detail = format!("an access of {bytes} bytes");
            let subject = format!("register {offset:#x}");
            instance.violation(
                Rule::NoSuchRegister,
                subject,
                0u32,
                "IHI 0062 SMMU address space",
                detail,
            );
        }
    }

    /// One step of time.
    pub fn tick(&mut self) {
        self.instances.iter_mut().for_each(Instance::tick);
    }

    /// A device's access.
    pub fn dma(&mut self, stream: u32, address: u64, write: bool) -> Outcome {
        let second = self.instances.len() > 1 && address >> INTERLEAVE & 1 == 1;
        self.dma_through(second.into(), stream, address, write)
    }

    /// A device's access through one instance; the first stands in for one that does not exist.
    pub fn dma_through(&mut self, instance: usize, stream: u32, address: u64, write: bool) -> Outcome {
        self.check_alike();
        let chosen = if instance < self.instances.len() {
            instance
        } else {
            0
        };
        let access = Access {
            stream,
            address,
            write,
        };
        match self.instances.get_mut(chosen) {
            Some(instance) => instance.transaction(access),
            // There is always one.
            None => Ok(super::Passed {
                address,
                how: super::How::Bypassed(Bypass::ClientPortDisabled),
            }),
        }
    }

    /// What becomes of a stream's transactions at this moment, without one; of two instances, the first.
    pub fn route(&self, stream: u32) -> Route {
        self.route_in(0, stream)
    }

    /// The same in one instance; where it does not exist, nothing stops a transaction.
    pub fn route_in(&self, instance: usize, stream: u32) -> Route {
        let instance = self.instances.get(instance);
        instance.map_or(Route::Bypass(Bypass::ClientPortDisabled), |instance| {
            instance.route(stream)
        })
    }

    /// What became of a stalled transaction after SMMU_CBn_RESUME; told once.
    pub fn take_resumed(&mut self, ticket: u32) -> Option<Outcome> {
        self.instances
            .iter_mut()
            .find_map(|instance| instance.take_resumed(ticket))
    }

    /// The level of the global fault interrupt.
    pub fn global_interrupt(&self) -> bool {
        self.instances.iter().any(Instance::global_interrupt)
    }

    /// The level of the interrupt that serves a context bank.
    pub fn context_interrupt(&self, bank: usize) -> bool {
        self.instances.iter().any(|instance| {
            let wanted = instance.interrupt_of(bank);
            let asserted = instance.interrupting_banks();
            asserted
                .into_iter()
                .any(|other| instance.interrupt_of(other) == wanted)
        })
    }

    /// What is not settled: TLB invalidations without a finished synchronisation, cached translations that differ from
    /// memory, stalled transactions. Empty after every finished driver operation.
    pub fn unsettled(&self) -> Vec<String> {
        let mut left = Vec::new();
        for instance in &self.instances {
            instance.unsettled(&mut left);
        }
        left
    }

    /// From now on, records a violation as soon as any stream might be in bypass.
    pub fn forbid_bypass(&mut self) {
        self.bypass_forbidden = true;
        self.check_bypass();
    }

    /// Makes the hardware faulty from now on.
    pub fn inject(&mut self, defect: Defect) {
        let Defect::SyncStuck = defect;
        self.instances
            .iter_mut()
            .for_each(|instance| instance.sync_stuck = true);
    }

    /// Ends all injected faults; what was stuck goes on.
    pub fn repair(&mut self) {
        self.instances
            .iter_mut()
            .for_each(|instance| instance.sync_stuck = false);
    }

    /// A block of table memory is given back: nothing that hardware may read can be in it.
    pub fn memory_freed(&mut self, address: u64, size: u64) {
        let end = address.saturating_add(size);
        let overlaps = |base: u64, bytes: u64| base < end && base.saturating_add(bytes) > address;
        for instance in &self.instances {
            let roots = instance.live_banks().into_iter().filter_map(|index| {
                let bank = instance.banks.get(index)?;
                let tree = bank.regime(&instance.params).ok()?.tree;
                Some((tree.root, root_bytes(&tree)))
            });
            for (base, _) in roots.filter(|&(base, bytes)| overlaps(base, bytes)) {
                let detail = "given back while a live context bank points to it";
                instance.violation(
                    Rule::NotAllocated,
                    "root table",
                    base,
                    "IHI 0062 SMMU_CBn_TTBR0",
                    detail,
                );
            }
            for (base, _) in instance
                .tlb
                .cached_tables()
                .filter(|&(base, bytes)| overlaps(base, bytes))
            {
                let detail = "given back while its descriptor may be cached";
                instance.violation(
                    Rule::NotAllocated,
                    "translation table",
                    base,
                    "DDI 0487 D8.14",
                    detail,
                );
            }
        }
    }

    /// Two instances that are one SMMU have to hold the same when a transaction comes.
    fn check_alike(&self) {
        let [first, second] = self.instances.as_slice() else {
            return;
        };
        if let Some((register, value)) = difference(first, second) {
            first.host.violation(Violation {
                rule: Rule::InstancesDiffer,
                subject: register,
                value,
                detail: "the two instances hold different values while a transaction comes".into(),
                section: "Linux nvidia,smmu-500 binding",
            });
        }
    }

    fn check_bypass(&self) {
        if !self.bypass_forbidden {
            return;
        }
        for instance in &self.instances {
            if let Some((what, value)) = opening(instance) {
                let detail = "transactions are not translated and not stopped";
                instance.violation(
                    Rule::Bypass,
                    what,
                    value,
                    "IHI 0062 SMMU_sCR0, SMMU_S2CRn",
                    detail,
                );
            }
        }
    }
}

impl<H> core::fmt::Debug for Device<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Device({} instances)", self.instances.len())
    }
}
