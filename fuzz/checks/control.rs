//! Any bytes as a control record, the first of them its code: reading never panics, and what is read is written as the same
//! bytes.

use xaeroflux::wire::control::{Control, MAX_CONTROL_BYTES};

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Some((code, payload)) = bytes.split_first() else { return };
    let Ok(control) = Control::decode(*code, payload) else { return };
    assert!(payload.len() <= MAX_CONTROL_BYTES);
    assert_eq!((control.code(), control.encode()), (*code, payload.to_vec()));
}
