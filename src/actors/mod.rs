//! actors
pub mod fault;
pub mod supervise;
