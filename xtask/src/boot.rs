//! How a machine gets to the core: QEMU's boot loader, a stage 0, or none; and with which device tree.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use system_tests::dtb::{Binding, bench_tree};

use crate::board::Board;
use crate::build::{self, FirmwareImages};
use crate::qemu;
use crate::setup::Tools;

/// How the machine gets to the core.
#[derive(Debug)]
pub(crate) enum Boot<'a> {
    /// QEMU's own boot loader.
    Plain {
        /// The core's image.
        core: &'a Path,
        /// The bundle.
        bundle: &'a Path,
        /// A device tree in place of the one that QEMU makes.
        tree: Option<&'a Path>,
    },
    /// QEMU's boot loader starts a stage 0, which starts the core that lies in memory.
    Stage0 {
        /// The stage 0's image.
        stage0: &'a Path,
        /// The core's image.
        core: &'a Path,
        /// The bundle.
        bundle: &'a Path,
        /// A device tree, if QEMU makes none.
        tree: Option<&'a Path>,
    },
    /// Our firmware at EL3, which starts the core that lies in memory.
    Bench {
        /// The firmware's image.
        firmware: &'a Path,
        /// A stage 0 that it starts in the core's place.
        stage0: Option<&'a Path>,
        /// The core's image.
        core: &'a Path,
        /// The bundle.
        bundle: &'a Path,
        /// The device tree, if it is made already.
        tree: Option<&'a Path>,
    },
    /// No boot loader: everything is put into memory, and a trampoline hands a device tree over that QEMU
    /// would refuse.
    Loose {
        /// The core's image.
        core: &'a Path,
        /// The bundle, and where the device tree says it is.
        bundle: (&'a Path, u64),
        /// The device tree.
        tree: &'a Path,
        /// A program that passes the tree's address on.
        trampoline: &'a Path,
    },
}

/// Where loose parts lie: above what the core and the bundle use, below the first guest's memory.
pub(crate) const TREE_ADDRESS: u64 = 0x4a00_0000;
const TRAMPOLINE_ADDRESS: u64 = 0x4a80_0000;
/// Where a core lies that a stage 0 starts.
const STAGED_CORE_ADDRESS: u64 = 0x4400_0000;
/// Where the bundle lies on the bench: as far from the core as QEMU's boot loader puts it.
const BENCH_BUNDLE_ADDRESS: u64 = 0x4800_0000;

impl Boot<'_> {
    /// QEMU's command line.
    pub(crate) fn command(&self, tools: &Tools, board: &Board, iommu: bool) -> Command {
        let mut arguments = board.arguments(iommu);
        let mut push = |word: &str, value: String| arguments.extend([word.to_string(), value]);
        match self {
            Boot::Plain { core, bundle, tree } => {
                push("-kernel", core.display().to_string());
                push("-initrd", bundle.display().to_string());
                if let Some(tree) = tree {
                    push("-dtb", tree.display().to_string());
                }
            }
            Boot::Stage0 {
                stage0,
                core,
                bundle,
                tree,
            } => {
                push("-kernel", stage0.display().to_string());
                push("-initrd", bundle.display().to_string());
                if let Some(tree) = tree {
                    push("-dtb", tree.display().to_string());
                }
                push("-device", loader(core, STAGED_CORE_ADDRESS));
            }
            Boot::Bench {
                firmware,
                stage0,
                core,
                bundle,
                tree,
            } => {
                push("-bios", firmware.display().to_string());
                match stage0 {
                    None => push("-device", loader(core, board.load_address)),
                    Some(stage0) => {
                        push("-device", loader(stage0, board.load_address));
                        push("-device", loader(core, STAGED_CORE_ADDRESS));
                    }
                }
                push("-device", loader(bundle, BENCH_BUNDLE_ADDRESS));
                if let Some(tree) = tree {
                    push("-device", loader(tree, TREE_ADDRESS));
                }
            }
            Boot::Loose {
                core,
                bundle,
                tree,
                trampoline,
            } => {
                push("-device", loader(core, board.load_address));
                push("-device", loader(bundle.0, bundle.1));
                push("-device", loader(tree, TREE_ADDRESS));
                push("-device", loader(trampoline, TRAMPOLINE_ADDRESS));
                push(
                    "-device",
                    format!("loader,addr={TRAMPOLINE_ADDRESS:#x},cpu-num=0"),
                );
            }
        }
        qemu::command(&tools.qemu.program, arguments)
    }
}

/// The device tree that QEMU makes for a command; `file` is where it is kept.
pub(crate) fn dump_tree(mut command: Command, file: &Path) -> Result<Vec<u8>> {
    command.args(["-machine", &format!("dumpdtb={}", file.display())]);
    let output = command.output().context("cannot start QEMU")?;
    ensure!(
        output.status.success(),
        "QEMU does not write its device tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(file).with_context(|| format!("QEMU left no {}", file.display()))
}

/// What a machine boots from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// The core's image.
    pub(crate) core: &'a Path,
    /// The bundle.
    pub(crate) bundle: &'a Path,
    /// A program of the tests that runs before the core.
    pub(crate) stage0: Option<&'a Path>,
    /// The board's firmware, if it is ours.
    pub(crate) firmware: Option<&'a FirmwareImages>,
    /// The board's device tree, if QEMU makes none.
    pub(crate) tree: Option<&'a Path>,
    /// Where files that are made on the way are kept.
    pub(crate) folder: &'a Path,
}

