//! What a board cannot do, and what to type instead.

use anyhow::{Context, Result, bail, ensure};

use super::{Board, Firmware};
use crate::flags;
use crate::partition_file;

impl Board {
    /// Whether it can do what a command line asks of `cargo xtask run`.
    ///
    /// # Errors
    /// It cannot; the error says what to type.
    pub(crate) fn fits(&self, asked: &flags::Run) -> Result<()> {
        let name = &self.name;
        match &self.smmu {
            None => self.fits_without_smmu(asked)?,
            Some(smmu) if smmu.count > 1 && asked.binding.is_some() => bail!(
                "{name} has {} SMMUs, and --binding rewrites what describes one: leave it out",
                smmu.count
            ),
            Some(_) => {}
        }
        for (is_given, flag) in [
            (!asked.disk.is_empty(), "--disk"),
            (!asked.device.is_empty(), "--device"),
        ] {
            ensure!(
                self.qemu.has_pci || !is_given,
                "QEMU emulates no PCI on {name}, and {flag} is about a PCI function: leave it out"
            );
        }
        if !self.scenarios.is_empty() && asked.partition.is_none() && asked.guest.is_none() && !asked.no_iommu
        {
            bail!(
                "no story of this subcommand fits {name}: type `cargo xtask test --filter {}`, or add --partition FILE",
                self.scenarios.join("`, or `cargo xtask test --filter ")
            );
        }
        Ok(())
    }

    fn fits_without_smmu(&self, asked: &flags::Run) -> Result<()> {
        let name = &self.name;
        let board = asked.board.as_deref().unwrap_or_default();
        for (is_given, flag, what) in [
            (asked.no_iommu, "--no-iommu", "takes the SMMU away"),
            (asked.never_load, "--never-load", "keeps an SMMU's driver away"),
            (
                asked.binding.is_some(),
                "--binding",
                "says how the SMMU is described",
            ),
        ] {
            ensure!(
                !is_given,
                "{flag} {what}, and {name} has none: type `cargo xtask run --board {board}`, which shows what that means"
            );
        }
        Ok(())
    }

    /// Gives a machine more: memory for a guest, in MiB, so many CPUs at least, arguments for QEMU, devices.
    ///
    /// # Errors
    /// It has a limit.
    pub(crate) fn extend(
        &mut self,
        memory_mib: u64,
        cpus: u32,
        arguments: Vec<String>,
        devices: Vec<String>,
    ) -> Result<()> {
        match &self.qemu.guest_memory_at_most {
            None => {
                let own = partition_file::size(&self.qemu.memory).context("the board's memory")?;
                self.qemu.memory = format!("{}M", (own >> 20) + memory_mib);
            }
            Some(most) => {
                let most_mib = partition_file::size(most).context("guest_memory_at_most")? >> 20;
                ensure!(
                    memory_mib <= most_mib,
                    "{} has always {}, of which one guest can have {most} at most: it cannot have {memory_mib}M (--memory says \
                     how much)",
                    self.name,
                    self.qemu.memory
                );
                ensure!(
                    cpus <= self.cpus,
                    "{} has always {} CPUs: a guest cannot have {cpus} (--cpus says how many)",
                    self.name,
                    self.cpus
                );
            }
        }
        if let Some(Firmware { program, .. }) = &self.firmware {
            ensure!(
                cpus <= self.cpus,
                "this board has {} CPUs, and its firmware starts no more",
                self.cpus
            );
            ensure!(
                devices.is_empty(),
                "this board's SMMU is emulated by {program}, and QEMU's disks do not go through it: leave out --disk"
            );
        }
        self.cpus = self.cpus.max(cpus);
        self.qemu.arguments.extend(arguments);
        self.qemu.devices.extend(devices);
        Ok(())
    }
}
