//! A copied or restored data directory must not write under the keys of its original: that would fork their logs.
#![allow(clippy::unwrap_used)]

#[path = "support/backup.rs"]
mod backup;

use std::path::Path;

use backup::copy;
use xaeroflux::{PublishError, prelude::*};

#[test]
fn a_copy_publishes_under_a_fresh_key_that_the_old_one_vouches_for() {
    let root = tempfile::tempdir().unwrap();
    let (original, copied) = (root.path().join("original"), root.path().join("copy"));
    let publish = |dir: &Path, author: Option<XaeroID>| {
        let node = Node::builder().data_dir(dir).build().unwrap();
        let alice = node.identity("alice").unwrap();
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        let receipt = subject.publish(XaeroEvent::new("x", CRDT_SET_ADD).by(author.unwrap_or(alice))).wait();
        (alice, receipt, node.predecessor(alice).map(|succession| succession.old), subject.count().unwrap())
    };
    let (alice, first, predecessor, _) = publish(&original, None);
    assert_eq!((first.unwrap().seq, predecessor), (1, None));
    copy(&original, &copied);

    let (fresh, receipt, predecessor, count) = publish(&copied, None);
    assert_ne!(fresh, alice);
    assert_eq!((receipt.unwrap().seq, predecessor, count), (1, Some(alice), 2));
    // The old key is refused there, and the fresh one stays.
    let (again, refused, ..) = publish(&copied, Some(alice));
    assert_eq!(again, fresh);
    assert!(matches!(refused, Err(PublishError::UnknownAuthor { .. })));
    // The original goes on as if nothing had been.
    let (same, receipt, ..) = publish(&original, None);
    assert_eq!((same, receipt.unwrap().seq), (alice, 2));
}
