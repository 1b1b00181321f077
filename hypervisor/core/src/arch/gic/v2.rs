//! A GICv2 (IHI 0048): distributor, CPU interface and, for guests, the virtual CPU interface.
//!
//! Interrupts stay in the group that they are in: seen by non-secure software, which has one group only, as by
//! software on a GIC without security states, bit 0 of the control registers turns that group on (IHI 0048 4.3.1, 4.4.1).

use super::frame::Frame;
use super::{FIRST_SHARED, FIRST_SPECIAL, GicError, LAST_SGI, LAST_SPECIAL};
use crate::arch::mmu;
use crate::arch::percpu::{self, MAX_CPUS, PerCpu};
use crate::arch::timer::Now;
use aarch64_cpu::asm::barrier;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use devicetree::{Node, Trigger};
use mmio::{Bus, Region, wait_until};

/// What the nodes of GICv2 are compatible with that have a virtual CPU interface.
pub(super) const COMPATIBLE: [&str; 3] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];

/// How long a register write may take to have effect.
const EFFECT_US: u64 = 100_000;

// Distributor (IHI 0048 4.3).
const GICD_CTLR: usize = 0x000;
const GICD_TYPER: usize = 0x004;
const GICD_ITARGETSR: usize = 0x800;
const GICD_SGIR: usize = 0xf00;
const GICD_CPENDSGIR: usize = 0xf10;
const CTLR_ENABLE: u32 = 1 << 0;
/// GICD_SGIR.TargetListFilter: to all but this CPU.
const SGIR_OTHERS: u32 = 1 << 24;
const SGIR_TARGETS_SHIFT: u32 = 16;

// CPU interface (IHI 0048 4.4).
const GICC_CTLR: usize = 0x000;
const GICC_PMR: usize = 0x004;
const GICC_BPR: usize = 0x008;
const GICC_IAR: usize = 0x00c;
const GICC_EOIR: usize = 0x010;
const GICC_APR: usize = 0x0d0;
const GICC_DIR: usize = 0x1000;
const GICC_CTLR_ENABLE: u32 = 1 << 0;
/// GICC_CTLR.EOImode, in this place without security states, and EOImodeNS for non-secure software: GICC_EOIR drops the
/// priority, GICC_DIR deactivates.
const GICC_CTLR_EOIMODE: u32 = 1 << 9;
/// GICC_CTLR: firmware's choice of what bypasses the CPU interface when it is off.
const GICC_CTLR_BYPASS: u32 = 0x1e0;
/// GICC_IAR: interrupt, and for an SGI the CPU that sent it, which GICC_EOIR and GICC_DIR want to know, too.
const IAR_INTID: u32 = 0x3ff;
const IAR_SOURCE: u32 = 0x7 << 10;

/// The two pages of a CPU interface lie so far apart that each can be mapped alone where pages have 64 KiB.
const APART_SIZE: u64 = 0x2_0000;
/// Each of them is there 16 times then, and from here on they follow each other.
const APART_OFFSET: u64 = 0xf000;
const PAGES: u64 = 0x2000;

/// A GICv2.
#[derive(Debug)]
pub(super) struct GicV2 {
    distributor: Region,
    cpu: Region,
    guests: VirtualInterface,
    /// One more than the highest shared interrupt's ID.
    count: u32,
    /// Each CPU's bit in target lists; zero before it has told.
    targets: [AtomicU8; MAX_CPUS],
    /// The CPU that sent the software interrupt that each CPU acknowledged last, as in GICC_IAR.
    sources: [AtomicU32; MAX_CPUS],
}

/// What guests' interrupts go through. Each CPU sees its own registers.
#[derive(Debug)]
pub struct VirtualInterface {
    /// GICH, the hypervisor's side (IHI 0048 5.3).
    pub control: Region,
    /// GICV, the guest's side (IHI 0048 5.5).
    pub cpu: Region,
}

