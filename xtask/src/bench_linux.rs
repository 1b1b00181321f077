//! `cargo xtask bench linux`: what a guest pays, in instructions: for a boot, and for each access to its disk.
//!
//! The same kernel, RAM disk and disk run on the plain machine and as a guest, whose disk goes through the SMMU. A plugin
//! in QEMU counts; a guest's kernel is told from everything else by its addresses.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{self, Artifacts, Member};
use crate::bundle;
use crate::guest;
use crate::project::{Project, run_cargo, step};
use crate::qemu::{self, Typist, Watch};
use crate::setup::{self, Tools};

/// Accesses of the second run.
const ACCESSES: u64 = 9216;
/// Runs of each kind; the one in the middle counts, as a disk that answers later or sooner makes a difference.
const RUNS: usize = 5;
const LIMIT: Duration = Duration::from_secs(300);
/// Kernel options that make runs comparable.
const BOOTARGS: &str = "console=ttyAMA0 quiet nokaslr kpti=off randomize_kstack_offset=off mitigations=off";

/// Instructions of a run.
#[derive(Debug, Clone, Copy)]
struct Count {
    all: u64,
    kernel: u64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    Plain,
    Guest,
}

/// What a machine's two kinds of runs took.
struct Row {
    boot: Count,
    accesses: Count,
}

impl Row {
    /// Instructions for each access.
    fn per_access(&self) -> u64 {
        self.accesses.all.saturating_sub(self.boot.all) / ACCESSES
    }

    /// Those that are not the guest's kernel's.
    fn outside(&self) -> u64 {
        let others = |count: &Count| count.all.saturating_sub(count.kernel);
        others(&self.accesses).saturating_sub(others(&self.boot)) / ACCESSES
    }
}

pub(crate) fn run() -> Result<()> {
    let project = Project::find()?;
    let tools = setup::ready()?;
    let artifacts = build::build(&project, &tools, false)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&project.root)
        .args(["build", "--release", "--package", "instruction-counter"]);
    run_cargo(cargo, false)?;
    let folder = project.out().join("bench");
    fs::create_dir_all(&folder)?;
    let disk = folder.join("disk.img");
    File::create(&disk)
        .and_then(|file| file.set_len(64 << 20))
        .with_context(|| format!("cannot make {}", disk.display()))?;
    let bench = Bench {
        plugin: project.target.join("release/libinstruction_counter.so"),
        project: &project,
        tools: &tools,
        artifacts: &artifacts,
        folder,
        disk,
    };
    let plain = bench.row(Machine::Plain)?;
    let guest = bench.row(Machine::Guest)?;
    println!(
        "\nDebian's kernel, cortex-a72, 1 CPU, NVMe, O_DIRECT reads of 4 KiB; instructions, the middle of {RUNS} runs\n"
    );
    println!(
        " {:<36} {:>14} {:>18} {:>26}",
        "", "boot, millions", "per access", "outside guest's kernel"
    );
    for (name, row) in [("plain, no SMMU", &plain), ("Portcullis, SMMUv3 stage 2", &guest)] {
        println!(
            " {name:<36} {:>8.1} {:>5} {:>10} {:>7} {:>26}",
            millions(row.boot.all),
            ratio(row.boot.all, plain.boot.all),
            row.per_access(),
            ratio(row.per_access(), plain.per_access()),
            row.outside()
        );
    }
    Ok(())
}

struct Bench<'a> {
    plugin: PathBuf,
    project: &'a Project,
    tools: &'a Tools,
    artifacts: &'a Artifacts,
    folder: PathBuf,
    disk: PathBuf,
}

