//! The GIC as the guest machine has it, a GICv3 (Arm IHI 0069) or a GICv2 (IHI 0048), and waiting.
//!
//! PSTATE.I stays set. A pending interrupt ends `WFI` all the same (DDI 0487 D1.6), and is then acknowledged by
//! reading `ICC_IAR1_EL1` or `GICC_IAR`.

use crate::clock::Instant;
use crate::registers::Registers;
use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{CNTV_CTL_EL0, CNTV_CVAL_EL0, MPIDR_EL1};
use core::arch::asm;
use core::ops::RangeInclusive;
use tock_registers::interfaces::{Readable, Writeable};

/// The virtual timer's interrupt.
const TIMER: u32 = 27;
/// These INTIDs mean that nothing is pending.
const SPECIAL: RangeInclusive<u32> = 1020..=1023;
/// SPIs begin here; below are the CPU's own interrupts, which its redistributor holds.
const FIRST_SPI: u32 = 32;
const LOWEST_PRIORITY: u64 = 0xff;
const PRIORITY: u8 = 0xa0;

/// Distributor and redistributor registers (IHI 0069 12.9, 12.11). The second frame of a redistributor holds
/// the registers of SGIs and PPIs at the offsets that the distributor has for SPIs.
const CTLR: u64 = 0x0000;
const WAKER: u64 = 0x0014;
const IGROUPR: u64 = 0x0080;
const ISENABLER: u64 = 0x0100;
const IPRIORITYR: u64 = 0x0400;
const IROUTER: u64 = 0x6000;
const PROPBASER: u64 = 0x0070;
const PENDBASER: u64 = 0x0078;
const SGI_FRAME: u64 = 0x1_0000;
/// GICD_CTLR with one security state or seen from the non-secure side: ARE and EnableGrp1.
const CTLR_ARE: u32 = 1 << 4;
const CTLR_ENABLE_GROUP1: u32 = 1 << 1;
/// GICR_CTLR.
const ENABLE_LPIS: u32 = 1 << 0;
/// GICR_WAKER.
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// The same of a GICv2: its enable bit, and the CPUs that an interrupt goes to (IHI 0048 4.3).
const V2_ENABLE: u32 = 1 << 0;
const ITARGETSR: u64 = 0x0800;
/// The CPU interface of a GICv2 (IHI 0048 4.4).
const GICC_CTLR: u64 = 0x00;
const GICC_PMR: u64 = 0x04;
const GICC_IAR: u64 = 0x0c;
const GICC_EOIR: u64 = 0x10;
const NUMBER: u32 = 0x3ff;
/// How often a register is looked at for a change that takes no time on any machine.
const PATIENCE: u32 = 100_000;
/// Affinity fields of MPIDR_EL1, which are those of GICD_IROUTER.
const AFFINITY: u64 = 0xff_00ff_ffff;

macro_rules! write_register {
    ($name:literal, $value:expr) => {
        // SAFETY: a register of the GIC's CPU interface; only this program's interrupts depend on it.
        unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, nomem)) }
    };
}

/// The GIC, with this CPU ready to take interrupts.
#[derive(Debug, Clone, Copy)]
pub struct Interrupts {
    distributor: Registers,
    /// On a GICv2 there is none, and the distributor stands in for it.
    redistributor: Registers,
    /// The registers of this CPU's own interrupts.
    own: Registers,
    /// The CPU interface, where it is not system registers.
    cpu: Option<Registers>,
}

impl Interrupts {
    /// Enables a GICv2 with its distributor and CPU interface at the given addresses.
    ///
    /// # Safety
    /// They are there.
    pub(crate) unsafe fn enable_gicv2(distributor: u64, cpu: u64) -> Interrupts {
        // SAFETY: the caller's promise.
        let distributor = unsafe { Registers::new(distributor) };
        // SAFETY: the caller's promise.
        let cpu = unsafe { Registers::new(cpu) };
        distributor.write32(CTLR, V2_ENABLE);
        cpu.write32(GICC_PMR, 0xff);
        cpu.write32(GICC_CTLR, V2_ENABLE);
        let interrupts = Interrupts {
            distributor,
            redistributor: distributor,
            own: distributor,
            cpu: Some(cpu),
        };
        interrupts.enable(TIMER);
        interrupts
    }

