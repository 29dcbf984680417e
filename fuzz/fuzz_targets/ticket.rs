//! Any text as a ticket: reading never panics, and a ticket that is read has that text and no other.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::ticket::check(bytes));
