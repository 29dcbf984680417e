//! What most programs need, for `use xaeroflux::prelude::*`.

pub use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub use crate::{
    Delivery, DurableSubscription, Error, Fold, Handle, Node, Notice, Operator, PublishError, Receipt, Reduce, Replay,
    Sort, Subject, Subscription, XaeroEvent, event::*, identity,
};

/// rkyv's way from bytes to values, with its error type settled: `rkyv::from_bytes::<Vec<Vec<u8>>, _>(..)` reads what
/// [`Reduce::SetContents`] emits.
pub mod rkyv {
    use rkyv::{
        Archive, Deserialize,
        api::high::{HighDeserializer, HighValidator},
        bytecheck::CheckBytes,
    };

    /// Why bytes could not be read.
    pub type Error = rkyv::rancor::Error;

    /// A type that can be read from its archive. There is one implementation, for one error type, so that `_` stands
    /// for it in [`from_bytes`].
    pub trait FromArchive<E>: Sized {
        /// Reads a value from its checked archive.
        ///
        /// # Errors
        /// Where the bytes are not an archive of this type.
        fn from_archive(bytes: &[u8]) -> Result<Self, E>;
    }

    impl<T> FromArchive<Error> for T
    where
        T: Archive,
        T::Archived: for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<T, HighDeserializer<Error>>,
    {
        fn from_archive(bytes: &[u8]) -> Result<Self, Error> {
            ::rkyv::from_bytes::<T, Error>(bytes)
        }
    }

    /// Reads a value from its checked archive, as `rkyv::from_bytes` does.
    ///
    /// # Errors
    /// Where the bytes are not an archive of a `T`.
    pub fn from_bytes<T: FromArchive<E>, E>(bytes: &[u8]) -> Result<T, E> {
        T::from_archive(bytes)
    }
}
