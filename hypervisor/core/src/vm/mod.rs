//! Guests: built, entered, served when they come out, stopped.
//!
//! A vCPU has a physical CPU to itself. [`Guest::run`] on that CPU enters it again and again and deals with everything that
//! is between the guest and its virtual machine; it comes back for physical interrupts, which the CPU's loop takes,
//! and when the vCPU has nothing to run. What touches other guests or devices is asked of [`Core`].
//!
//! Nothing that a guest does may stop the core: each exit ends in an answer, in an exception inside the guest, or in the
//! guest's own end with a line that says why.
//!
//! Locks: `bars` is taken before `devices` and `memory`, and by nobody who may be called back by a walker. `memory` is
//! held while [`Core::with_walkers`]' walkers work, `devices` during [`Core::set_switches`]; the core, in turn, may hide a
//! device while a walker works, which takes `devices` but not `memory`. Who takes both takes `memory` first.

mod build;
mod claim;
mod control;
mod cpu_interface;
mod exits;
mod frame;
mod guest;
mod interrupts;
mod lists;
mod load;
mod memory;
mod messages;
mod passed;
mod registers;
mod restart;
mod run;
mod spec;
mod terminal;
mod tlb;

pub use build::take_places;
pub use guest::{Guest, State};
pub use interrupts::{claim_interrupt, forward};
pub use spec::{PassedDevice, PassedFunction, PhysicalBar, Spec};
pub use tlb::invalidate_cpus;

use stage2::Invalidate;
use vdev::ecam::Action;

/// What guests need of the rest of the core.
pub trait Core {
    /// How many guests other than the one with that index are running.
    fn peers_running(&self, guest: usize) -> u64;
    /// Sets the switches of a physical function that is given to that guest. It must not call back.
    fn set_switches(&self, guest: usize, action: Action);
    /// Resets a physical function that is given to that guest, which takes long. Whether it is usable.
    fn reset_function(&self, guest: usize, action: Action) -> bool;
    /// Resets the functions of the guest with that index, which it does not see. On one of its own CPUs.
    fn clean_devices(&self, guest: usize);
    /// A guest has read what was typed at its console.
    fn input_read(&self);
    /// Lends everyone who caches stage-2 translations, CPUs and SMMUs, to `work`.
    fn with_walkers(&self, work: &mut dyn FnMut(&mut dyn Invalidate));
}
