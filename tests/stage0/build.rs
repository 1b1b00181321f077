//! Links the stage 0 as a position independent image with the layout of `linker/stage0.ld`.

use std::env;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/stage0.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={script}");
    // On the host it is an empty program, so that it is checked together with everything else.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for argument in [
        "-pie",
        "--no-dynamic-linker",
        "-ztext",
        "-zmax-page-size=4096",
        "--no-undefined",
        "--build-id=none",
        "--orphan-handling=error",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