    /// Enables a GICv3 with its distributor and this CPU's redistributor at the given addresses.
    ///
    /// # Safety
    /// They are there.
    pub(crate) unsafe fn enable_gicv3(distributor: u64, redistributor: u64) -> Interrupts {
        // SAFETY: the caller's promise.
        let distributor = unsafe { Registers::new(distributor) };
        // SAFETY: the caller's promise.
        let redistributor = unsafe { Registers::new(redistributor) };
        // SAFETY: it belongs to the redistributor.
        let own = unsafe { Registers::new(redistributor.base() + SGI_FRAME) };

        distributor.write32(CTLR, CTLR_ARE | CTLR_ENABLE_GROUP1);
        redistributor.write32(WAKER, redistributor.read32(WAKER) & !PROCESSOR_SLEEP);
        for _ in 0..PATIENCE {
            if redistributor.read32(WAKER) & CHILDREN_ASLEEP == 0 {
                break;
            }
        }
        // ICC_SRE_EL1.SRE, ICC_PMR_EL1, ICC_IGRPEN1_EL1 (IHI 0069 12.2).
        write_register!("ICC_SRE_EL1", 1_u64);
        barrier::isb(barrier::SY);
        write_register!("ICC_PMR_EL1", LOWEST_PRIORITY);
        write_register!("ICC_IGRPEN1_EL1", 1_u64);
        barrier::isb(barrier::SY);

        let interrupts = Interrupts {
            distributor,
            redistributor,
            own,
            cpu: None,
        };
        interrupts.enable(TIMER);
        interrupts
    }

    /// Lets interrupt `id` come to this CPU.
    pub fn enable(&self, id: u32) {
        let frame = if id < FIRST_SPI {
            self.own
        } else {
            self.distributor
        };
        let (word, bit) = (u64::from(id / 32) * 4, 1 << (id % 32));
        frame.write32(IGROUPR + word, frame.read32(IGROUPR + word) | bit);
        frame.write8(IPRIORITYR + u64::from(id), PRIORITY);
        if id >= FIRST_SPI && self.cpu.is_some() {
            // The first register tells which CPU this is.
            let [this_cpu, ..] = frame.read32(ITARGETSR).to_le_bytes();
            frame.write8(ITARGETSR + u64::from(id), this_cpu);
        } else if id >= FIRST_SPI {
            frame.write64(IROUTER + u64::from(id) * 8, MPIDR_EL1.get() & AFFINITY);
        }
        frame.write32(ISENABLER + word, bit);
    }

    /// Lets LPIs come to this CPU, with what GICR_PROPBASER and GICR_PENDBASER say of their tables.
    pub(crate) fn enable_lpis(&self, configuration: u64, pending: u64) {
        self.redistributor.write64(PROPBASER, configuration);
        self.redistributor.write64(PENDBASER, pending);
        self.redistributor.write32(CTLR, ENABLE_LPIS);
    }

    /// Waits for an interrupt until `deadline`. The one that came is active until [`finish`](Self::finish).
    pub fn wait(&self, deadline: Instant) -> Option<u32> {
        loop {
            CNTV_CVAL_EL0.set(deadline.ticks());
            CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
            barrier::isb(barrier::SY);
            let id = self.acknowledge();
            if !SPECIAL.contains(&id) {
                stop_timer();
                if id != TIMER {
                    return Some(id);
                }
                self.finish(id);
            }
            if Instant::now() >= deadline {
                stop_timer();
                return None;
            }
            if SPECIAL.contains(&id) {
                wfi();
            }
        }
    }

    /// Ends the handling of interrupt `id`: its cause must be gone.
    pub fn finish(&self, id: u32) {
        barrier::dsb(barrier::SY);
        if let Some(cpu) = self.cpu {
            cpu.write32(GICC_EOIR, id);
            return;
        }
        write_register!("ICC_EOIR1_EL1", u64::from(id));
        barrier::isb(barrier::SY);
    }

    /// Does nothing for a while; interrupts that come are dropped.
    pub fn sleep_us(&self, us: u64) {
        let deadline = Instant::now().after_us(us);
        while let Some(id) = self.wait(deadline) {
            self.finish(id);
        }
    }

    fn acknowledge(&self) -> u32 {
        if let Some(cpu) = self.cpu {
            return cpu.read32(GICC_IAR) & NUMBER;
        }
        let id: u64;
        // SAFETY: it marks an interrupt as active; the caller handles it.
        unsafe { asm!("mrs {}, ICC_IAR1_EL1", out(reg) id, options(nostack, nomem)) };
        barrier::dsb(barrier::SY);
        u32::try_from(id & 0xff_ffff).unwrap_or(*SPECIAL.end())
    }
}

fn stop_timer() {
    CNTV_CTL_EL0.set(0);
    barrier::isb(barrier::SY);
}
