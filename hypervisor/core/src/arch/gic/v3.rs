//! Distributor and redistributors of a GICv3 (IHI 0069 12.9 to 12.11).

use super::frame::Frame;
use super::{FIRST_SHARED, GicError, icc};
use crate::arch::mmu;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::timer::Now;
use alloc::vec::Vec;
use devicetree::{Node, Trigger};
use mmio::{Bus, Region, wait_until};
use spin::Once;

/// How long a register write may take to have effect.
const EFFECT_US: u64 = 100_000;
/// A redistributor's two frames, and four for one that knows virtual LPIs, in bytes.
const REDISTRIBUTOR_SIZE: usize = 0x2_0000;
const REDISTRIBUTOR_SIZE_VLPI: usize = 0x4_0000;
/// Offset of a redistributor's second frame, SGI_base, in bytes. It repeats the distributor's layout for IDs 0 to 31.
const SGI_BASE: usize = 0x1_0000;

const GICD_CTLR: usize = 0x0000;
const GICD_TYPER: usize = 0x0004;
const GICD_IROUTER: usize = 0x6000;
const GICR_CTLR: usize = 0x0000;
const GICR_TYPER: usize = 0x0008;
const GICR_WAKER: usize = 0x0014;
/// Which group an interrupt is in, in the distributor and in SGI_base alike.
const IGROUPR: usize = 0x0080;

/// GICD_CTLR: register write pending.
const GICD_RWP: u32 = 1 << 31;
/// GICD_CTLR: affinity routing, and group 1 on, as non-secure software and a GIC of one security state both see them.
const GICD_ARE: u32 = 1 << 4;
const GICD_ENABLE_GROUP1: u32 = 1 << 1;
/// GICR_CTLR: register write pending.
const GICR_RWP: u32 = 1 << 3;
/// GICR_WAKER.
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// GICR_TYPER: last redistributor of its region; virtual LPIs.
const TYPER_LAST: u64 = 1 << 4;
const TYPER_VLPIS: u64 = 1 << 1;

/// A GICv3.
#[derive(Debug)]
pub(super) struct GicV3 {
    distributor: Region,
    redistributors: Vec<Region>,
    /// From the tree, where redistributors lie further apart than their size says, in bytes.
    stride: Option<usize>,
    /// One more than the highest shared interrupt's ID.
    count: u32,
    /// Where each CPU's redistributor is: region and offset.
    own: [Once<(usize, usize)>; MAX_CPUS],
}

impl GicV3 {
    /// Maps the registers of the one that `node` describes.
    pub(super) fn open(node: &Node<'_>) -> Result<Self, GicError> {
        let regions = node.u32("#redistributor-regions")?.unwrap_or(1);
        let stride = node
            .property("redistributor-stride")
            .map(|stride| stride.number())
            .transpose()?;
        let map = |index: usize| -> Result<Region, GicError> {
            let window = node.reg(index)?;
            Ok(mmu::map_device(window.address(), window.size())?)
        };
        let distributor = map(0)?;
        let redistributors = (1..=regions as usize).map(map).collect::<Result<Vec<_>, _>>()?;
        // ITLinesNumber: groups of 32, the private ones included; IDs from 1020 on are special.
        let count = ((distributor.read32(GICD_TYPER) & 0x1f) + 1)
            .saturating_mul(32)
            .min(1020);
        Ok(GicV3 {
            distributor,
            redistributors,
            stride: stride.and_then(|stride| usize::try_from(stride).ok()),
            count,
            own: [const { Once::new() }; MAX_CPUS],
        })
    }

    /// Shared interrupts: off, inactive, group 1, normal priority, to this CPU.
    pub(super) fn init_distributor(&self) -> Result<(), GicError> {
        let frame = Frame {
            region: &self.distributor,
            base: 0,
        };
        self.distributor.write32(GICD_CTLR, 0);
        self.settle_distributor()?;
        for group in 1..self.count.div_ceil(32) as usize {
            frame.quiet(group);
            frame.region.write32(IGROUPR + 4 * group, u32::MAX);
        }
        self.settle_distributor()?;
        self.distributor.write32(GICD_CTLR, GICD_ARE);
        self.settle_distributor()?;
        self.distributor.write32(GICD_CTLR, GICD_ARE | GICD_ENABLE_GROUP1);
        self.settle_distributor()?;
        for intid in FIRST_SHARED..self.count {
            self.route(intid, percpu::own_affinity())?;
        }
        Ok(())
    }

    /// This CPU's part.
    pub(super) fn init_cpu(&self) -> Result<(), GicError> {
        self.init_redistributor()?;
        icc::init()
    }

