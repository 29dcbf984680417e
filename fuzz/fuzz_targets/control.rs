//! Any bytes as a control record: reading never panics, and what is read is written as the same bytes.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::control::check(bytes));
