//! What a guest boots from, and the bundle that it comes in.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::debian::Debian;
use super::initramfs::Contents;
use super::options::{Image, Options};
use super::partition::Guest;
use crate::build::{self, Artifacts, Member};
use crate::bundle;
use crate::project::{Project, counted, size, step};

/// What an arm64 Image has in its header, and where (Linux, `Documentation/arch/arm64/booting.rst`).
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: usize = 56;

/// A guest's files.
#[derive(Debug)]
pub(super) struct Images {
    name: &'static str,
    image: Member,
    initrd: Option<Member>,
}

impl Images {
    /// Fetches and makes what the guest needs, and says what that is.
    pub(super) fn ready(project: &Project, options: &Options) -> Result<Self> {
        let (name, (image, what), initrd) = match &options.image {
            Image::Linux { kernel, script } => {
                let initrd = match &options.initrd {
                    Some(file) => own(file)?,
                    None => initramfs(project, kernel.is_none(), script.as_deref())?,
                };
                let image = match kernel {
                    Some(file) => own(file)?,
                    None => {
                        let debian = Debian::ready(project)?;
                        (debian.kernel()?, format!("Debian's {}", debian.version()?))
                    }
                };
                ("linux", image, Some(initrd))
            }
            Image::File(file) => (
                "guest",
                own(file)?,
                options.initrd.as_deref().map(own).transpose()?,
            ),
        };
        let mut parts = vec![format!("{what} ({})", size(image.len()))];
        if let Some((bytes, what)) = &initrd {
            parts.push(format!("RAM disk: {what} ({})", size(bytes.len())));
        }
        parts.push(format!(
            "{} · {} MiB",
            counted(usize::try_from(options.cpus)?, "CPU"),
            options.memory >> 20
        ));
        step("guest", format!("{name}: {}", parts.join(" · ")));
        options.described().iter().for_each(|function| step("", function));
        Ok(Images {
            name,
            image: Member {
                name: format!("{name}.img"),
                bytes: image,
            },
            initrd: initrd.map(|(bytes, _)| Member {
                name: format!("{name}.cpio"),
                bytes,
            }),
        })
    }

    /// A bundle with them, after its partition file is written to `folder`. The machine has so many `cpus`.
    pub(super) fn pack(
        self,
        options: &Options,
        artifacts: &Artifacts,
        cpus: u32,
        folder: &Path,
    ) -> Result<Vec<u8>> {
        // The core's own work is done by CPU 0: a guest gets that one last.
        let first = u32::from(options.cpus < cpus);
        let guest = Guest {
            name: self.name,
            image: self.image.name.clone(),
            initrd: self.initrd.as_ref().map(|member| member.name.clone()),
            cpus: (first..first + options.cpus).collect(),
            memory: options.memory,
            is_flat: self.image.bytes.get(MAGIC_AT..MAGIC_AT + 4) != Some(MAGIC),
            bootargs: options.bootargs.clone(),
            devices: options.functions(),
            // What a script writes comes by lines: one that the core's own lines come between is not whole.
            has_console: options.script().is_none(),
        };
        let text = guest.partition();
        let file = folder.join("guest.toml");
        build::write_if_changed(&file, text.as_bytes())?;
        step("partition", file.display());
        let partition = bundle::partition_text(&text).with_context(|| file.display().to_string())?;
        let mut members = vec![self.image];
        members.extend(self.initrd);
        members.extend(artifacts.signed_components());
        bundle::pack(&partition, &members)
    }
}

/// A file of the user's, and what to call it.
fn own(file: &Path) -> Result<(Vec<u8>, String)> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((bytes, file.display().to_string()))
}

/// A RAM disk with busybox, and what to call it.
fn initramfs(project: &Project, with_modules: bool, script: Option<&Path>) -> Result<(Vec<u8>, String)> {
    let debian = Debian::ready(project)?;
    let contents = Contents {
        busybox: debian.busybox()?,
        modules: if with_modules {
            debian.modules()?
        } else {
            Vec::new()
        },
        script: script.map(own).transpose()?.map(|(bytes, _)| bytes),
    };
    let mut what = vec!["busybox".to_string()];
    if !contents.modules.is_empty() {
        what.push(counted(contents.modules.len(), "module"));
    }
    if let Some(script) = script {
        what.push(script.display().to_string());
    }
    Ok((contents.pack()?, what.join(", ")))
}
