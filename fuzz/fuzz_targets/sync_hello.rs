//! Any bytes as a hello: reading and verifying never panic, what is read is written as the same bytes, and it holds on one
//! connection and in one direction at most.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::sync_hello::check(bytes));
