//! subject

pub(crate) mod bus;

pub use bus::{Acknowledged, Mode, Outcome, PublishError, Receipt, Refusal, SendError, Sender};
