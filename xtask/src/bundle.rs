//! `cargo xtask bundle`: guests, components and the partition file in one cpio archive.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use partition::Partition;

use crate::build::{self, Artifacts, Member};
use crate::cpio;
use crate::flags;
use crate::guest;
use crate::partition_file;
use crate::project::{Project, size, step};
use crate::setup;

/// The partition file of the main run.
pub(crate) const MAIN_PARTITION: &str = "tests/partitions/main.toml";
/// The compiled partition's name in the bundle.
const PARTITION: &str = "partition.dtb";

/// Packs what a build made with the partition file at `path`.
pub(crate) fn pack_for(project: &Project, artifacts: &Artifacts, path: &Path) -> Result<Vec<u8>> {
    let partition = partition_member(project, path)?;
    let members = members_for(project, artifacts, &partition)?;
    let images: Vec<&str> = members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|name| !name.starts_with("components/"))
        .collect();
    has_images(&partition, &images).with_context(|| path.display().to_string())?;
    pack(&partition, &members)
}

/// What a build made, and Debian's kernel with a shell if the partition has a guest of that kind.
pub(crate) fn members_for(
    project: &Project,
    artifacts: &Artifacts,
    partition: &Member,
) -> Result<Vec<Member>> {
    let mut members = artifacts.members();
    let guests = Partition::parse(&partition.bytes)?.guests;
    let mut named = guests
        .iter()
        .flat_map(|guest| [Some(&guest.image), guest.initrd.as_ref()]);
    if named.any(|name| name.is_some_and(|name| guest::DEBIAN_LINUX.contains(&name.as_str()))) {
        members.extend(guest::debian_linux(project, None)?);
    }
    Ok(members)
}

/// Refuses a compiled partition that names an image which will not be in the bundle.
fn has_images(partition: &Member, images: &[&str]) -> Result<()> {
    for guest in Partition::parse(&partition.bytes)?.guests {
        for member in [Some(&guest.image), guest.initrd.as_ref()].into_iter().flatten() {
            ensure!(
                images.contains(&member.as_str()),
                "guest {}: there is no image {member:?}; there are {}",
                guest.name,
                images.join(" and ")
            );
        }
    }
    Ok(())
}

/// The compiled partition file at `path`.
pub(crate) fn partition_member(project: &Project, path: &Path) -> Result<Member> {
    let text = project.read_text(path)?;
    partition_text(&text).with_context(|| path.display().to_string())
}

/// A compiled partition file.
pub(crate) fn partition_text(text: &str) -> Result<Member> {
    Ok(Member {
        name: PARTITION.to_string(),
        bytes: partition_file::compile(text)?,
    })
}

/// Packs a partition and the other members.
pub(crate) fn pack(partition: &Member, members: &[Member]) -> Result<Vec<u8>> {
    let files = std::iter::once(partition).chain(members);
    cpio::archive(files.map(|member| cpio::Entry::file(&member.name, &member.bytes)))
}

impl flags::Bundle {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        let tools = setup::ready()?;
        let artifacts = build::build(&project, &tools, self.verbose)?;
        let partition = match self.partition {
            Some(file) => std::path::absolute(file).context("cannot find the partition file")?,
            None => PathBuf::from(MAIN_PARTITION),
        };
        let archive = pack_for(&project, &artifacts, &partition)?;
        let output = self.output.unwrap_or_else(|| project.out().join("bundle.cpio"));
        build::write_if_changed(&output, &archive)?;
        build::report(&artifacts, archive.len());
        step(
            "bundle",
            format!("{} ({})", output.display(), size(archive.len())),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: &[u8]) -> Member {
        Member {
            name: name.to_string(),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn the_core_reads_what_is_packed() {
        let members = [
            member("a.img", b"12345"),
            member("components/b.elf", &[7; 4096]),
            member("empty", b""),
        ];
        let archive = pack(&member(PARTITION, b"dtb"), &members).unwrap();
        let bundle = ::bundle::Bundle::new(&archive).unwrap();
        let names: Vec<&str> = bundle.members().map(|member| member.name).collect();
        assert_eq!(names, [PARTITION, "a.img", "components/b.elf", "empty"]);
        assert_eq!(bundle.find(PARTITION), Some(&b"dtb"[..]));
        for member in &members {
            assert_eq!(bundle.find(&member.name), Some(member.bytes.as_slice()));
        }
    }

    #[test]
    fn the_same_members_give_the_same_bytes() {
        let pack = || pack(&member(PARTITION, b"dtb"), &[member("a", b"b")]).unwrap();
        assert_eq!(pack(), pack());
    }

    #[test]
    fn a_guest_whose_image_is_not_there_is_refused() {
        let text = include_str!("../../tests/partitions/main.toml");
        let partition = member(PARTITION, &partition_file::compile(text).unwrap());
        assert!(has_images(&partition, &["alice.img", "mallory.img"]).is_ok());
        let error = has_images(&partition, &["alice.img"]).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"guest mallory: there is no image "mallory.img"; there are alice.img"#
        );
    }
}
