//! The other CPUs: started through PSCI or a spin table, each with its own stack and data, on the shared map.

use super::mmu::{self, MapError};
use super::percpu::{self, MAX_CPUS, PerCpu, SecondaryStart};
use super::psci::{self, PsciError};
use super::timer::Now;
use super::{cpu, entry, gic};
use alloc::string::String;
use alloc::vec::Vec;
use devicetree::{Cpu, EnableMethod, ReadError, Tree};

/// How long a CPU may take from its start to its first line of Rust.
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
    #[error("its enable-method is \"{0}\", neither \"psci\" nor \"spin-table\"")]
    Method(String),
    #[error(transparent)]
    Psci(#[from] PsciError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("it was started, but did not arrive: {0}")]
    Lost(mmio::Timeout),
}

/// Starts all other CPUs of the tree. Those that do not come are named in a line each.
///
/// The boot CPU is number 0; the others follow in the order of the tree.
///
/// # Errors
/// The tree's CPUs cannot be read.
pub fn start_all(tree: &Tree) -> Result<(), ReadError> {
    let own = percpu::own_affinity();
    let others: Vec<Cpu> = tree.cpus()?.into_iter().filter(|cpu| cpu.mpidr != own).collect();
    // All before the first of them starts: CPUs may share the word that a spin table releases them by.
    let prepared: Vec<_> = (1..)
        .zip(&others)
        .map(|(index, other)| prepare(index, other))
        .collect();
    for (other, prepared) in others.iter().zip(prepared) {
        let started = prepared.and_then(|per_cpu| start(other, per_cpu));
        if let Err(reason) = started {
            log::warn!(target: "cpu", "{} stays off: {reason}", tree.node(other.node).path());
        }
    }
    Ok(())
}

/// Lays out what the CPU with that number starts from.
fn prepare(index: usize, other: &Cpu) -> Result<&'static PerCpu, StartError> {
    if !other.enabled {
        return Err(StartError::Disabled);
    }
    let per_cpu = percpu::of(index).ok_or(StartError::TooMany)?;
    per_cpu.set_identity(index, other.mpidr);
    let (root, control) = mmu::registers()?;
    SecondaryStart::prepare(per_cpu, root, control);
    Ok(per_cpu)
}

fn start(other: &Cpu, per_cpu: &PerCpu) -> Result<(), StartError> {
    let entry = entry::secondary_address();
    match &other.enable_method {
        EnableMethod::Psci => psci::cpu_on(other.mpidr, entry)?,
        EnableMethod::SpinTable { release_address } => {
            // Booting arm64 Linux, section 4: it polls the word with its caches off.
            mmu::write_word(*release_address, entry as u64)?;
            cpu::send_event();
        }
        EnableMethod::Other(method) => return Err(StartError::Method(method.clone())),
        EnableMethod::Unknown => return Err(StartError::NoMethod),
    }
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
