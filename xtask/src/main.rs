//! `cargo xtask`: the project's one entry point, for people and for CI.
//!
//! This file only dispatches; each subcommand has a file of its own.

#![forbid(unsafe_code)]

#[macro_use]
mod output;

mod apt;
mod bench;
mod bench_linux;
mod board;
mod boot;
mod build;
mod bundle;
mod ci;
mod corpus;
mod cpio;
mod filter;
mod flags;
mod fuzz;
mod guest;
mod image;
mod linux;
mod one_image;
mod partition_file;
mod project;
mod qemu;
mod run;
mod scenario;
mod setup;
mod symbols;
mod test;
mod tidy;
mod topology;
mod tree;
mod usage;

use std::process::ExitCode;

use project::Project;

/// The exit status for a command line that cannot be meant.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(text) = flags::help(&arguments) {
        println!("{text}");
        if arguments.first().is_some_and(|name| name == "run")
            && let Ok(boards) = Project::find().and_then(|project| board::list(&project))
        {
            println!("\n{boards}");
        }
        return ExitCode::SUCCESS;
    }
    let flags = match flags::Xtask::from_env() {
        Ok(flags) => flags,
        Err(error) if error.is_help() => error.exit(),
        Err(error) => {
            eprintln!("error: {}", usage::explain(&arguments, &error.to_string()));
            return ExitCode::from(WRONG_USE);
        }
    };
    let outcome = match flags.subcommand {
        flags::XtaskCmd::Setup(cmd) => cmd.run(),
        flags::XtaskCmd::Bench(cmd) => cmd.run(),
        flags::XtaskCmd::Build(cmd) => cmd.run(),
        flags::XtaskCmd::Bundle(cmd) => cmd.run(),
        flags::XtaskCmd::Fuzz(cmd) => cmd.run(),
        flags::XtaskCmd::Image(cmd) => cmd.run(),
        // A guest's script decides how the run ends.
        flags::XtaskCmd::Run(cmd) => return concluded(cmd.run()),
        flags::XtaskCmd::Test(cmd) => cmd.run(),
        flags::XtaskCmd::Ci(cmd) => cmd.run(),
        flags::XtaskCmd::Corpus(cmd) => cmd.run(),
        flags::XtaskCmd::Tidy(cmd) => cmd.run(),
        flags::XtaskCmd::Topology(cmd) => cmd.run(),
    };
    concluded(outcome.map(|()| ExitCode::SUCCESS))
}

/// The exit status, after the error is printed if there is one.
fn concluded(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(status) => status,
        Err(error) if error.is::<usage::Wrong>() => {
            eprintln!("error: {error}");
            ExitCode::from(WRONG_USE)
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
