//! `cargo xtask run --guest`: an unmodified guest, with this terminal as its console.

mod debian;
mod images;
mod initramfs;
mod keyboard;
mod modules;
mod options;
mod partition;
mod terminal;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use system_tests::dtb::Binding;
use system_tests::scenario::Ends;

pub(crate) use keyboard::{Keyboard, Typed};
pub(crate) use options::{Disk, FIRST_DISK, Options};
pub(crate) use terminal::Raw;

use crate::board::Board;
use crate::boot::{self, Parts};
use crate::build::{self, Compiler, Member};
use crate::flags;
use crate::project::{Project, counted, show, step};
use crate::qemu::{End, Typist, Watch};
use crate::scenario::{self, Judged, Session};
use crate::setup;
use crate::symbols::Symbols;
use crate::usage::wrong;
use debian::Debian;
use images::Images;
use initramfs::Contents;

/// How long a script may take, unless the command line says otherwise.
const SCRIPT_TIMEOUT_S: u64 = 600;
/// As long as somebody sits at the terminal.
const NO_TIMEOUT_S: u64 = 365 * 24 * 60 * 60;
/// The story of every run of this kind: the core is up, and ends when the guest has.
const STORY: &str = "own";

/// What Debian's kernel and its RAM disk are called in a bundle.
pub(crate) const DEBIAN_LINUX: [&str; 2] = ["linux.img", "linux.cpio"];

/// Adds disks to a board, for the guests of a partition file: 0000:00:10.0 and on.
pub(crate) fn attach(board: &mut Board, disks: &[String]) -> Result<()> {
    let disks = options::disks(disks)?;
    let drives = disks.iter().flat_map(options::Disk::drive).collect();
    board.extend(0, 0, drives, disks.iter().map(options::Disk::device).collect())
}

/// Debian's kernel, and a RAM disk in which it runs `script`, or gives a shell, as members of a bundle.
pub(crate) fn debian_linux(project: &Project, script: Option<Vec<u8>>) -> Result<[Member; 2]> {
    let debian = Debian::ready(project)?;
    let contents = Contents {
        busybox: debian.busybox()?,
        modules: debian.modules()?,
        script,
    };
    let member = |name: &str, bytes| Member {
        name: name.to_string(),
        bytes,
    };
    Ok([
        member(DEBIAN_LINUX[0], debian.kernel()?),
        member(DEBIAN_LINUX[1], contents.pack()?),
    ])
}

/// The exit status of the script that a guest ran, if it says so.
pub(crate) fn script_status(lines: &[String]) -> Option<u8> {
    initramfs::status(lines)
}

/// Runs the guest.
pub(crate) fn run(flags: &flags::Run, options: &Options) -> Result<ExitCode> {
    let project = Project::find()?;
    let binding: Binding = flags.binding.as_deref().unwrap_or("generic").parse()?;
    let mut board = Board::load(&project, flags.board.as_deref().unwrap_or("virt"))?;
    board.fits(flags).map_err(wrong)?;
    board
        .extend(
            options.memory >> 20,
            options.cpus,
            options.disks.iter().flat_map(options::Disk::drive).collect(),
            options.disks.iter().map(options::Disk::device).collect(),
        )
        .map_err(wrong)?;
    let tools = setup::ready()?;
    let artifacts = build::build(&project, &tools, flags.verbose)?;
    let compiler = Compiler::new(&project, &tools, &artifacts.key, flags.verbose);
    let firmware = board.firmware_images(&project, &compiler)?;
    let tree = board.device_tree(&project)?;

    let folder = project.out().join("run");
    fs::create_dir_all(&folder)?;
    let images = Images::ready(&project, options)?;
    let archive = images.pack(options, &artifacts, board.cpus, &folder)?;
    let bundle = folder.join("guest-bundle.cpio");
    build::write_if_changed(&bundle, &archive)?;
    build::report(&artifacts, archive.len());
    let parts = Parts {
        core: &artifacts.core,
        bundle: &bundle,
        stage0: None,
        firmware: firmware.as_ref(),
        tree: tree.as_deref(),
        folder: &folder,
    };
    let command = boot::described_by(board.described_by(binding), &tools, &board, parts)?;
    step("boot", board.describe(true));
    step(
        "console",
        if options.script().is_some() {
            "the hypervisor's, which prints what the guest writes; Ctrl-A x ends the run"
        } else {
            "the guest's; Ctrl-A x ends the run, Ctrl-A c switches to the hypervisor and back"
        },
    );
    if flags.verbose {
        show(&command);
    }
    println!();

    let default = options.script().map_or(NO_TIMEOUT_S, |_| SCRIPT_TIMEOUT_S);
    let limit = Duration::from_secs(flags.timeout.unwrap_or(default));
    let judged = scenario::judge(
        &scenario::story(&project, &board, STORY)?,
        &scenario::catalogue(&project)?,
        &Symbols::of(&artifacts.core),
        Session {
            command,
            limit,
            ends: Ends::PowerOff,
            typist: Typist::Bytes {
                after: options.gives_shell().then_some(initramfs::START),
            },
        },
        |_| Watch::Continue,
    )?;
    let log = scenario::log_path(&project, "run-guest");
    scenario::write_log(&log, &judged.run)?;
    println!();
    step("log", log.display());
    conclude(options, &judged, limit)
}

/// Says what came of it. A script's exit status is that of the run; all that went wrong besides makes it 1, if it was 0.
fn conclude(options: &Options, judged: &Judged, limit: Duration) -> Result<ExitCode> {
    let quit = judged.run.end == End::Quit;
    let problems = if quit { Vec::new() } else { judged.problems(limit) };
    for problem in &problems {
        println!(" ✗ {problem}");
    }
    let seconds = judged.run.took.as_secs_f64();
    let status = match options.script() {
        None => 0,
        Some(_) => {
            let status = initramfs::status(&judged.run.lines)
                .with_context(|| format!("the script did not end within {seconds:.1} s"))?;
            step(
                "guest",
                format!("the script ended with status {status}, {seconds:.1} s after QEMU's start"),
            );
            status
        }
    };
    if status == 0 && !problems.is_empty() {
        bail!("the run has {}, listed above", counted(problems.len(), "problem"));
    }
    if quit {
        step("guest", format!("ended by Ctrl-A x after {seconds:.1} s"));
    }
    Ok(ExitCode::from(status))
}