/// The command that boots a machine with an SMMU that `binding` describes, or without one.
pub(crate) fn described_by(
    binding: Option<Binding>,
    tools: &Tools,
    board: &Board,
    parts: Parts<'_>,
) -> Result<Command> {
    if let Some(firmware) = parts.firmware {
        return on_bench(binding, tools, board, parts, firmware);
    }
    let Parts {
        core,
        bundle,
        folder,
        tree: own,
        ..
    } = parts;
    if let Some(stage0) = parts.stage0 {
        let boot = Boot::Stage0 {
            stage0,
            core,
            bundle,
            tree: own,
        };
        return Ok(boot.command(tools, board, binding.is_some()));
    }
    let boot = |tree| Boot::Plain { core, bundle, tree }.command(tools, board, binding.is_some());
    let binding = match binding {
        None | Some(Binding::Generic) => return Ok(boot(own)),
        Some(other) => other,
    };
    ensure!(
        own.is_none(),
        "the binding {binding} rewrites the tree that QEMU makes, and this board has one from a file: leave out --binding"
    );
    fs::create_dir_all(folder)?;
    let original = dump_tree(boot(None), &folder.join("qemu.dtb"))?;
    let tree = folder.join(format!("{binding}.dtb"));
    build::write_if_changed(&tree, &binding.apply(&original)?)?;
    Ok(boot(Some(&tree)))
}

/// The same on a board whose SMMU is emulated by our firmware.
fn on_bench(
    binding: Option<Binding>,
    tools: &Tools,
    board: &Board,
    parts: Parts<'_>,
    firmware: &FirmwareImages,
) -> Result<Command> {
    let Parts {
        core,
        bundle,
        stage0,
        folder,
        ..
    } = parts;
    let smmu = binding.map(|binding| (firmware.kind(), binding));
    let firmware = firmware.image(binding.is_some());
    let boot = |tree| {
        let boot = Boot::Bench {
            firmware,
            stage0,
            core,
            bundle,
            tree,
        };
        boot.command(tools, board, binding.is_some())
    };
    fs::create_dir_all(folder)?;
    let name = binding.map_or("no-iommu".to_string(), |binding| binding.to_string());
    let original = dump_tree(boot(None), &folder.join(format!("{name}.qemu.dtb")))?;
    let size = fs::metadata(bundle).context("there is no bundle")?.len();
    let at = BENCH_BUNDLE_ADDRESS..BENCH_BUNDLE_ADDRESS + size;
    ensure!(
        at.end <= TREE_ADDRESS,
        "the bundle has {} MiB, and the bench has room for {}",
        size >> 20,
        (TREE_ADDRESS - BENCH_BUNDLE_ADDRESS) >> 20
    );
    let tree = folder.join(format!("{name}.dtb"));
    build::write_if_changed(
        &tree,
        &bench_tree(&original, smmu, board.has_platform_device(), at)?,
    )?;
    Ok(boot(Some(&tree)))
}

fn loader(file: &Path, address: u64) -> String {
    format!("loader,file={},addr={address:#x},force-raw=on", file.display())
}

/// Three instructions that do what a boot loader does last: the tree's address in x0, then the core.
pub(crate) fn trampoline(tree: u64, entry: u64) -> Vec<u8> {
    const LDR_X0_AT_16: u32 = 0x5800_0080;
    const LDR_X4_AT_24: u32 = 0x5800_00a4;
    const BR_X4: u32 = 0xd61f_0080;
    const NOP: u32 = 0xd503_201f;
    let mut code: Vec<u8> = [LDR_X0_AT_16, LDR_X4_AT_24, BR_X4, NOP]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    code.extend_from_slice(&tree.to_le_bytes());
    code.extend_from_slice(&entry.to_le_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_finds_the_tree() {
        assert_eq!(TREE_ADDRESS, system_tests::firmware::TREE);
    }

    #[test]
    fn the_trampoline_is_what_a_disassembler_says() {
        let code = trampoline(0x4a00_0000, 0x4020_0000);
        assert_eq!(code.len(), 32);
        // ldr x0, 0x10; ldr x4, 0x18; br x4; nop
        assert_eq!(
            &code[..16],
            [
                0x80, 0, 0, 0x58, 0xa4, 0, 0, 0x58, 0x80, 0, 0x1f, 0xd6, 0x1f, 0x20, 3, 0xd5
            ]
        );
        assert_eq!(&code[16..24], 0x4a00_0000u64.to_le_bytes());
        assert_eq!(&code[24..], 0x4020_0000u64.to_le_bytes());
    }
}
