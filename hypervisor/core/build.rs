//! Links the core as a position independent image with the layout of `linker/core.ld`.

use std::env;

fn main() {
    let core = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("{core}/../../linker/core.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={script}");
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
