//! Serving a guest that came out by itself: firmware calls, trapped registers, virtual devices, faults.

use super::frame::Frame;
use super::guest::{Guest, Power};
use super::interrupts::Board;
use super::{Core, control};
use crate::arch::{Syndrome, cpu};
use alloc::format;
use core::sync::atomic::Ordering;
use vdev::exception::{self, Before, Cause};
use vdev::layout::Device;
use vdev::psci::{self, Call};
use vdev::syndrome::{self, DataAbort, Exit, Fault, MemoryAccess, SystemAccess};
use vdev::sysreg::{self, Answer};
use vdev::vgic::Version;

/// The vector table of EL1, in bytes.
const VECTORS: u64 = 0x800;

impl Guest {
    /// Answers a synchronous exit of `vcpu`, on its CPU.
    pub(super) fn serve(&self, vcpu: usize, frame: &mut Frame, core: &dyn Core) {
        match syndrome::decode(frame.esr) {
            Exit::Hvc => self.call(vcpu, frame, core),
            Exit::Smc => {
                frame.skip();
                self.call(vcpu, frame, core);
            }
            Exit::SystemRegister(access) => self.system_register(vcpu, frame, &access),
            Exit::Data(abort) => self.data_abort(vcpu, frame, &abort, core),
            Exit::Fetch(fault) => self.fetch_abort(frame, fault),
            Exit::Unimplemented => inject(frame, Cause::Undefined),
            Exit::Other { .. } => self.stop_with_report(frame, "an exit that nothing is set up for"),
        }
    }

    /// Ends the guest and says where it was.
    pub(super) fn stop_with_report(&self, frame: &Frame, what: &str) {
        let (elr, esr) = control::last_exception();
        self.stop(&format!(
            "{what}: {} at pc {:#x}, esr {:#x}, far {:#x}, ipa {:#x}; its own last exception was {esr:#x} at {elr:#x}",
            Syndrome(frame.esr),
            frame.elr,
            frame.esr,
            frame.far,
            syndrome::guest_address(frame.hpfar, frame.far),
        ));
    }

    fn call(&self, vcpu: usize, frame: &mut Frame, core: &dyn Core) {
        let arguments = [frame.get(0), frame.get(1), frame.get(2), frame.get(3)];
        let result = match psci::decode(&arguments) {
            Call::Return(value) => value,
            Call::CpuOn {
                affinity,
                entry,
                context,
            } => self.turn_on(affinity, entry, context),
            Call::CpuOff => {
                if let Some(own) = self.vcpus.get(vcpu) {
                    *own.power.lock() = Power::Off;
                }
                // Nobody is left to turn one on again, and the run would not end.
                if self.vcpus.iter().all(|vcpu| *vcpu.power.lock() == Power::Off) {
                    self.stop("its last vCPU turned itself off");
                }
                return;
            }
            Call::Suspend => {
                if !self.devices.lock().gic.has_work(vcpu) {
                    cpu::wait_for_interrupt();
                }
                psci::SUCCESS
            }
            Call::AffinityInfo { affinity } => self.affinity_info(affinity),
            Call::SystemOff => return self.stop("it turned itself off"),
            Call::SystemReset => return self.reset(),
            Call::Relinquish { ipa, size } => self.relinquish(ipa, size, core),
            Call::PeersRunning => core.peers_running(self.index),
        };
        frame.set(0, result);
    }

    /// The guest gives pages of its RAM back, until its next reset.
    fn relinquish(&self, ipa: u64, size: u64, core: &dyn Core) -> u64 {
        let mut result = Ok(());
        core.with_walkers(&mut |walkers| result = self.memory.lock().give_back(walkers, ipa, size));
        match result {
            Ok(()) => guest_abi::SUCCESS.cast_unsigned(),
            Err(error) => {
                // Once: a guest does not get to fill the console with lines that are not its own.
                if !self.reported_refusal.swap(true, Ordering::Relaxed) {
                    log::warn!(target: "guest", "{}: gives back {size:#x} bytes at {ipa:#x}: refused: {error}", self.name());
                }
                guest_abi::INVALID_PARAMETER.cast_unsigned()
            }
        }
    }

    fn system_register(&self, vcpu: usize, frame: &mut Frame, access: &SystemAccess) {
        let register = usize::from(access.register);
        let value = match sysreg::answer(access) {
            Answer::Value(value) => value,
            Answer::Identification(register) => {
                register.for_guest(control::identification(register), self.geometry.ipa_bits())
            }
            // A GICv2 has registers in memory.
            Answer::SendSgi if self.layout.gic == Version::V2 => return inject(frame, Cause::Undefined),
            Answer::SendSgi => {
                let mut board = Board {
                    guest: self,
                    vcpu: Some(vcpu),
                };
                self.devices
                    .lock()
                    .gic
                    .send_sgi(vcpu, frame.get(register), &mut board);
                0
            }
            Answer::Undefined => return inject(frame, Cause::Undefined),
        };
        if access.read {
            frame.set(register, value);
        }
        frame.skip();
    }

