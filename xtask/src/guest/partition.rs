//! The partition file of a guest that the command line describes.

use std::fmt::Write;

use toml::Value;

/// Where a guest's memory begins.
const MEMORY: u64 = 0x4000_0000;
/// Firmware that was made for QEMU's virt machine looks for its settings in the flash there; empty memory will do.
const FLASH: &str = ", { ipa = 0x04000000, size = \"2M\" }";
/// When the SMMU's driver is loaded, counted from the guests' start.
const DELAY_MS: u32 = 4_000;

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Its name.
    pub(crate) name: &'static str,
    /// The bundle's member with its image.
    pub(crate) image: String,
    /// The bundle's member with its RAM disk.
    pub(crate) initrd: Option<String>,
    /// The CPUs of its virtual CPUs.
    pub(crate) cpus: Vec<u32>,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Its command line.
    pub(crate) bootargs: String,
    /// It is a flat binary.
    pub(crate) is_flat: bool,
    /// Its devices.
    pub(crate) devices: Vec<String>,
    /// What is typed goes to it from the start.
    pub(crate) has_console: bool,
}

impl Guest {
    /// The partition file, as people would write it.
    pub(crate) fn partition(&self) -> String {
        let text = |value: &str| Value::String(value.to_string());
        let name = text(self.name);
        let mut file = "# Made by `cargo xtask run --guest`.\n".to_string();
        let mut line = |text: String| {
            // A text takes everything.
            let _ = writeln!(file, "{text}");
        };
        if self.has_console {
            line(format!("console = {name}"));
        }
        line(format!(
            "\n[loading]\nwhen = \"delay\"\ndelay_ms = {DELAY_MS}\n\n[[guest]]\nname = {name}\nimage = {}",
            text(&self.image)
        ));
        if let Some(initrd) = &self.initrd {
            line(format!("initrd = {}", text(initrd)));
        }
        line(format!(
            "cpus = {:?}\nmemory = [{{ ipa = {MEMORY:#x}, size = {} }}{}]\nbootargs = {}",
            self.cpus,
            text(&format!("{}M", self.memory >> 20)),
            if self.is_flat { FLASH } else { "" },
            text(&self.bootargs)
        ));
        for device in &self.devices {
            line(format!(
                "\n[[guest.device]]\npci = {}\nwait = \"{}\"\ndma = \"isolated\"\non_fault = \"log\"",
                text(device),
                // Firmware looks for its devices once.
                if self.is_flat { "guest" } else { "slot" }
            ));
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use partition::{DeviceName, Dma, Partition, Wait, When};

    use super::*;
    use crate::partition_file;

    fn guest() -> Guest {
        Guest {
            name: "linux",
            image: "linux.img".to_string(),
            initrd: Some("linux.cpio".to_string()),
            cpus: vec![1, 2],
            memory: 256 << 20,
            is_flat: false,
            bootargs: r#"console=ttyAMA0 path=C:\x quote="q""#.to_string(),
            devices: vec!["0000:00:10.0".to_string(), "0000:00:01.0".to_string()],
            has_console: true,
        }
    }

    fn compiled(guest: &Guest) -> Partition {
        Partition::parse(&partition_file::compile(&guest.partition()).unwrap()).unwrap()
    }

    #[test]
    fn the_core_reads_what_is_written() {
        let partition = compiled(&guest());
        assert_eq!(partition.console, Some(0));
        assert_eq!(partition.loading.when, When::Delay { delay_ms: DELAY_MS });
        let [linux] = partition.guests.as_slice() else {
            panic!("one guest expected")
        };
        assert_eq!(
            (linux.name.as_str(), linux.image.as_str()),
            ("linux", "linux.img")
        );
        assert_eq!(linux.initrd.as_deref(), Some("linux.cpio"));
        assert_eq!(linux.cpus, [1, 2]);
        assert_eq!(linux.bootargs, guest().bootargs);
        let [memory] = linux.memory.as_slice() else {
            panic!("one region expected")
        };
        assert_eq!((memory.ipa, memory.size, memory.pa), (MEMORY, 256 << 20, None));
        let names: Vec<DeviceName> = guest()
            .devices
            .iter()
            .map(|name| DeviceName::Pci(name.parse().unwrap()))
            .collect();
        let devices: Vec<DeviceName> = linux.devices.iter().map(|device| device.name.clone()).collect();
        assert_eq!(devices, names);
        for device in &linux.devices {
            assert_eq!((device.wait, device.dma), (Wait::Slot, Dma::Isolated));
        }
    }

    #[test]
    fn a_guest_may_have_neither_ram_disk_nor_devices_nor_console() {
        let plain = Guest {
            initrd: None,
            devices: Vec::new(),
            has_console: false,
            is_flat: true,
            ..guest()
        };
        let partition = compiled(&plain);
        assert_eq!(partition.console, None);
        assert_eq!(partition.guests[0].initrd, None);
        assert!(partition.guests[0].devices.is_empty());
        let memory: Vec<u64> = partition.guests[0]
            .memory
            .iter()
            .map(|region| region.ipa)
            .collect();
        assert_eq!(memory, [MEMORY, 0x0400_0000], "a flat binary may look for flash");
    }
}
