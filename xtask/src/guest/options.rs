//! What the command line says of a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use partition::{BLOCK, MAX_BOOTARGS, MAX_CPUS, MAX_DEVICES, PciName};
use system_tests::scenario::DiskKind;

use crate::flags;
use crate::partition_file;

/// What `--guest` is for Debian's kernel.
const LINUX: &str = "linux";
/// A guest's memory, unless the command line says otherwise.
const MEMORY: &str = "256M";
/// The command line that Linux needs for its console.
const LINUX_CONSOLE: &str = "console=ttyAMA0";
/// PCI device number of the first disk: above all devices of our boards.
pub(crate) const FIRST_DISK: u8 = 0x10;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Image {
    /// Linux, with Debian's kernel or another one.
    Linux {
        /// A kernel in place of Debian's.
        kernel: Option<PathBuf>,
        /// What is run in place of a shell.
        script: Option<PathBuf>,
    },
    /// Anything.
    File(PathBuf),
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// How it is attached: QEMU's name of the device, with its properties.
    device: &'static str,
    /// What is on it.
    file: PathBuf,
    /// Its place on the PCI bus.
    number: u8,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// What is run.
    pub(crate) image: Image,
    /// A RAM disk of the user's.
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line.
    pub(crate) bootargs: String,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// How many CPUs it has.
    pub(crate) cpus: u32,
    /// Its disks.
    pub(crate) disks: Vec<Disk>,
    /// Functions of the board that it is given.
    devices: Vec<PciName>,
}

impl Options {
    /// Nothing when no guest was asked for.
    pub(crate) fn read(flags: &flags::Run) -> Result<Option<Self>> {
        let Some(guest) = &flags.guest else {
            alone(flags)?;
            return Ok(None);
        };
        for (given, flag) in [
            (flags.no_iommu, "--no-iommu"),
            (flags.never_load, "--never-load"),
            (flags.no_control, "--no-control"),
            (flags.partition.is_some(), "--partition"),
        ] {
            ensure!(!given, "--guest is a run of its own: leave out {flag}");
        }
        ensure!(
            flags.timeout != Some(0),
            "--timeout 0 leaves no time for anything: give it seconds, at least 1"
        );
        let image = if guest == LINUX {
            ensure!(
                flags.script.is_none() || flags.initrd.is_none(),
                "--script goes into the RAM disk that xtask makes: leave out --initrd"
            );
            Image::Linux {
                kernel: existing("--kernel", flags.kernel.as_deref())?,
                script: existing("--script", flags.script.as_deref())?,
            }
        } else {
            for (given, flag) in [
                (flags.kernel.is_some(), "--kernel"),
                (flags.script.is_some(), "--script"),
            ] {
                ensure!(
                    !given,
                    "{flag} belongs to `--guest linux`; a Linux kernel of your own is `--guest linux --kernel {guest}`"
                );
            }
            let file = existing("--guest", Some(Path::new(guest)));
            let file = file.context("--guest takes `linux` or a file")?;
            Image::File(file.unwrap_or_default())
        };
        let bootargs = bootargs(&image, flags.bootargs.as_deref().unwrap_or_default())?;
        let (disks, devices) = devices(flags)?;
        Ok(Some(Options {
            image,
            initrd: existing("--initrd", flags.initrd.as_deref())?,
            bootargs,
            memory: memory(flags.memory.as_deref().unwrap_or(MEMORY)).context("--memory")?,
            cpus: cpus(flags.cpus.unwrap_or(1))?,
            disks,
            devices,
        }))
    }

    /// All its PCI functions: of the board, then disks.
    pub(crate) fn functions(&self) -> Vec<String> {
        let disks = self.disks.iter().map(Disk::address);
        let devices = self.devices.iter().map(ToString::to_string);
        devices.chain(disks).collect()
    }

    /// All its PCI functions, each with what it is.
    pub(super) fn described(&self) -> Vec<String> {
        let devices = self.devices.iter().map(|name| format!("{name}: the board's"));
        let disks = self.disks.iter().map(|disk| {
            let kind = disk.device.split(',').next().unwrap_or_default();
            format!("{}: {kind}, {}", disk.address(), disk.file.display())
        });
        devices.chain(disks).collect()
    }

    /// Whether it gives the shell of our RAM disk.
    pub(crate) fn gives_shell(&self) -> bool {
        matches!(self.image, Image::Linux { script: None, .. }) && self.initrd.is_none()
    }

    /// What runs in place of a shell.
    pub(crate) fn script(&self) -> Option<&Path> {
        match &self.image {
            Image::Linux { script, .. } => script.as_deref(),
            Image::File(_) => None,
        }
    }
}

