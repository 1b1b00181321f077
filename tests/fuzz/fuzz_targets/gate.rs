//! Any bytes, through the gate and every question that can be asked behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tree_checks::check_gate(input));
