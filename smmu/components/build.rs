//! Links the components with the layout of `linker/component.ld`.

fn main() {
    linker::link_components();
}
