//! subject
pub mod pipeline;