    /// This CPU's redistributor: awake, private interrupts off, inactive, group 1, normal priority.
    fn init_redistributor(&self) -> Result<(), GicError> {
        let (cpu, affinity) = (percpu::this().index(), percpu::own_affinity());
        let (index, base) = self
            .search(affinity)
            .ok_or(GicError::NoRedistributor { cpu, affinity })?;
        let region = self.redistributors.get(index).ok_or(GicError::NotReady)?;
        self.own
            .get(cpu)
            .ok_or(GicError::NotReady)?
            .call_once(|| (index, base));

        region.write32(
            base + GICR_WAKER,
            region.read32(base + GICR_WAKER) & !PROCESSOR_SLEEP,
        );
        wait_until(&Now, EFFECT_US, || {
            region.read32(base + GICR_WAKER) & CHILDREN_ASLEEP == 0
        })
        .map_err(|timeout| GicError::Timeout {
            register: "GICR_WAKER",
            timeout,
        })?;
        let frame = Frame {
            region,
            base: base + SGI_BASE,
        };
        frame.quiet(0);
        region.write32(frame.base + IGROUPR, u32::MAX);
        if let Err(error) = its::Redistributor::new(region, base).turn_off(&Now) {
            log::warn!(target: "gic", "CPU {cpu}: {error}");
        }
        self.settle_redistributor()
    }

    /// The redistributor of a CPU that has set it up: region and offset.
    pub(super) fn redistributor_of(&self, cpu: usize) -> Result<(&Region, usize), GicError> {
        let own = self.own.get(cpu).and_then(Once::get);
        let (index, base) = own.ok_or(GicError::NotReady)?;
        Ok((self.redistributors.get(*index).ok_or(GicError::NotReady)?, *base))
    }

    /// Bits of an interrupt's number: GICD_TYPER.IDbits.
    pub(super) fn id_bits(&self) -> u32 {
        (self.distributor.read32(GICD_TYPER) >> 19 & 0x1f) + 1
    }

    /// Where the redistributor for that affinity is: region and offset.
    fn search(&self, affinity: u64) -> Option<(usize, usize)> {
        // GICR_TYPER has Aff3 to Aff0 in one piece, MPIDR has a gap.
        let wanted = ((affinity >> 8) & 0xff00_0000) | (affinity & 0xff_ffff);
        for (index, region) in self.redistributors.iter().enumerate() {
            let mut base = 0;
            while base + REDISTRIBUTOR_SIZE <= region.size() {
                let typer = region.read64(base + GICR_TYPER);
                if typer >> 32 == wanted {
                    return Some((index, base));
                }
                if typer & TYPER_LAST != 0 {
                    break;
                }
                let size = if typer & TYPER_VLPIS == 0 {
                    REDISTRIBUTOR_SIZE
                } else {
                    REDISTRIBUTOR_SIZE_VLPI
                };
                base += self.stride.unwrap_or(size).max(REDISTRIBUTOR_SIZE);
            }
        }
        None
    }

    fn settle_distributor(&self) -> Result<(), GicError> {
        wait_until(&Now, EFFECT_US, || {
            self.distributor.read32(GICD_CTLR) & GICD_RWP == 0
        })
        .map_err(|timeout| GicError::Timeout {
            register: "GICD_CTLR.RWP",
            timeout,
        })
    }

    fn settle_redistributor(&self) -> Result<(), GicError> {
        let (region, base) = self.own()?;
        wait_until(&Now, EFFECT_US, || {
            region.read32(base + GICR_CTLR) & GICR_RWP == 0
        })
        .map_err(|timeout| GicError::Timeout {
            register: "GICR_CTLR.RWP",
            timeout,
        })
    }

    /// This CPU's redistributor.
    fn own(&self) -> Result<(&Region, usize), GicError> {
        self.redistributor_of(percpu::this().index())
    }

    /// The registers that hold an interrupt's state.
    fn frame(&self, intid: u32) -> Result<Frame<'_>, GicError> {
        if intid < FIRST_SHARED {
            let (region, base) = self.own()?;
            Ok(Frame {
                region,
                base: base + SGI_BASE,
            })
        } else if intid < self.count {
            Ok(Frame {
                region: &self.distributor,
                base: 0,
            })
        } else {
            Err(GicError::NoSuchInterrupt(intid))
        }
    }

    pub(super) fn enable(&self, intid: u32) -> Result<(), GicError> {
        self.frame(intid)?.enable(intid);
        Ok(())
    }

    pub(super) fn disable(&self, intid: u32) -> Result<(), GicError> {
        self.frame(intid)?.disable(intid);
        if intid < FIRST_SHARED {
            self.settle_redistributor()
        } else {
            self.settle_distributor()
        }
    }

    pub(super) fn clear(&self, intid: u32) -> Result<(), GicError> {
        self.frame(intid)?.clear(intid);
        Ok(())
    }

    pub(super) fn set_priority(&self, intid: u32, priority: u8) -> Result<(), GicError> {
        self.frame(intid)?.set_priority(intid, priority);
        Ok(())
    }

    pub(super) fn set_trigger(&self, intid: u32, trigger: Trigger) -> Result<(), GicError> {
        self.frame(intid)?.set_trigger(intid, trigger);
        Ok(())
    }

    pub(super) fn route(&self, intid: u32, affinity: u64) -> Result<(), GicError> {
        if intid < FIRST_SHARED || intid >= self.count {
            return Err(GicError::NoSuchInterrupt(intid));
        }
        self.distributor
            .write64(GICD_IROUTER + 8 * intid as usize, affinity);
        Ok(())
    }
}
