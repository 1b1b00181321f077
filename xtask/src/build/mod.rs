//! `cargo xtask build`: everything that goes onto the board, and what it weighs.

mod compile;
mod image;
mod keys;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use system_tests::firmware::{Kind, with_smmu, without_smmu};

pub(crate) use compile::Compiler;
pub(crate) use keys::SigningKey;

use crate::flags;
use crate::project::{Project, size, step};
use crate::setup::{self, Tools};
use crate::symbols;

/// A guest's image.
pub(crate) const GUESTS: [&str; 3] = ["alice", "copier", "mallory"];
/// The SMMU drivers that are packed as components: the binary's name is the component's.
pub(crate) const COMPONENTS: [&str; 2] = ["smmu-v2", "smmu-v3"];

/// A file that goes into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name in the bundle.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// What a build made.
#[derive(Debug)]
pub(crate) struct Artifacts {
    /// The core's image, a file that QEMU loads.
    pub(crate) core: PathBuf,
    /// Bytes of the core's image.
    pub(crate) core_size: usize,
    /// The guests' images.
    pub(crate) guests: Vec<Member>,
    /// The components, each an ELF file without its signature.
    pub(crate) components: Vec<Member>,
    /// Signs components.
    pub(crate) key: SigningKey,
}

impl Artifacts {
    /// Guests, components and signatures, ready to be packed.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members = self.guests.clone();
        members.extend(self.signed_components());
        members
    }

    /// Components and signatures.
    pub(crate) fn signed_components(&self) -> impl Iterator<Item = Member> {
        self.components
            .iter()
            .flat_map(|component| [component.clone(), self.key.signature_of(component)])
    }

    fn describe_components(&self) -> String {
        let parts: Vec<String> = self
            .components
            .iter()
            .map(|component| {
                format!(
                    "{} {}",
                    component_name(&component.name),
                    size(component.bytes.len())
                )
            })
            .collect();
        parts.join(", ")
    }
}

/// `components/smmu-v3.elf` without folder and ending.
fn component_name(member: &str) -> &str {
    member
        .strip_prefix("components/")
        .unwrap_or(member)
        .trim_end_matches(".elf")
}

/// Builds the core without any feature, the guests and the components.
pub(crate) fn build(project: &Project, tools: &Tools, verbose: bool) -> Result<Artifacts> {
    let out = project.out();
    fs::create_dir_all(&out)?;
    let key = SigningKey::load_or_generate(&project.keys())?;
    let compiler = Compiler::new(project, tools, &key, verbose);

    compiler.build(&["portcullis", "guests", "smmu-components"], &[])?;
    let core = compiler.image("portcullis")?;
    let core_path = out.join("portcullis.img");
    write_if_changed(&core_path, &core)?;
    symbols::keep(&core_path, &compiler.binary("portcullis")?)?;
    let guests = GUESTS
        .iter()
        .map(|guest| {
            Ok(Member {
                name: format!("{guest}.img"),
                bytes: compiler.image(guest)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let components = COMPONENTS
        .iter()
        .map(|name| compiler.component_member(name))
        .collect::<Result<Vec<_>>>()?;

    Ok(Artifacts {
        core: core_path,
        core_size: core.len(),
        guests,
        components,
        key,
    })
}

/// Builds the core with `features`, beside the normal one, and returns its image's file.
pub(crate) fn build_core_variant(
    project: &Project,
    compiler: &Compiler<'_>,
    features: &[String],
) -> Result<PathBuf> {
    let words: Vec<&str> = features.iter().map(String::as_str).collect();
    compiler.build(&["portcullis"], &words)?;
    let path = project
        .out()
        .join(format!("portcullis+{}.img", features.join("+")));
    write_if_changed(&path, &compiler.image("portcullis")?)?;
    symbols::keep(&path, &compiler.binary("portcullis")?)?;
    Ok(path)
}

/// A board's firmware, as it is and without the SMMU that it emulates.
#[derive(Debug)]
pub(crate) struct FirmwareImages {
    kind: &'static Kind,
    with_iommu: PathBuf,
    without_iommu: PathBuf,
}

impl FirmwareImages {
    /// Builds `program`, with an SMMU of that kind.
    pub(crate) fn build(
        project: &Project,
        compiler: &Compiler<'_>,
        program: &str,
        kind: &'static Kind,
    ) -> Result<Self> {
        compiler.build(&[program], &[])?;
        let image = compiler.image(program)?;
        let images = FirmwareImages {
            kind,
            with_iommu: project.out().join(format!("{program}-{}.img", kind.name)),
            without_iommu: project.out().join(format!("{program}-no-iommu.img")),
        };
        write_if_changed(&images.with_iommu, &with_smmu(image.clone(), kind))?;
        write_if_changed(&images.without_iommu, &without_smmu(image))?;
        Ok(images)
    }

    /// The kind of its SMMU.
    pub(crate) fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// The file for a machine with or without SMMU.
    pub(crate) fn image(&self, iommu: bool) -> &Path {
        if iommu {
            &self.with_iommu
        } else {
            &self.without_iommu
        }
    }
}

/// Prints the line about a build and its bundle.
pub(crate) fn report(artifacts: &Artifacts, bundle_size: usize) {
    step(
        "build",
        format!(
            "core {} · {}, signed with the {} · bundle {}",
            size(artifacts.core_size),
            artifacts.describe_components(),
            artifacts.key.label(),
            size(bundle_size)
        ),
    );
}

/// Leaves an equal file alone, so that its time stamp tells when it changed.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

impl flags::Build {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        let tools = setup::ready()?;
        let artifacts = build(&project, &tools, self.verbose)?;
        let bundle = crate::bundle::pack_for(&project, &artifacts, Path::new(crate::bundle::MAIN_PARTITION))?;
        step(
            "core",
            format!("{} ({} bytes)", artifacts.core.display(), artifacts.core_size),
        );
        for member in artifacts.members() {
            step("", format!("{} ({} bytes)", member.name, member.bytes.len()));
        }
        report(&artifacts, bundle.len());
        Ok(())
    }
}
