//! Any bytes as a public key, its text form or a signature: reading and verifying never panic, and each key has one
//! form of each kind.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::public_key::check(bytes));
