//! The driver's operations.

use crate::banks::{Banks, Place, Space};
use crate::error::Error;
use crate::fault::{self, Fault};
use crate::groups::Groups;
use crate::power;
use crate::streams::{Limits, Stream, pack};
use crate::tlb::{PAGE_LIMIT, SYNC_TIMEOUT_US, Vmid, forget_pages, forget_vmid, pages};
use mmio::{Bus, Clock};
use smmu_driver::{Domain, DomainError, Event, IpaRange, Walker};
use smmu_gate::v2::{Features, Frames, Smmu, opening, shut_v2};

/// What the driver has to be told about an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Whether the SMMU's walks are coherent with the CPUs' caches. This comes from whoever writes the tables, and
    /// overrides the SMMU's own opinion.
    pub coherent: bool,
    /// What is added to a VMID before the SMMU is told of it. SMMUs that share their VMIDs (`cavium,smmu-v2`) need
    /// different ones for different address spaces, which they have anyway if VMIDs are given out for all of them.
    pub vmid_base: u16,
}

/// What an interrupt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptReport {
    /// Faults that were reported.
    pub events: u32,
    /// Registers that had more faults than they could record.
    pub lost: u32,
    /// New faults came meanwhile: call again soon.
    pub more: bool,
    /// Causes that are no stream's, as in SMMU_GFSR: configuration access faults and external ones. They are cleared.
    pub global_errors: u32,
    /// A fault register reads all ones: nobody answers for the SMMU, which must count as failed. There is no use in calling
    /// again.
    pub dead: bool,
}

/// A driver that could not be released, and why. It still owns the SMMU.
#[derive(Debug)]
pub struct Unreleased<B, C> {
    /// The driver.
    pub driver: Driver<B, C>,
    /// Why.
    pub error: Error,
}

/// A live SMMU: translating, with every stream faulting that is not attached.
#[derive(Debug)]
pub struct Driver<B, C> {
    smmu: Smmu<B>,
    clock: C,
    setup: Setup,
    groups: Groups,
    banks: Banks,
    prefetches: bool,
}

impl<B: Bus, C: Clock> Driver<B, C> {
    /// Takes over a shut SMMU; every stream goes on faulting. On an error it is shut as it was, as far as it can be.
    pub fn probe(smmu: Smmu<B>, clock: C, setup: &Setup) -> Result<Self, Error> {
        if let Some(opening) = opening(&smmu) {
            return Err(Error::GateOpen(opening));
        }
        power::check(smmu.features())?;
        let extended = power::extended(smmu.features());
        if let Err(error) = power::start(&smmu, &clock, extended) {
            // The error to report is the first one.
            let _ = shut_v2(&smmu, &clock);
            return Err(error);
        }
        let limits = power::limits(&smmu, extended);
        let features = smmu.features();
        Ok(Driver {
            groups: Groups::new(features.groups, features.stream_match, extended, limits),
            banks: Banks::new(features),
            prefetches: power::prefetches(&smmu),
            setup: *setup,
            clock,
            smmu,
        })
    }

    /// What the SMMU can do.
    pub fn features(&self) -> &Features {
        self.smmu.features()
    }

    /// What the SMMU can tell apart.
    pub fn limits(&self) -> &Limits {
        self.groups.limits()
    }

    /// How many stream mapping groups are used: one for each match of streams.
    pub fn groups(&self) -> u16 {
        self.groups.count()
    }

    /// How many address spaces there can be at a time: a context bank for each.
    pub fn banks(&self) -> u16 {
        self.banks.count()
    }

    /// Whether walks are coherent with the CPUs' caches.
    pub fn coherent(&self) -> bool {
        self.setup.coherent
    }

    /// Whether an MMU-500 prefetches although it must not: secure firmware has locked that.
    pub fn prefetches(&self) -> bool {
        self.prefetches
    }

    /// Makes streams translate through a domain: those of one device, or one of them. They share stream mapping groups where
    /// they can, and have to be detached together if they do. On an error all of them fault as before.
    ///
    /// Nothing leads to a bank before it translates, and it does not translate before the SMMU has forgotten what an
    /// earlier owner of the VMID had (IHI 0062 5.1). Whether it translates, and by which tables, is read back. Each group
    /// becomes valid by one write.
    pub fn attach(&mut self, streams: &[Stream], domain: &Domain) -> Result<(), Error> {
        self.finish()?;
        let vmid = self.vmid(domain.vmid)?;
        domain.check(&walker(self.features()))?;
        let packed = pack(streams, self.groups.limits())?;
        self.groups.check(&packed)?;
        let space = Space::new(domain, vmid, self.features(), self.setup.coherent);
        let bank = match self.banks.place(&space)? {
            Place::Shared(bank) => bank,
            Place::Free(bank) => {
                self.banks.describe(&self.smmu, bank, &space)?;
                forget_vmid(&self.smmu, vmid);
                self.sync()?;
                self.banks.enable(&self.smmu, bank, &space)?;
                bank
            }
        };
        self.groups.lead(&self.smmu, &packed, bank);
        Ok(())
    }

