//! subject
pub mod pipeline;
pub mod keyring;
