//! Any bytes as a frame: reading never panics, and what is read can be written and read again as the same record.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::frame::check(bytes));
