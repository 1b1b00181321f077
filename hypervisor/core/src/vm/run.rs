//! Running a vCPU: made ready, entered, and left again.

use super::Core;
use super::frame::{self, Exit, Frame};
use super::guest::{Guest, Power, Vcpu};
use super::interrupts::{self, Board};
use super::{control, lists};
use crate::arch::{cpu, gic, percpu};
use core::sync::atomic::Ordering;
use vdev::its::Its;
use vdev::vgic::{Flushed, ListRegister};

/// What a vCPU's own CPU keeps of it.
#[derive(Debug, Default)]
pub(super) struct Registers {
    pub(super) frame: Frame,
    lists: [ListRegister; lists::MOST],
    flushed: Flushed,
}

impl Guest {
    /// Runs a vCPU on this CPU, which must be its own. Returns with a physical interrupt pending, or after a rest if the
    /// vCPU has nothing to run.
    pub fn run(&'static self, vcpu: usize, core: &dyn Core) {
        let Some(own) = self
            .vcpus
            .get(vcpu)
            .filter(|own| own.cpu == percpu::this().index())
        else {
            return;
        };
        let mut registers = own.registers.lock();
        loop {
            if vcpu == 0 {
                self.settle(core);
                self.clear(core);
            }
            if !self.is_running() || !self.prepare(vcpu, own, &mut registers) {
                self.unload(own);
                cpu::wait_for_interrupt();
                return;
            }
            match self.enter(vcpu, own, &mut registers) {
                Exit::Irq => return,
                Exit::Sync => self.serve(vcpu, &mut registers.frame, core),
                Exit::Fiq => self.stop("a fast interrupt came while it ran, which nobody configured"),
                Exit::SError => self.stop_with_report(&registers.frame, "a system error came while it ran"),
            }
        }
    }

    /// Makes a vCPU ready that was turned on. Whether there is something to run.
    fn prepare(&'static self, vcpu: usize, own: &Vcpu, registers: &mut Registers) -> bool {
        let mut power = own.power.lock();
        let (entry, context) = match *power {
            Power::Off => return false,
            Power::On => return true,
            Power::Starting { entry, context } => (entry, context),
        };
        if !own.loaded.swap(true, Ordering::AcqRel) {
            control::load(self.vttbr, &self.geometry, own.affinity);
        }
        // Whoever waits for this CPU to have nothing of the guest looks at `loaded`, and before that says why.
        if !self.is_running() {
            return false;
        }
        frame::reset_el1();
        lists::reset();
        let mut board = Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        self.devices.lock().gic.reset_vcpu(vcpu, &mut board);
        registers.frame = Frame::starting_at(entry, context);
        if let Err(error) = interrupts::set_here(Some((self, vcpu))) {
            drop(power);
            self.stop(&alloc::format!("CPU {}: no virtual timer: {error}", own.cpu));
            return false;
        }
        *power = Power::On;
        true
    }

    /// Leaves nothing of the guest on this CPU.
    fn unload(&self, own: &Vcpu) {
        if !own.loaded.load(Ordering::Acquire) {
            return;
        }
        control::stop_timer();
        if let Err(error) = interrupts::set_here(None) {
            log::warn!(target: "guest", "{}: CPU {}: {error}", self.name(), own.cpu);
        }
        control::unload();
        own.loaded.store(false, Ordering::Release);
        // It may wait for this.
        percpu::of(0).into_iter().for_each(gic::kick);
    }

    /// One entry and exit.
    fn enter(&self, vcpu: usize, own: &Vcpu, registers: &mut Registers) -> Exit {
        let count = lists::count();
        let board = &mut Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        if own.deactivate.load(Ordering::Relaxed) != 0 {
            let wanted = own.deactivate.swap(0, Ordering::Relaxed);
            (0..32)
                .filter(|bit| wanted >> bit & 1 != 0)
                .for_each(gic::deactivate);
        }
        let Registers {
            frame,
            lists: entries,
            flushed,
            ..
        } = registers;
        let entries = entries.get_mut(..count).unwrap_or_default();
        *flushed = self.devices.lock().gic.flush(vcpu, entries);
        lists::load(entries, flushed);
        let exit = frame.run();
        let ended_without = lists::store(entries, flushed.used);
        let has_commands = {
            let mut devices = self.devices.lock();
            devices.gic.sync(vcpu, entries, ended_without, board);
            devices.its.as_ref().is_some_and(Its::has_work)
        };
        if has_commands {
            self.run_its(vcpu);
        }
        exit
    }
}