impl GicV2 {
    /// Maps the registers of the one that `node` describes.
    pub(super) fn open(node: &Node<'_>) -> Result<Self, GicError> {
        let map = |index: usize| -> Result<Region, GicError> {
            let window = node.reg(index)?;
            Ok(mmu::map_device(window.address(), window.size())?)
        };
        let pages = |index: usize| -> Result<Region, GicError> {
            let window = node.reg(index)?;
            if window.size() == APART_SIZE {
                Ok(mmu::map_device(window.address() + APART_OFFSET, PAGES)?)
            } else if window.size() < PAGES {
                Err(GicError::TooSmall { index })
            } else {
                Ok(mmu::map_device(window.address(), PAGES)?)
            }
        };
        let distributor = map(0)?;
        // ITLinesNumber (IHI 0048 4.3.2): groups of 32, the private ones included.
        let lines = (distributor.read32(GICD_TYPER) & 0x1f) + 1;
        Ok(GicV2 {
            distributor,
            cpu: pages(1)?,
            guests: VirtualInterface {
                control: map(2)?,
                cpu: pages(3)?,
            },
            count: lines.saturating_mul(32).min(FIRST_SPECIAL),
            targets: [const { AtomicU8::new(0) }; MAX_CPUS],
            sources: [const { AtomicU32::new(0) }; MAX_CPUS],
        })
    }

    pub(super) fn virtual_interface(&self) -> &VirtualInterface {
        &self.guests
    }

    /// Shared interrupts: off, inactive, normal priority, to this CPU.
    pub(super) fn init_distributor(&self) {
        self.distributor.write32(GICD_CTLR, 0);
        for group in 1..self.count.div_ceil(32) as usize {
            self.frame().quiet(group);
        }
        let own = u32::from_ne_bytes([self.own_target(); 4]);
        for four in FIRST_SHARED / 4..self.count / 4 {
            self.distributor.write32(GICD_ITARGETSR + 4 * four as usize, own);
        }
        self.distributor.write32(GICD_CTLR, CTLR_ENABLE);
    }

    /// This CPU's part: private interrupts off, inactive, normal priority; all priorities let in; two-step end.
    pub(super) fn init_cpu(&self) -> Result<(), GicError> {
        let cpu = percpu::this().index();
        if let Some(target) = self.targets.get(cpu) {
            target.store(self.own_target(), Ordering::Release);
        }
        self.cpu.write32(GICC_CTLR, 0);
        self.frame().quiet(0);
        for four in 0..4 {
            self.distributor.write32(GICD_CPENDSGIR + 4 * four, u32::MAX);
        }
        for word in 0..4 {
            self.cpu.write32(GICC_APR + 4 * word, 0);
        }
        self.cpu.write32(GICC_BPR, 0);
        self.set_priority_mask(super::MASK_OPEN);
        // Every GIC has the 16 levels that the core's priorities need (IHI 0048 3.3), but where firmware lets in only its own
        // priorities this write is ignored.
        let mask = self.cpu.read32(GICC_PMR);
        if mask != u32::from(super::MASK_OPEN) {
            return Err(GicError::PriorityMask { cpu, mask });
        }
        let bypass = self.cpu.read32(GICC_CTLR) & GICC_CTLR_BYPASS;
        self.cpu
            .write32(GICC_CTLR, bypass | GICC_CTLR_ENABLE | GICC_CTLR_EOIMODE);
        Ok(())
    }

    /// This CPU's bit in target lists. The registers of private interrupts tell it (IHI 0048 4.3.12); on a machine with one
    /// CPU they read as zero.
    fn own_target(&self) -> u8 {
        (0..FIRST_SHARED as usize / 4)
            .flat_map(|word| self.distributor.read32(GICD_ITARGETSR + 4 * word).to_ne_bytes())
            .fold(0, |own, target| own | target)
    }