    /// Makes streams fault; returns when no transaction uses their old translation any more. On an error some may: the
    /// domain's memory must not be used for anything else before a call has succeeded, or the SMMU is shut. It may be
    /// called for streams that are not attached, and again after it failed.
    ///
    /// A bank goes off only when nothing leads to it and what was in flight has ended: off, it lets everything pass.
    pub fn detach(&mut self, streams: &[Stream]) -> Result<(), Error> {
        self.groups.fault(&self.smmu, streams)?;
        self.finish()
    }

    /// Forgets cached translations of a range; returns when no transaction uses them any more.
    pub fn invalidate(&mut self, range: &IpaRange) -> Result<(), Error> {
        let vmid = self.vmid(range.vmid)?;
        let (first, count) = pages(range, walker(self.features()).input_bits)?;
        let by_page = self.features().aarch64_tables && (1..=PAGE_LIMIT).contains(&count);
        if let Some(bank) = self.banks.of(vmid).filter(|_| by_page) {
            return forget_pages(&self.smmu, &self.clock, bank, first..first + count);
        }
        forget_vmid(&self.smmu, vmid);
        self.sync()
    }

    /// Handles an interrupt of any of the SMMU's wires: gives faults to `report` and clears them. Which wire fired does
    /// not matter, so a lost or a shared interrupt cannot leave anything behind. Each frame, and each bank in it, has one
    /// fault to tell at most.
    pub fn interrupt(&mut self, mut report: impl FnMut(&Event)) -> InterruptReport {
        let mut outcome = InterruptReport {
            events: 0,
            lost: 0,
            more: false,
            global_errors: 0,
            dead: false,
        };
        let mut tell = |fault: Fault| {
            outcome.dead |= fault.dead;
            outcome.global_errors |= fault.other;
            outcome.lost += u32::from(fault.lost);
            if let Some(event) = &fault.event {
                outcome.events += 1;
                report(event);
            }
            if fault.lost {
                report(&Event::LOST);
            }
        };
        for frame in self.smmu.each_frame() {
            fault::take_global(&frame).into_iter().for_each(&mut tell);
            let banks = self.banks.used();
            banks
                .filter_map(|bank| fault::take_context(&frame, bank))
                .for_each(&mut tell);
        }
        let pending = |frame: Smmu<&B>| fault::any(&frame, self.banks.used());
        outcome.more = self.smmu.each_frame().any(pending);
        outcome
    }

    /// Makes every stream fault; returns when nothing uses an old translation any more.
    pub fn quiesce(&mut self) -> Result<(), Error> {
        self.groups.fault_all(&self.smmu);
        self.smmu.forget_all(&self.clock, SYNC_TIMEOUT_US)?;
        self.groups.give_up(&self.smmu);
        self.finish()
    }

    /// Ends translation, with the gate shut behind it, and gives everything back. No stream faults any less for it.
    #[expect(
        clippy::result_large_err,
        reason = "a driver that could not be released goes back to its owner, without a heap"
    )]
    pub fn release(mut self) -> Result<(Frames<B>, C), Unreleased<B, C>> {
        let shut = self
            .quiesce()
            .and_then(|()| Ok(shut_v2(&self.smmu, &self.clock).map(|_| ())?));
        match shut {
            Ok(()) => Ok((self.smmu.into_frames(), self.clock)),
            Err(error) => Err(Unreleased { driver: self, error }),
        }
    }

    /// Gives up the groups that were made to fault, and then the banks that nothing leads to any more: each when the
    /// SMMU has forgotten what went through it. What an earlier call could not finish is finished as well.
    fn finish(&mut self) -> Result<(), Error> {
        let leaving = |bank: &u16| self.groups.is_leaving(*bank);
        if self.forget(self.banks.used().filter(leaving))? {
            self.groups.give_up(&self.smmu);
        }
        self.banks.disable_unused(&self.smmu, &self.groups);
        if self.forget(self.banks.leaving())? {
            self.banks.give_up();
        }
        Ok(())
    }

    /// Forgets everything of some banks' address spaces, if there are any.
    fn forget(&self, banks: impl Iterator<Item = u16>) -> Result<bool, Error> {
        let mut any = false;
        for vmid in banks.filter_map(|bank| self.banks.vmid(bank)) {
            forget_vmid(&self.smmu, vmid);
            any = true;
        }
        if any {
            self.sync()?;
        }
        Ok(any)
    }

    /// Waits until what was asked to be forgotten is, and nothing uses it any more.
    fn sync(&self) -> Result<(), Error> {
        Ok(self.smmu.sync(&self.clock, SYNC_TIMEOUT_US)?)
    }

    /// A VMID as the SMMU is told of it.
    fn vmid(&self, vmid: u16) -> Result<Vmid, Error> {
        let vmid_bits = self.features().vmid_bits;
        let based = vmid.checked_add(self.setup.vmid_base);
        let fits = based.filter(|&based| u32::from(based) >> vmid_bits == 0);
        fits.map(Vmid)
            .ok_or(Error::Domain(DomainError::Vmid { vmid, vmid_bits }))
    }
}

/// What a domain has to fit.
fn walker(features: &Features) -> Walker {
    let (input_bits, output_bits) = features.table_bits();
    Walker {
        input_bits,
        output_bits,
        vmid_bits: features.vmid_bits,
    }
}
