//! Which kernel modules a guest needs, and in which order they are loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::build::Member;

/// What a guest needs for its disks, unless its kernel has it built in.
const WANTED: [&str; 3] = ["virtio_pci", "virtio_blk", "nvme"];

/// The modules among those of a kernel that drive disks, each behind those that it needs. `folder` is below
/// `lib/modules`.
pub(crate) fn for_disks(folder: &Path) -> Result<Vec<Member>> {
    let builtin = fs::read_to_string(folder.join("modules.builtin"))
        .with_context(|| format!("{} has no modules.builtin", folder.display()))?;
    let files = files_below(folder)?;
    let kernel = Kernel {
        is_builtin: &|name| builtin.lines().any(|line| name_of(Path::new(line)) == name),
        read: &|name| {
            let file = files
                .get(name)
                .with_context(|| format!("there is no module {name}"))?;
            uncompressed(file)
        },
    };
    kernel.in_order(&WANTED)
}

/// A kernel's modules.
struct Kernel<'a> {
    is_builtin: &'a dyn Fn(&str) -> bool,
    read: &'a dyn Fn(&str) -> Result<Vec<u8>>,
}

impl Kernel<'_> {
    /// `wanted` and what they need, each behind those that it needs; what is built in is left out.
    fn in_order(&self, wanted: &[&str]) -> Result<Vec<Member>> {
        let mut modules = Vec::new();
        for name in wanted {
            self.add(name, 0, &mut modules)?;
        }
        Ok(modules)
    }

    /// Adds a module that `depth` others wait for.
    fn add(&self, name: &str, depth: usize, modules: &mut Vec<Member>) -> Result<()> {
        /// Needs do not go deeper than this, unless they go in a circle.
        const DEEPEST: usize = 16;
        if (self.is_builtin)(name) || modules.iter().any(|module| module.name == name) {
            return Ok(());
        }
        ensure!(depth < DEEPEST, "module {name} needs itself");
        let bytes = (self.read)(name)?;
        for need in needs(&bytes).with_context(|| format!("module {name}"))? {
            self.add(&need, depth + 1, modules)?;
        }
        modules.push(Member {
            name: name.to_string(),
            bytes,
        });
        Ok(())
    }
}

/// The modules that a module names in its `depends` (Linux, `scripts/mod/modpost.c`).
fn needs(module: &[u8]) -> Result<Vec<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(module)?;
    let section = file
        .section_header_by_name(".modinfo")?
        .context("has no .modinfo: it is no kernel module")?;
    let (info, _) = file.section_data(&section)?;
    let depends = info
        .split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"depends="))
        .unwrap_or_default();
    let depends = String::from_utf8_lossy(depends);
    let names = depends.split(',').filter(|name| !name.is_empty());
    Ok(names.map(plain).collect())
}

/// A module's name: files may have `-` in it, and mean the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file.
fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    plain(name.split('.').next().unwrap_or_default())
}

/// All modules' files, by name.
fn files_below(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".ko") || name.ends_with(".ko.xz") {
                files.insert(name_of(&path), path);
            }
        }
    }
    Ok(files)
}

/// A module's bytes. Debian's newer kernels have them compressed.
fn uncompressed(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|ending| ending != "xz") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(file)
        .output()
        .context("cannot start xz, which unpacks modules: `apt-get install xz-utils` has it")?;
    ensure!(
        output.status.success(),
        "xz cannot unpack {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with a `.modinfo`: the header, the names of sections, what is in it, three section headers.
    fn module(info: &[u8]) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
        let (names_at, info_at) = (64, 64 + NAMES.len());
        let mut table = info_at + info.len();
        table = table.next_multiple_of(8);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xb7\0\x01\0\0\0".to_vec();
        file.resize(40, 0);
        file.extend_from_slice(&u64::try_from(table).unwrap().to_le_bytes());
        file.extend_from_slice(&[0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        // `e_shoff` lies at 40, the sizes and counts from 48 on.
        assert_eq!(file.len(), 64);
        file.extend_from_slice(NAMES);
        file.extend_from_slice(info);
        file.resize(table + 64, 0);
        for (name, kind, at, size) in [(1u32, 1u32, info_at, info.len()), (10, 3, names_at, NAMES.len())] {
            let start = file.len();
            file.extend_from_slice(&name.to_le_bytes());
            file.extend_from_slice(&kind.to_le_bytes());
            file.resize(start + 24, 0);
            file.extend_from_slice(&u64::try_from(at).unwrap().to_le_bytes());
            file.extend_from_slice(&u64::try_from(size).unwrap().to_le_bytes());
            file.resize(start + 64, 0);
        }
        file
    }

    fn order(wanted: &[&str], all: &[(&str, &str)], builtin: &[&str]) -> Result<Vec<String>> {
        let read = |name: &str| {
            let found = all.iter().find(|(module, _)| *module == name);
            let (_, needs) = found.with_context(|| format!("there is no module {name}"))?;
            Ok(module(
                format!("license=GPL\0depends={needs}\0name={name}\0").as_bytes(),
            ))
        };
        let kernel = Kernel {
            is_builtin: &|name| builtin.contains(&name),
            read: &read,
        };
        let modules = kernel.in_order(wanted)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn a_module_comes_behind_those_that_it_needs_and_once() {
        let all = [
            ("virtio_pci", "virtio-pci-modern-dev,virtio_ring,virtio"),
            ("virtio_blk", "virtio_ring,virtio"),
            ("virtio_ring", "virtio"),
            ("virtio_pci_modern_dev", ""),
            ("virtio", ""),
        ];
        let modules = order(&["virtio_pci", "virtio_blk", "nvme"], &all, &["nvme"]).unwrap();
        assert_eq!(
            modules,
            [
                "virtio_pci_modern_dev",
                "virtio",
                "virtio_ring",
                "virtio_pci",
                "virtio_blk"
            ]
        );
    }

    #[test]
    fn what_is_missing_or_needs_itself_is_named() {
        let error = order(&["a"], &[("a", "b")], &[]).unwrap_err().to_string();
        assert_eq!(error, "there is no module b");
        let error = order(&["a"], &[("a", "b"), ("b", "a")], &[])
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("needs itself"), "{error}");
        assert!(needs(b"no ELF").is_err());
    }

    #[test]
    fn files_have_the_names_of_their_modules() {
        for file in ["kernel/drivers/virtio-rng.ko", "virtio_rng.ko.xz", "virtio-rng"] {
            assert_eq!(name_of(Path::new(file)), "virtio_rng", "{file}");
        }
    }
}