    fn target_of(&self, cpu: usize) -> u8 {
        self.targets
            .get(cpu)
            .map_or(0, |target| target.load(Ordering::Acquire))
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            region: &self.distributor,
            base: 0,
        }
    }

    fn frame_of(&self, intid: u32) -> Result<Frame<'_>, GicError> {
        if intid < self.count {
            Ok(self.frame())
        } else {
            Err(GicError::NoSuchInterrupt(intid))
        }
    }

    pub(super) fn enable(&self, intid: u32) -> Result<(), GicError> {
        self.frame_of(intid)?.enable(intid);
        Ok(())
    }

    pub(super) fn disable(&self, intid: u32) -> Result<(), GicError> {
        let frame = self.frame_of(intid)?;
        frame.disable(intid);
        // There is no RWP bit; what has been read back has been written.
        wait_until(&Now, EFFECT_US, || !frame.is_enabled(intid)).map_err(|timeout| GicError::Timeout {
            register: "GICD_ICENABLER",
            timeout,
        })
    }

    pub(super) fn clear(&self, intid: u32) -> Result<(), GicError> {
        self.frame_of(intid)?.clear(intid);
        Ok(())
    }

    pub(super) fn set_priority(&self, intid: u32, priority: u8) -> Result<(), GicError> {
        self.frame_of(intid)?.set_priority(intid, priority);
        Ok(())
    }

    pub(super) fn set_trigger(&self, intid: u32, trigger: Trigger) -> Result<(), GicError> {
        self.frame_of(intid)?.set_trigger(intid, trigger);
        Ok(())
    }

    pub(super) fn route(&self, intid: u32, cpu: &PerCpu) -> Result<(), GicError> {
        if intid < FIRST_SHARED {
            return Err(GicError::NoSuchInterrupt(intid));
        }
        let target = u32::from(self.target_of(cpu.index()));
        self.frame_of(intid)?.set_field(GICD_ITARGETSR, intid, 8, target);
        Ok(())
    }

    pub(super) fn acknowledge(&self) -> Option<u32> {
        let value = self.cpu.read32(GICC_IAR);
        barrier::dsb(barrier::SY);
        let intid = value & IAR_INTID;
        if intid <= LAST_SGI
            && let Some(source) = self.sources.get(percpu::this().index())
        {
            source.store(value & IAR_SOURCE, Ordering::Relaxed);
        }
        (!(FIRST_SPECIAL..=LAST_SPECIAL).contains(&intid)).then_some(intid)
    }

    /// GICC_EOIR and GICC_DIR want back what GICC_IAR said.
    fn acknowledged(&self, intid: u32) -> u32 {
        let source = self.sources.get(percpu::this().index());
        match source.filter(|_| intid <= LAST_SGI) {
            Some(source) => source.load(Ordering::Relaxed) | intid,
            None => intid,
        }
    }

    pub(super) fn end(&self, intid: u32) {
        self.cpu.write32(GICC_EOIR, self.acknowledged(intid));
        barrier::dsb(barrier::SY);
    }

    pub(super) fn deactivate(&self, intid: u32) {
        self.cpu.write32(GICC_DIR, self.acknowledged(intid));
        barrier::dsb(barrier::SY);
    }

    pub(super) fn set_priority_mask(&self, mask: u8) {
        self.cpu.write32(GICC_PMR, u32::from(mask));
        barrier::dsb(barrier::SY);
    }

    /// To one CPU, if it has told which it is.
    pub(super) fn send(&self, intid: u32, cpu: &PerCpu) {
        self.send_raw(u32::from(self.target_of(cpu.index())) << SGIR_TARGETS_SHIFT | intid);
    }

    pub(super) fn send_to_others(&self, intid: u32) {
        self.send_raw(SGIR_OTHERS | intid);
    }

    fn send_raw(&self, value: u32) {
        // What the other CPU is to see must be there before the interrupt.
        barrier::dsb(barrier::ISH);
        self.distributor.write32(GICD_SGIR, value);
    }
}
