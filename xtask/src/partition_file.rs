//! Compiles a partition file, TOML for people, to the blob that the core reads.
//!
//! Only the form is looked at here. Whether the partition makes sense is decided in one place, the
//! `partition` crate, which reads the compiled blob back before it is used.

use anyhow::{Context, Result, bail};
use partition::{ANY_ADDRESS, COMPATIBLE, Partition};
use serde::Deserialize;
use vm_fdt::FdtWriter;

/// When loading is sealed, unless the file says otherwise.
const SEAL_MS: u32 = 20_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    console: Option<String>,
    loading: Loading,
    guest: Vec<Guest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loading {
    when: String,
    delay_ms: Option<u32>,
    #[serde(default = "seal_ms")]
    seal_ms: u32,
}

fn seal_ms() -> u32 {
    SEAL_MS
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {
    name: String,
    image: String,
    initrd: Option<String>,
    cpus: Vec<u32>,
    memory: Vec<Region>,
    #[serde(default)]
    bootargs: String,
    #[serde(default)]
    device: Vec<Device>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    ipa: u64,
    size: Size,
    pa: Option<u64>,
}

/// A number of bytes, or a text such as `"32M"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    pci: Option<String>,
    path: Option<String>,
    wait: String,
    dma: String,
    on_fault: String,
}

impl Size {
    fn bytes(&self) -> Result<u64> {
        match self {
            Size::Bytes(bytes) => Ok(*bytes),
            Size::Text(text) => size(text),
        }
    }
}