    fn data_abort(&self, vcpu: usize, frame: &mut Frame, abort: &DataAbort, core: &dyn Core) {
        let cause = Cause::DataAbort {
            address: frame.far,
            write: abort.write,
            cache_maintenance: abort.cache_maintenance,
        };
        if abort.fault != Fault::Translation {
            return inject(frame, cause);
        }
        let ipa = syndrome::guest_address(frame.hpfar, frame.far);
        let Some((device, offset)) = self.layout.find(ipa) else {
            // A page that was away for the moment of a break before make is there again.
            if !self.memory.lock().is_mapped(ipa) {
                inject(frame, cause);
            }
            return;
        };
        match abort.access {
            _ if abort.cache_maintenance => {}
            Some(access) if abort.write => {
                let value = access.stored(frame.get(usize::from(access.register)));
                self.device_write(vcpu, device, offset, access, value, core);
            }
            Some(access) => {
                let value = self.device_read(vcpu, device, offset, access, core);
                frame.set(usize::from(access.register), access.loaded(value));
            }
            None => {
                if !self.reported_access.swap(true, Ordering::Relaxed) {
                    log::warn!(target: "guest",
                        "{}: accesses a virtual device at {ipa:#x} by an instruction that cannot be emulated (pc {:#x}): abort",
                        self.name(), frame.elr);
                }
                return inject(frame, cause);
            }
        }
        frame.elr = frame.elr.wrapping_add(syndrome::instruction_length(frame.esr));
    }

    fn device_read(
        &self,
        vcpu: usize,
        device: Device,
        offset: u64,
        access: MemoryAccess,
        core: &dyn Core,
    ) -> u64 {
        match device {
            Device::Distributor => {
                let gic = &self.devices.lock().gic;
                match self.layout.gic {
                    Version::V2 => gic.read_distributor_v2(vcpu, offset, access.size),
                    Version::V3 => gic.read_distributor(offset, access.size),
                }
            }
            Device::Redistributors => self.devices.lock().gic.read_redistributor(offset, access.size),
            Device::CpuInterface => self.read_cpu_interface(vcpu, offset, access.size),
            Device::Its => self.read_its(vcpu, offset, access.size),
            Device::Uart => self.read_uart(vcpu, offset, core).into(),
            Device::Ecam => self.devices.lock().ecam.read(offset, access.size).into(),
        }
    }

    fn device_write(
        &self,
        vcpu: usize,
        device: Device,
        offset: u64,
        access: MemoryAccess,
        value: u64,
        core: &dyn Core,
    ) {
        let board = &mut Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        // Devices narrower than 64 bits take the lower half.
        let narrow = u32::try_from(value & 0xffff_ffff).unwrap_or(0);
        match device {
            Device::Distributor => {
                let gic = &mut self.devices.lock().gic;
                match self.layout.gic {
                    Version::V2 => gic.write_distributor_v2(vcpu, offset, access.size, value, board),
                    Version::V3 => gic.write_distributor(offset, access.size, value, board),
                }
            }
            Device::CpuInterface => self.write_cpu_interface(vcpu, offset, access.size, narrow),
            Device::Redistributors => {
                self.devices
                    .lock()
                    .gic
                    .write_redistributor(offset, access.size, value, board);
            }
            Device::Its => self.write_its(vcpu, offset, access.size, value),
            Device::Uart => self.write_uart(vcpu, offset, narrow, core),
            Device::Ecam => {
                self.switch_devices(core, |devices| [devices.ecam.write(offset, access.size, narrow)]);
                self.settle_bars(core);
            }
        }
    }

    fn fetch_abort(&self, frame: &mut Frame, fault: Fault) {
        let ipa = syndrome::guest_address(frame.hpfar, frame.far);
        if fault == Fault::Translation && self.memory.lock().is_mapped(ipa) {
            return;
        }
        // An abort in the very vectors that would handle it would go on for ever.
        let (vbar, _) = control::exception_registers();
        if frame.far.wrapping_sub(vbar) < VECTORS {
            return self.stop_with_report(frame, "its exception vectors are not in memory");
        }
        inject(frame, Cause::FetchAbort { address: frame.far });
    }
}

/// Lets the guest take an exception instead of the instruction that came out.
fn inject(frame: &mut Frame, cause: Cause) {
    let (vbar, sctlr) = control::exception_registers();
    let before = Before {
        pc: frame.elr,
        pstate: frame.spsr,
        vbar,
        sctlr,
        esr: frame.esr,
    };
    let taken = exception::take(&before, cause);
    control::set_exception(&taken);
    frame.elr = taken.pc;
    frame.spsr = taken.pstate;
}
