//! A vCPU's general registers, and the switch between them and ours.
#![expect(unsafe_code, reason = "entering a guest is what this file is for")]

use crate::arch::cpu;
use crate::arch::percpu::PerCpu;
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CPTR_EL2, ID_AA64ISAR1_EL1};
use core::mem::offset_of;
use tock_registers::interfaces::{Readable, Writeable};

core::arch::global_asm!(
    include_str!("vcpu.S"),
    vcpu = const offset_of!(PerCpu, vcpu),
    elr = const offset_of!(Frame, elr),
    esr = const offset_of!(Frame, esr),
    hpfar = const offset_of!(Frame, hpfar),
    sp = const offset_of!(Frame, sp),
);

unsafe extern "C" {
    /// `vcpu.S`.
    fn guest_enter(frame: *mut Frame) -> u64;
    fn guest_reset(has_keys: u64);
}

/// Puts EL1's registers on this CPU into the state in which a guest's CPU starts.
pub fn reset_el1() {
    /// `ID_AA64ISAR1_EL1.APA`, `API`, `GPA` and `GPI`; `ID_AA64ISAR2_EL1.GPA3` and `APA3`.
    const KEYS: u64 = 0xf << 4 | 0xf << 8 | 0xf << 24 | 0xf << 28;
    const KEYS_2: u64 = 0xf << 8 | 0xf << 12;
    let isar2: u64;
    // SAFETY: reading an identification register; one that is not there reads as zero.
    unsafe {
        core::arch::asm!("mrs {}, s3_0_c0_c6_2", out(reg) isar2, options(nomem, nostack, preserves_flags))
    };
    let has_keys = ID_AA64ISAR1_EL1.get() & KEYS | isar2 & KEYS_2;
    CPTR_EL2.set(cpu::CPTR_GUEST);
    barrier::isb(barrier::SY);
    // SAFETY: EL1's registers act on guests only; floating point does not trap, and the core does not use it.
    unsafe { guest_reset(has_keys) };
    CPTR_EL2.set(cpu::CPTR_TRAP_ALL);
    barrier::isb(barrier::SY);
}

/// The registers of a vCPU while EL2 runs, and why it stopped. `vcpu.S` knows this layout.
#[repr(C)]
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on.
    pub elr: u64,
    /// Its PSTATE.
    pub spsr: u64,
    /// `ESR_EL2` of the exit.
    pub esr: u64,
    /// `FAR_EL2` of the exit.
    pub far: u64,
    /// `HPFAR_EL2` of the exit.
    pub hpfar: u64,
    /// Its stack pointer at EL0, `SP_EL0`.
    pub sp: u64,
}

/// Which vector a guest left through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did something that traps; `Frame::esr` says what.
    Sync,
    /// A physical interrupt is pending.
    Irq,
    /// A physical fast interrupt is pending. Nobody configures any.
    Fiq,
    /// A system error arrived.
    SError,
}

impl Frame {
    /// The registers of a vCPU that begins at `entry` with `argument` in x0: at EL1, everything masked.
    pub fn starting_at(entry: u64, argument: u64) -> Frame {
        /// EL1h, DAIF set (DDI 0487 C5.2.19).
        const START: u64 = 0x3c5;
        let mut frame = Frame {
            elr: entry,
            spsr: START,
            ..Frame::default()
        };
        frame.set(0, argument);
        frame
    }

    /// Runs the guest on this CPU until its next exit.
    ///
    /// The caller has set up what the frame does not hold: `HCR_EL2`, `VTTBR_EL2`, the list registers, and EL1's own registers.
    pub fn run(&mut self) -> Exit {
        CPTR_EL2.set(cpu::CPTR_GUEST);
        // SAFETY: the frame is ours alone; `vcpu.S` reads and writes it, and keeps to the calling convention. What the
        // guest can reach is what its stage 2 maps, and none of our memory is.
        let vector = unsafe { guest_enter(self) };
        // A component that uses floating point is to be caught.
        CPTR_EL2.set(cpu::CPTR_TRAP_ALL);
        match vector {
            0 => Exit::Sync,
            1 => Exit::Irq,
            2 => Exit::Fiq,
            _ => Exit::SError,
        }
    }

    /// General register `index`; 31 reads as zero (XZR).
    pub fn get(&self, index: usize) -> u64 {
        self.x.get(index).copied().unwrap_or(0)
    }

    /// Sets general register `index`; 31 is dropped (XZR).
    pub fn set(&mut self, index: usize, value: u64) {
        if let Some(register) = self.x.get_mut(index) {
            *register = value;
        }
    }

    /// Goes on behind the instruction that trapped. All A64 instructions are 4 bytes.
    pub fn skip(&mut self) {
        self.elr = self.elr.wrapping_add(4);
    }
}