impl Disk {
    fn parse(text: &str, number: u8) -> Result<Self> {
        let (kind, file) = text
            .split_once(':')
            .with_context(|| format!("--disk {text}: write nvme:FILE or virtio:FILE"))?;
        let kind = match kind {
            "nvme" => DiskKind::Nvme,
            "virtio" => DiskKind::Virtio,
            _ => bail!("--disk {text}: {kind:?} is neither nvme nor virtio"),
        };
        let file = existing("--disk", Some(Path::new(file)))?;
        Ok(Disk::new(kind, file.unwrap_or_default(), number))
    }

    /// A disk at a place on the PCI bus.
    pub(crate) fn new(kind: DiskKind, file: PathBuf, number: u8) -> Self {
        let device = match kind {
            DiskKind::Nvme => "nvme,serial=portcullis",
            // Only such a virtio device does its DMA through the SMMU (virtio 1.2, 6.1, VIRTIO_F_ACCESS_PLATFORM).
            DiskKind::Virtio => "virtio-blk-pci,iommu_platform=on,disable-legacy=on",
        };
        Disk { device, file, number }
    }

    /// What is on it.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    fn address(&self) -> String {
        format!("0000:00:{:02x}.0", self.number)
    }

    /// QEMU's arguments for what is on it.
    pub(crate) fn drive(&self) -> [String; 2] {
        // QEMU takes a doubled comma for one that belongs to a name.
        let file = self.file.display().to_string().replace(',', ",,");
        [
            "-drive".to_string(),
            format!("if=none,id=disk{:x},format=raw,file={file}", self.number),
        ]
    }

    /// QEMU's device.
    pub(crate) fn device(&self) -> String {
        let Disk { device, number, .. } = self;
        format!("{device},drive=disk{number:x},addr={number:#x}")
    }
}

/// Without a guest, nothing may be said of one.
fn alone(flags: &flags::Run) -> Result<()> {
    for (given, flag) in [
        (flags.kernel.is_some(), "--kernel"),
        (flags.initrd.is_some(), "--initrd"),
        (flags.script.is_some(), "--script"),
        (!flags.disk.is_empty() && flags.partition.is_none(), "--disk"),
        (!flags.device.is_empty(), "--device"),
        (flags.bootargs.is_some(), "--bootargs"),
        (flags.memory.is_some(), "--memory"),
        (flags.cpus.is_some(), "--cpus"),
    ] {
        ensure!(
            !given,
            "{flag} describes a guest, and there is none: add `--guest linux` or `--guest FILE`"
        );
    }
    Ok(())
}

/// The file, which must be there, wherever the command is started.
fn existing(flag: &str, file: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(file) = file else {
        return Ok(None);
    };
    ensure!(file.is_file(), "{flag}: there is no file {}", file.display());
    Ok(Some(std::path::absolute(file)?))
}

fn bootargs(image: &Image, given: &str) -> Result<String> {
    let bootargs = match image {
        Image::Linux { .. } => format!("{LINUX_CONSOLE} {given}").trim_end().to_string(),
        Image::File(_) => given.to_string(),
    };
    ensure!(
        bootargs.len() <= MAX_BOOTARGS,
        "--bootargs: {} bytes are more than the {MAX_BOOTARGS} that fit",
        bootargs.len()
    );
    Ok(bootargs)
}

fn memory(text: &str) -> Result<u64> {
    let size = partition_file::size(text)?;
    ensure!(
        size >= BLOCK && size.is_multiple_of(BLOCK),
        "{text} is no multiple of {}M",
        BLOCK >> 20
    );
    Ok(size)
}

fn cpus(count: u32) -> Result<u32> {
    ensure!(
        (1..=MAX_CPUS).contains(&usize::try_from(count)?),
        "--cpus {count}: a guest has 1 to {MAX_CPUS}"
    );
    Ok(count)
}

/// Disks as they are written, at one place behind the other.
pub(crate) fn disks(texts: &[String]) -> Result<Vec<Disk>> {
    (FIRST_DISK..)
        .zip(texts)
        .map(|(number, text)| Disk::parse(text, number))
        .collect()
}

