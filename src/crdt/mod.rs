//! Conflict-free replicated data types.
pub mod operator;
