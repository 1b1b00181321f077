//! Links the guests with the layout of `linker/guest.ld`.

fn main() {
    linker::link_with("guest.ld");
}
