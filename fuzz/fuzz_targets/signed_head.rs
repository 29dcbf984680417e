//! Any bytes as a signed head: reading and verifying never panic, and what is read is written as the same bytes.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::signed_head::check(bytes));
