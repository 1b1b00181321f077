//! How bare-metal binaries are linked: the scripts of this folder, and the flags that go with them.
//!
//! For build scripts. A binary that builds on the host as well, as an empty program, is linked there as any other.
#![forbid(unsafe_code)]

use std::env;

/// Position independent, with nothing left for a dynamic linker: each binary relocates itself, or is relocated by the
/// component loader. A section that the script does not place is an error.
const POSITION_INDEPENDENT: [&str; 7] = [
    "-pie",
    "--no-dynamic-linker",
    "-ztext",
    "-zmax-page-size=4096",
    "--no-undefined",
    "--build-id=none",
    "--orphan-handling=error",
];

/// What the component loader wants besides: small relocation and symbol tables.
const COMPONENT: [&str; 3] = ["--pack-dyn-relocs=relr", "--hash-style=gnu", "--strip-all"];

/// Links the package's binaries with a script of this folder, such as `core.ld`.
pub fn link_with(script: &str) {
    link(script, &[]);
}

/// Links the package's binaries as components.
pub fn link_components() {
    link("component.ld", &COMPONENT);
}

fn link(script: &str, more: &[&str]) {
    let script = format!("{}/{script}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={script}");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in POSITION_INDEPENDENT.iter().chain(more) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
