//! Any bytes as a chunk of events: reading and verifying never panic, what is read is written as the same bytes, and
//! nothing passes in an author's name that the author has not signed.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::sync_events::check(bytes));
