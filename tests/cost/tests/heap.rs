//! What a hypervisor does not refuse for its size fits its heap, whatever its shape.

use std::alloc::System;

use cap::Cap;
use cost::{Input, SHAPES, Shape};
use devicetree::{Blob, Tree};
use topology::{Graph, Room};

/// Half the core's heap: its allocator rounds each block up to a power of two.
const LIMIT: usize = 8 << 20;

/// What asks for more than the limit stops the test.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, LIMIT);

/// Whether a tree is let through; its blob, and everything that is made of it, was on the heap then.
fn is_accepted(shape: &Shape, count: u32) -> bool {
    let Ok(Input { blob, functions }) = (shape.write)(count) else {
        return false;
    };
    let Ok(Ok(tree)) = Blob::new(&blob).map(Tree::new) else {
        return false;
    };
    let functions = Input { blob, functions }.functions(&tree);
    let graph = Graph::build_within(&tree, &functions, Room::CORE);
    !graph.not_described().is_refused()
}

/// Runs without backtraces: to write one takes memory, and whoever waits for it under the limit waits for good.
#[test]
fn what_is_accepted_fits_the_heap() {
    const BACKTRACE: &str = "RUST_BACKTRACE";
    if std::env::var_os(BACKTRACE).is_some_and(|value| value != "0") {
        let itself = std::env::current_exe().unwrap_or_default();
        let mut again = std::process::Command::new(itself);
        let status = again.env(BACKTRACE, "0").arg("--nocapture").status();
        return assert!(status.is_ok_and(|status| status.success()));
    }
    for shape in &SHAPES {
        // To the largest that is accepted, or nearly.
        let mut count = 0;
        for step in (0..16).rev().map(|bit| 1 << bit) {
            count += if is_accepted(shape, count + step) { step } else { 0 };
        }
        assert!(count > 64, "{}: {count}", shape.name);
        println!("{}: {count}", shape.name);
    }
}
