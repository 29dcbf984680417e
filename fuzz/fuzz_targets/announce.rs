//! Any bytes as an announcement: reading never panics, what is read is written as the same bytes, and only the holders of
//! the secret read it.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::announce::check(bytes));
