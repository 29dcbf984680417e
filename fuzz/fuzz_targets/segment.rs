//! Any bytes as a segment: reading never panics, and what passes has no altered byte.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::segment::check(bytes));
