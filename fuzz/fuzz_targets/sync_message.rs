//! Any bytes as a message between peers: reading never panics, and what is read is written as the same bytes.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::sync_message::check(bytes));
