//! Protocol constants: the limits that every replica must judge alike.
//!
//! A replica that drew one of these lines elsewhere would refuse an event that another replica holds, and the two
//! would never agree again. They change only together with the frame version.

/// Longest subject name, in bytes of UTF-8. Long enough for a path of identifiers, short enough for one index key.
pub const MAX_SUBJECT_NAME_BYTES: usize = 400;

/// Largest payload of one event, in bytes (1 MiB). Larger content belongs in a blob store, with its hash in the event.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Most causal dependencies that one record names. The frontier of a real history has 0 to 2 entries, but every replica
/// that worked alone adds one at the moment they meet.
pub const MAX_DEPS: usize = 1024;

/// Largest frame, in bytes: the largest payload, the largest list of dependencies, and room for the fixed fields.
pub const MAX_FRAME_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_DEPS * 40 + 1024;
