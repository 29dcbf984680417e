//! Any bytes as a proof: reading and verifying never panic, and what is read is written as the same bytes.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::event_proof::check(bytes));
