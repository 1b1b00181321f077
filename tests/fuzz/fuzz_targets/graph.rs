//! Any bytes, the whole way from blob to stream graph.
#![no_main]

/// The core's heap: whatever is read, no more than this may be asked for. libFuzzer's own limit needs a sanitizer.
#[global_allocator]
static HEAP: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 16 << 20);

libfuzzer_sys::fuzz_target!(|input: &[u8]| tree_checks::check_graph(&tree_checks::blob(input)));
