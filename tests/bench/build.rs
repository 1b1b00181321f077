//! Links the firmware with the layout of `linker/bench.ld`.

fn main() {
    linker::link_with("bench.ld");
}
