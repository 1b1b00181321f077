//! The other CPUs: started through PSCI, each with its own stack and data, on the shared map.

use super::mmu::{self, MapError};
use super::percpu::{self, MAX_CPUS, SecondaryStart};
use super::psci::{self, PsciError};
use super::timer::Now;
use super::{cpu, entry, gic};
use alloc::string::String;
use devicetree::{Cpu, EnableMethod, ReadError, Tree};

/// How long a CPU may take from CPU_ON to its first line of Rust.
const ARRIVAL_US: u64 = 1_000_000;

/// Why a CPU stays off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum StartError {
    #[error("its status in the device tree is not okay")]
    Disabled,
    #[error("the core runs {MAX_CPUS} CPUs at most")]
    TooMany,
    #[error("it has no enable-method")]
    NoMethod,
    #[error("its enable-method is \"{0}\", not \"psci\"")]
    Method(String),
    #[error(transparent)]
    Psci(#[from] PsciError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("PSCI started it, but it did not arrive: {0}")]
    Lost(mmio::Timeout),
}

/// Names this CPU, and starts all others of the tree. Those that do not come are named in a line each.
///
/// The boot CPU is number 0; the others follow in the order of the tree.
///
/// # Errors
/// The tree's CPUs cannot be read.
pub fn start_all(tree: &Tree) -> Result<(), ReadError> {
    let own = percpu::own_affinity();
    let others = tree.cpus()?.into_iter().filter(|cpu| cpu.mpidr != own);
    for (index, other) in (1..).zip(others) {
        if let Err(reason) = start(index, &other) {
            log::warn!(target: "cpu", "{} stays off: {reason}", tree.node(other.node).path());
        }
    }
    Ok(())
}

fn start(index: usize, other: &Cpu) -> Result<(), StartError> {
    if !other.enabled {
        return Err(StartError::Disabled);
    }
    match &other.enable_method {
        EnableMethod::Psci => {}
        EnableMethod::SpinTable { .. } => return Err(StartError::Method("spin-table".into())),
        EnableMethod::Other(method) => return Err(StartError::Method(method.clone())),
        EnableMethod::Unknown => return Err(StartError::NoMethod),
    }
    let per_cpu = percpu::of(index).ok_or(StartError::TooMany)?;
    per_cpu.set_identity(index, other.mpidr);
    let (root, control) = mmu::registers()?;
    let context = SecondaryStart::prepare(index, per_cpu, root, control);
    // It reads the context with its caches off.
    cpu::clean_invalidate_to_coherency(context..context + size_of::<SecondaryStart>());
    psci::cpu_on(other.mpidr, entry::secondary_address(), context)?;
    mmio::wait_until(&Now, ARRIVAL_US, || per_cpu.is_online()).map_err(StartError::Lost)
}

/// The first steps of a CPU that [`start_all`] has started.
///
/// # Errors
/// Its part of the interrupt controller cannot be used.
pub fn arrive() -> Result<(), gic::GicError> {
    cpu::init_traps();
    gic::init_cpu()?;
    percpu::this().set_online();
    Ok(())
}
