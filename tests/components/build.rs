//! Links the components as a position-independent file without imports, with the layout of `linker/component.ld`.

use std::env;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/component.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={script}");
    // On the host the components are empty programs, so that they are checked together with everything else.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in [
        "-pie",
        "--no-dynamic-linker",
        "-ztext",
        "-zmax-page-size=4096",
        "--no-undefined",
        "--pack-dyn-relocs=relr",
        "--hash-style=gnu",
        "--build-id=none",
        "--orphan-handling=error",
        "--strip-all",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