/// The number of bytes that a text such as `32M` means.
pub(crate) fn size(text: &str) -> Result<u64> {
    let (digits, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => bail!("size {text:?} has no unit: write a number and K, M or G"),
    };
    let number: u64 = digits
        .parse()
        .with_context(|| format!("size {text:?} has no number"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("size {text:?} is too large"))
}

/// Compiles a partition file, and proves that the core will accept the blob.
pub(crate) fn compile(text: &str) -> Result<Vec<u8>> {
    let file: File = toml::from_str(text).context("is no partition file")?;
    let blob = write(&file)?;
    Partition::parse(&blob)?;
    Ok(blob)
}

fn write(file: &File) -> Result<Vec<u8>> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", COMPATIBLE)?;
    if let Some(console) = &file.console {
        fdt.property_string("console", console)?;
    }

    let loading = fdt.begin_node("loading")?;
    fdt.property_string("when", &file.loading.when)?;
    if let Some(delay_ms) = file.loading.delay_ms {
        fdt.property_u32("delay-ms", delay_ms)?;
    }
    fdt.property_u32("seal-ms", file.loading.seal_ms)?;
    fdt.end_node(loading)?;

    for (index, guest) in file.guest.iter().enumerate() {
        let node = fdt.begin_node(&format!("guest@{index:x}"))?;
        write_guest(&mut fdt, guest).with_context(|| format!("guest {:?}", guest.name))?;
        fdt.end_node(node)?;
    }
    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

fn write_guest(fdt: &mut FdtWriter, guest: &Guest) -> Result<()> {
    fdt.property_string("guest-name", &guest.name)?;
    fdt.property_string("image", &guest.image)?;
    if let Some(initrd) = &guest.initrd {
        fdt.property_string("initrd", initrd)?;
    }
    fdt.property_array_u32("cpus", &guest.cpus)?;
    let mut memory = Vec::new();
    for region in &guest.memory {
        memory.extend([region.ipa, region.size.bytes()?, region.pa.unwrap_or(ANY_ADDRESS)]);
    }
    fdt.property_array_u64("memory", &memory)?;
    fdt.property_string("bootargs", &guest.bootargs)?;
    for (index, device) in guest.device.iter().enumerate() {
        let node = fdt.begin_node(&format!("device@{index:x}"))?;
        if let Some(pci) = &device.pci {
            fdt.property_string("pci", pci)?;
        }
        if let Some(path) = &device.path {
            fdt.property_string("path", path)?;
        }
        fdt.property_string("wait", &device.wait)?;
        fdt.property_string("dma", &device.dma)?;
        fdt.property_string("on-fault", &device.on_fault)?;
        fdt.end_node(node)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use partition::{DeviceName, Dma, OnFault, Wait, When};

    use super::*;

    const GOOD: &str = r#"
        console = "alice"
        [loading]
        when = "delay"
        delay_ms = 2000
        [[guest]]
        name = "alice"
        image = "alice.img"
        cpus = [1]
        memory = [
            { ipa = 0x40000000, size = "32M", pa = 0x50000000 },
            { ipa = 0x80000000, size = 0x200000 },
        ]
        bootargs = "victim-only"
        [[guest.device]]
        pci = "0000:00:01.0"
        wait = "guest"
        dma = "isolated"
        on_fault = "quarantine"
        [[guest]]
        name = "bob"
        image = "bob.img"
        initrd = "bob.cpio"
        cpus = [2, 3]
        memory = [ { ipa = 0x40000000, size = "1G", pa = 0x60000000 } ]
    "#;

    #[test]
    fn what_people_write_is_what_the_core_reads() {
        let partition = Partition::parse(&compile(GOOD).unwrap()).unwrap();
        assert_eq!(partition.loading.when, When::Delay { delay_ms: 2000 });
        assert_eq!(partition.loading.seal_ms, SEAL_MS);
        let [alice, bob] = partition.guests.as_slice() else {
            panic!("two guests expected")
        };
        assert_eq!(
            (alice.name.as_str(), alice.bootargs.as_str()),
            ("alice", "victim-only")
        );
        assert_eq!(alice.memory[0].size, 32 << 20);
        assert_eq!(alice.memory[0].pa, Some(0x5000_0000));
        assert_eq!(alice.memory[1].size, 2 << 20);
        assert_eq!(alice.memory[1].pa, None);
        let device = &alice.devices[0];
        assert_eq!(device.name, DeviceName::Pci("0000:00:01.0".parse().unwrap()));
        assert_eq!(
            (device.wait, device.dma, device.on_fault),
            (Wait::Guest, Dma::Isolated, OnFault::Quarantine)
        );
        assert_eq!(bob.cpus, [2, 3]);
        assert_eq!((&alice.initrd, bob.initrd.as_deref()), (&None, Some("bob.cpio")));
        assert_eq!(partition.console, Some(0));
        assert_eq!(bob.memory[0].size, 1 << 30);
        assert!(bob.devices.is_empty());
    }

    #[track_caller]
    fn refused(from: &str, to: &str, word: &str) {
        assert!(GOOD.contains(from), "{from:?} is not in the good file");
        let error = format!("{:#}", compile(&GOOD.replace(from, to)).unwrap_err());
        assert!(error.contains(word), "{error:?} does not contain {word:?}");
    }

    #[test]
    fn mistakes_are_named() {
        refused("delay_ms", "delay", "unknown field `delay`");
        refused("image = \"bob.img\"", "", "missing field `image`");
        refused("\"32M\"", "\"32MB\"", "\"32MB\" has no unit");
        refused("\"32M\"", "\"M\"", "\"M\" has no number");
        refused("\"32M\"", "\"\"", "no unit");
        refused("\"32M\"", "\"99999999999999999999G\"", "no number");
        refused("\"32M\"", "\"9999999999999G\"", "too large");
        refused("console = \"alice\"", "console = \"eve\"", "no guest");
        refused("name = \"bob\"", "name = \"alice\"", "unique");
        refused("\"0000:00:01.0\"", "\"1.0\"", "is no PCI function");
    }

    #[test]
    fn the_projects_own_partition_files_compile() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/partitions");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            compile(&std::fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
            count += 1;
        }
        assert!(count >= 3, "{count} partition files found");
    }
}
