//! Any bytes, the whole way from blob to stream graph.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tree_checks::check_graph(&tree_checks::blob(input)));
