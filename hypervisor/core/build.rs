//! Links the core with the layout of `linker/core.ld`.

fn main() {
    linker::link_with("core.ld");
}
