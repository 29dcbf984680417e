//! Any bytes as a hello: reading and verifying never panic, what is read is written as the same bytes, and it holds on one
//! connection and in one direction at most.

use xaeroflux::wire::sync::{Hello, Role, hello::Binding};

/// The connection that the seeds are made for.
pub const BINDING: Binding = Binding { exported: [1; 32], dialer: [2; 32], acceptor: [3; 32] };

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(hello) = Hello::decode(bytes) else { return };
    let mut again = Vec::new();
    hello.encode_body(&mut again);
    assert_eq!(again, bytes);
    let holds = [Role::Dialer, Role::Acceptor].map(|role| hello.verify(role, &BINDING).is_ok());
    assert_ne!(holds, [true, true]);
    let other = Binding { exported: [9; 32], ..BINDING };
    assert!(holds == [false, false] || hello.verify(Role::Dialer, &other).is_err());
}
