//! A vCPU's general registers, and the switch between them and ours.
#![expect(unsafe_code, reason = "entering a guest is what this file is for")]

use crate::arch::percpu::PerCpu;
use core::mem::offset_of;

core::arch::global_asm!(
    include_str!("vcpu.S"),
    vcpu = const offset_of!(PerCpu, vcpu),
    elr = const offset_of!(Frame, elr),
    esr = const offset_of!(Frame, esr),
    hpfar = const offset_of!(Frame, hpfar),
);

unsafe extern "C" {
    /// `vcpu.S`.
    fn guest_enter(frame: *mut Frame) -> u64;
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
    /// Runs the guest on this CPU until its next exit.
    ///
    /// The caller has set up what the frame does not hold: `HCR_EL2`, `VTTBR_EL2`, the list registers, and EL1's own registers.
    pub fn run(&mut self) -> Exit {
        // SAFETY: the frame is ours alone; `vcpu.S` reads and writes it, and keeps to the calling convention. What the
        // guest can reach is what its stage 2 maps, and none of our memory is.
        match unsafe { guest_enter(self) } {
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
