//! The directory itself: entries in memory, one change at a time, written through to the store.
//!
//! | file | owns |
//! | --- | --- |
//! | `tables` | the entries and their indexes |
//! | `draft` | a change in the making: what to store, what to apply, whom to tell |
//! | `changes` | who wants to hear of changes |
//! | `find` | looking up |
//! | `users`, `tenancy`, `apps`, `devices`, `api_keys` | changing one kind of entry each |
//! | `passwords`, `hashing`, `attempts` | argon2id, where it runs, and the slowing of those who guess |
//! | `pepper` | the secret that stable secrets are computed from |
//! | `transfer` | export and import |
//! | `check`, `random` | what fields may hold; identifiers and secrets |

mod api_keys;
mod apps;
mod attempts;
mod changes;
mod check;
mod devices;
mod draft;
mod find;
mod hashing;
mod passwords;
mod pepper;
mod random;
mod tables;
mod tenancy;
mod transfer;
mod users;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use portcullis_store::{Batch, Clock, Durability, Store};

pub use attempts::LockOut;
pub use changes::{Change, ChangeKind, Subscription, acting, actor};
pub use passwords::PasswordCost;
pub use transfer::Imported;

use crate::error::DirectoryError;
use crate::model::{DEFAULT_DOMAIN, Domain};
use attempts::Attempts;
use changes::Listeners;
use draft::{Draft, Edit};
use passwords::Passwords;
use pepper::Pepper;
use tables::Tables;

/// Settings of the directory.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Tells when keys expire and locks open.
    pub clock: Clock,
    /// What a password's hash costs.
    pub password_cost: PasswordCost,
    /// Octets of a password, least and most.
    pub password_length: std::ops::RangeInclusive<usize>,
    /// How those who guess passwords are slowed.
    pub lock_out: LockOut,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            password_cost: PasswordCost::default(),
            password_length: 8..=1024,
            lock_out: LockOut::default(),
        }
    }
}

/// The directory. Cheap to clone, safe to share.
///
/// What reads is quick and touches no disk. What changes blocks until the change is on disk, so it belongs where
/// blocking is allowed; others see it a moment before it is. If the disk fails, the change is reported as failed, the
/// store takes no more, and the next start shows what was stored. Passwords take tens of milliseconds of a processor.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    tables: RwLock<Tables>,
    /// Held from looking at the entries to handing the change to the store: the file gets changes in the order in which
    /// they were decided.
    changing: Mutex<()>,
    listeners: Arc<Listeners>,
    passwords: Passwords,
    attempts: Attempts,
    pepper: Mutex<Option<Pepper>>,
}

impl Directory {
    /// Reads all entries from the store. A new directory gets the domain [`DEFAULT_DOMAIN`].
    ///
    /// # Errors
    /// The store cannot be read, or holds an entry that this version does not understand.
    pub fn open(store: Store, options: DirectoryOptions) -> Result<Self, DirectoryError> {
        let tables = Tables::load(&store)?;
        let new = tables.domains.is_empty();
        let pepper = Pepper::load(&store)?;
        let directory = Self(Arc::new(Inner {
            store,
            clock: options.clock,
            tables: RwLock::new(tables),
            changing: Mutex::default(),
            listeners: Arc::default(),
            passwords: Passwords::new(options.password_cost, options.password_length)?,
            attempts: Attempts::new(options.lock_out),
            pepper: Mutex::new(pepper),
        }));
        if new {
            directory.change(|_, draft| {
                draft.edit(Edit::Domain(Arc::new(Domain {
                    id: DEFAULT_DOMAIN.to_owned(),
                    name: "Default".to_owned(),
                    enabled: true,
                    attributes: Vec::new(),
                })))
            })?;
        }
        Ok(directory)
    }

    /// Registers a listener that is called with each change, in the thread that made it, after the change. Be quick, and
    /// do not change the directory from within.
    pub fn subscribe(&self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Subscription {
        self.0.listeners.add(Arc::new(listener))
    }

    /// Decides about a change, stores it, applies it, and tells who listens. `decide` sees the entries as they are and
    /// drafts the change; if it fails, nothing has happened.
    fn change<T>(
        &self,
        decide: impl FnOnce(&Tables, &mut Draft) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        let turn = self.0.changing.lock();
        let mut draft = Draft::new();
        let value = {
            let tables = self.0.tables.read();
            let value = decide(&tables, &mut draft)?;
            tables.forget_expired(self.0.clock.now(), &mut draft)?;
            value
        };
        let Draft { batch, edits, changes } = draft;
        let ticket = self.hand_in(batch);
        {
            let mut tables = self.0.tables.write();
            edits.into_iter().for_each(|edit| tables.apply(edit));
        }
        drop(turn);
        let stored = ticket.wait();
        // Told even if the disk failed: a connection that is looked at once too often is harmless, one too few is not.
        changes.iter().for_each(|change| self.0.listeners.tell(change));
        stored?;
        Ok(value)
    }

    /// A change must not be refused for lack of room once it is decided: it waits instead.
    fn hand_in(&self, mut batch: Batch) -> portcullis_store::Ticket<()> {
        loop {
            match self.0.store.try_submit(batch, Durability::Ack) {
                Ok(ticket) => return ticket,
                Err(back) => {
                    batch = back;
                    self.0.store.room().wait();
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.0.clock.now()
    }
}