fn devices(flags: &flags::Run) -> Result<(Vec<Disk>, Vec<PciName>)> {
    ensure!(
        flags.disk.len() + flags.device.len() <= MAX_DEVICES,
        "a guest has at most {MAX_DEVICES} devices and disks"
    );
    let disks = disks(&flags.disk)?;
    let devices = flags
        .device
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| anyhow::anyhow!("--device {text}: {error}"))
        })
        .collect::<Result<_>>()?;
    Ok((disks, devices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>> {
        let words = line.split_whitespace().map(Into::into).collect();
        let flags = flags::Xtask::from_vec(words).unwrap();
        let flags::XtaskCmd::Run(run) = flags.subcommand else {
            panic!("{line} is no run")
        };
        Options::read(&run)
    }

    #[track_caller]
    fn refused(line: &str, expected: &str) {
        let error = format!("{:#}", read(line).unwrap_err());
        assert!(
            error.contains(expected),
            "{line}: {error:?} does not contain {expected:?}"
        );
    }

    #[test]
    fn linux_is_run_with_defaults() {
        assert_eq!(read("run").unwrap(), None);
        let options = read("run --guest linux").unwrap().unwrap();
        assert_eq!(
            options,
            Options {
                image: Image::Linux {
                    kernel: None,
                    script: None
                },
                initrd: None,
                bootargs: "console=ttyAMA0".to_string(),
                memory: 256 << 20,
                cpus: 1,
                disks: Vec::new(),
                devices: Vec::new(),
            }
        );
    }

    #[test]
    fn everything_can_be_said() {
        let line = "run --guest linux --kernel Cargo.toml --script src/main.rs --bootargs quiet --memory 1G --cpus 3 \
                    --disk nvme:Cargo.toml --disk virtio:Cargo.toml --device 0000:01:02.3";
        let options = read(line).unwrap().unwrap();
        assert!(options.script().unwrap().is_absolute());
        assert_eq!(options.bootargs, "console=ttyAMA0 quiet");
        assert_eq!((options.memory, options.cpus), (1 << 30, 3));
        assert_eq!(
            options.functions(),
            ["0000:01:02.3", "0000:00:10.0", "0000:00:11.0"]
        );
        let [nvme, virtio] = options.disks.as_slice() else {
            panic!("two disks expected")
        };
        assert_eq!(nvme.device(), "nvme,serial=portcullis,drive=disk10,addr=0x10");
        assert!(virtio.device().contains("iommu_platform=on"));
        let file = Path::new("Cargo.toml").canonicalize().unwrap();
        assert_eq!(
            virtio.drive()[1],
            format!("if=none,id=disk11,format=raw,file={}", file.display())
        );
    }

    #[test]
    fn any_image_is_a_guest_with_nothing_added() {
        let options = read("run --guest Cargo.toml --initrd Cargo.toml")
            .unwrap()
            .unwrap();
        assert!(matches!(&options.image, Image::File(file) if file.ends_with("Cargo.toml")));
        assert!(options.initrd.is_some());
        assert_eq!(options.bootargs, "");
        assert_eq!(options.script(), None);
    }

    #[test]
    fn commas_in_a_disks_name_are_kept() {
        let disk = Disk {
            device: "nvme",
            file: PathBuf::from("/a,b"),
            number: 16,
        };
        assert!(disk.drive()[1].ends_with("file=/a,,b"));
    }

    #[test]
    fn mistakes_are_named() {
        for flag in [
            "--script src/main.rs",
            "--kernel x",
            "--initrd x",
            "--disk nvme:x",
            "--device 0000:00:01.0",
            "--bootargs x",
            "--memory 1G",
            "--cpus 2",
        ] {
            let name = flag.split(' ').next().unwrap();
            refused(
                &format!("run {flag}"),
                &format!("{name} describes a guest, and there is none"),
            );
        }
        for (line, expected) in [
            (
                "--guest lunix",
                "--guest takes `linux` or a file: --guest: there is no file lunix",
            ),
            ("--guest linux --no-iommu", "leave out --no-iommu"),
            ("--guest linux --partition x", "leave out --partition"),
            ("--guest linux --timeout 0", "--timeout 0"),
            (
                "--guest linux --script nothing.sh",
                "--script: there is no file nothing.sh",
            ),
            (
                "--guest linux --script src/main.rs --initrd Cargo.toml",
                "leave out --initrd",
            ),
            (
                "--guest Cargo.toml --script src/main.rs",
                "--guest linux --kernel Cargo.toml",
            ),
            ("--guest linux --memory 3M", "--memory: 3M is no multiple of 2M"),
            ("--guest linux --memory 512", "--memory: size \"512\" has no unit"),
            ("--guest linux --cpus 9", "--cpus 9: a guest has 1 to 8"),
            ("--guest linux --cpus 0", "--cpus 0: a guest has 1 to 8"),
            (
                "--guest linux --disk Cargo.toml",
                "write nvme:FILE or virtio:FILE",
            ),
            (
                "--guest linux --disk usb:Cargo.toml",
                "\"usb\" is neither nvme nor virtio",
            ),
            (
                "--guest linux --disk nvme:nothing.img",
                "--disk: there is no file nothing.img",
            ),
            ("--guest linux --device 1.0", "--device 1.0: "),
        ] {
            refused(&format!("run {line}"), expected);
        }
        let long = "x".repeat(MAX_BOOTARGS);
        refused(&format!("run --guest linux --bootargs {long}"), "--bootargs: ");
    }
}