impl Bench<'_> {
    fn row(&self, machine: Machine) -> Result<Row> {
        Ok(Row {
            boot: self.count(machine, 0)?,
            accesses: self.count(machine, ACCESSES)?,
        })
    }

    /// The run in the middle of those with so many accesses.
    fn count(&self, machine: Machine, accesses: u64) -> Result<Count> {
        let script = format!(
            "#!/bin/sh\n[ {accesses} = 0 ] || dd if=/dev/nvme0n1 of=/dev/null bs=4k count={accesses} iflag=direct\n"
        );
        let [kernel, initrd] = guest::debian_linux(self.project, Some(script.into_bytes()))?;
        let command = || match machine {
            Machine::Plain => self.plain(&kernel, &initrd),
            Machine::Guest => self.guest([kernel.clone(), initrd.clone()]),
        };
        let mut counts = Vec::new();
        for run in 1..=RUNS {
            let count = self.run(command()?)?;
            step(
                "count",
                format!(
                    "{machine:?}, {accesses} accesses, run {run}: {:.1} million instructions",
                    millions(count.all)
                ),
            );
            counts.push(count);
        }
        counts.sort_by_key(|count| count.all);
        counts.get(RUNS / 2).copied().context("nothing was run")
    }

    /// The kernel on the machine itself.
    fn plain(&self, kernel: &Member, initrd: &Member) -> Result<Command> {
        let write = |member: &Member| -> Result<PathBuf> {
            let path = self.folder.join(&member.name);
            build::write_if_changed(&path, &member.bytes)?;
            Ok(path)
        };
        let (kernel, initrd) = (write(kernel)?, write(initrd)?);
        let mut command = self.machine("virt,gic-version=3", "256M", &kernel, &initrd);
        command.args(["-append", BOOTARGS]);
        Ok(command)
    }

    /// The same as a guest, with the disk behind the SMMU from the start.
    fn guest(&self, members: [Member; 2]) -> Result<Command> {
        let text = format!(
            "[loading]\nwhen = \"boot\"\n[[guest]]\nname = \"linux\"\nimage = \"linux.img\"\ninitrd = \"linux.cpio\"\n\
             cpus = [0]\nmemory = [{{ ipa = 0x40000000, size = \"256M\" }}]\nbootargs = {BOOTARGS:?}\n\
             [[guest.device]]\npci = \"0000:00:10.0\"\nwait = \"guest\"\ndma = \"isolated\"\non_fault = \"log\"\n"
        );
        let partition = bundle::partition_text(&text)?;
        let mut all = Vec::from(members);
        all.extend(self.artifacts.signed_components());
        let archive = self.folder.join("bundle.cpio");
        build::write_if_changed(&archive, &bundle::pack(&partition, &all)?)?;
        let machine = "virt,gic-version=3,virtualization=on,iommu=smmuv3";
        Ok(self.machine(machine, "512M", &self.artifacts.core, &archive))
    }

    fn machine(&self, machine: &str, memory: &str, kernel: &Path, initrd: &Path) -> Command {
        let drive = format!("if=none,id=disk,format=raw,file={}", self.disk.display());
        let plugin = self.plugin.display().to_string();
        let arguments = [
            "-machine",
            machine,
            "-cpu",
            "cortex-a72",
            "-smp",
            "1",
            "-m",
            memory,
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-nic",
            "none",
            "-no-reboot",
            "-drive",
            &drive,
            "-device",
            "nvme,serial=portcullis,drive=disk,addr=0x10",
            "-plugin",
            &plugin,
            "-d",
            "plugin",
        ];
        let mut command = qemu::command(&self.tools.qemu.program, arguments);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        command
    }

    fn run(&self, command: Command) -> Result<Count> {
        let run = qemu::run(command, LIMIT, Typist::Nobody, |_| Watch::Continue)?;
        let tail = || {
            run.lines
                .iter()
                .rev()
                .take(20)
                .rev()
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        };
        ensure!(
            guest::script_status(&run.lines) == Some(0),
            "the guest did not do what it should; its last lines:\n{}",
            tail()
        );
        let count = run.lines.iter().find_map(|line| counted(line));
        count.with_context(|| format!("QEMU's plugin said nothing; the last lines:\n{}", tail()))
    }
}

/// The plugin's line.
fn counted(line: &str) -> Option<Count> {
    let (all, kernel) = line
        .strip_prefix("instructions: ")?
        .split_once(" of which kernel: ")?;
    Some(Count {
        all: all.parse().ok()?,
        kernel: kernel.trim().parse().ok()?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "one digit of it is printed")]
fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are printed")]
fn ratio(count: u64, of: u64) -> String {
    format!("×{:.3}", count as f64 / of.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_line_is_read() {
        let count = counted("instructions: 1200 of which kernel: 1000").unwrap();
        assert_eq!((count.all, count.kernel), (1200, 1000));
        assert!(counted("instructions: many").is_none());
    }

    #[test]
    fn an_access_costs_what_it_adds() {
        let count = |all, kernel| Count { all, kernel };
        let row = Row {
            boot: count(1_000, 900),
            accesses: count(1_000 + 20 * ACCESSES, 900 + 15 * ACCESSES),
        };
        assert_eq!((row.per_access(), row.outside()), (20, 5));
        assert_eq!(ratio(102, 100), "×1.020");
    }
}
