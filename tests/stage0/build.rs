//! Links the stage 0 with the layout of `linker/stage0.ld`.

fn main() {
    linker::link_with("stage0.ld");
}
