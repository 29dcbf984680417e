//! actors

pub(crate) mod pool;
