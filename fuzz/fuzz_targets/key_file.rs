//! Any bytes as a key file: reading never panics, and a key that is read is one that has a text form.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::key_file::check(bytes));
