//! Any bytes as an exported subject: reading and checking never panic, and ask for no more than the limits.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::export::check(bytes));
