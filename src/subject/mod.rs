//! subject
pub mod keyring;
