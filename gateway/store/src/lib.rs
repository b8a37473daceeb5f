//! Durable storage: the only room that knows redb.
//!
//! One file, `<data>/portcullis.redb`, written by one thread. Callers hand in a [`Batch`] and get a [`Ticket`]; whatever
//! is waiting when the writer is free shares one transaction and one sync of the disk (*group commit*), so that a
//! thousand acknowledgements cost as much as one. Reads see what was committed and never wait for the writer.
//!
//! | file | owns |
//! | --- | --- |
//! | `open` | the data directory: lock, creation, what is wrong with a file |
//! | `schema` | the version in the file and the way from one to the next |
//! | `store` | the handle: submit, read, close |
//! | `batch`, `ticket`, `queue` | what is handed in, what is got back, what lies between |
//! | `writer` | the thread: transactions, durability, sweeping |
//! | `mend` | what the thread does when the disk is full or fails, and how it comes back |
//! | `origin`, `watched`, `shelf` | opening the file again: where it lies, whether it is trusted, who reads it |
//! | `tables/*` | one kind of data each: its tables, its operations, how they are applied |
//! | `key_value` | the namespaces that policies keep their data in |
//!
//! A further kind of data is a file in `tables/`, a variant of `batch::Operation`, a field of `tables::Tables` and a
//! migration in `schema`. This room does not know what the bytes mean.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod batch;
mod clock;
#[cfg(feature = "test-disk")]
#[doc(hidden)]
pub mod disk;
mod error;
mod key_value;
mod mend;
mod open;
mod options;
mod origin;
mod queue;
mod schema;
mod shelf;
mod store;
mod tables;
mod ticket;
mod watched;
mod writer;

pub use batch::Batch;
pub use clock::{Clock, ClockHand};
pub use error::{KeyValueError, OpenError, StoreError};
pub use key_value::{KeyValue, MAX_KEY, MAX_NAMESPACE, MAX_VALUE};
pub use options::{Durability, Options};
pub use schema::VERSION as SCHEMA_VERSION;
pub use store::{Statistics, Store, Submitter};
pub use tables::sessions::SessionRow;
pub use ticket::{Fate, Room, Ticket};
