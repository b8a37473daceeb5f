//! The handle that the other rooms hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableDatabase};

use crate::batch::{Batch, Operation};
use crate::clock::Clock;
use crate::error::{KeyValueError, OpenError, StoreError};
use crate::key_value::KeyValue;
use crate::open::{self, Opened};
use crate::options::{Durability, Options};
use crate::queue::{Queue, Refusal};
use crate::tables::sessions::SessionRow;
use crate::tables::{self, Fault};
use crate::ticket::{Answer, Completion, Outcome, Room, Ticket, written};
use crate::writer::{Counters, Writer};

/// A store. Cheap to clone; the file is closed when the last handle is dropped, after all that was handed in is on
/// disk.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    writer: Mutex<Option<JoinHandle<()>>>,
    durability: Durability,
    clock: Clock,
    // `drop` joins the writer, so this is the last owner; the directory is given up after the file.
    database: Arc<redb::Database>,
    _keeper: open::Keeper,
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions of the engine that carried batches.
    pub transactions: u64,
    /// Of them, those that were synced to disk.
    pub syncs: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Changes in them.
    pub operations: u64,
    /// Octets that wait to be written, now.
    pub waiting: u64,
}

impl Store {
    /// Opens `<data>/portcullis.redb`; makes the directory (for its owner only) and the file if they are not there.
    ///
    /// # Errors
    /// [`OpenError`] in words for the operator. A file that is damaged, of a newer version or of another program is
    /// left as it is.
    pub fn open(data: &Path, options: Options) -> Result<Self, OpenError> {
        Self::start(open::open(data, &options)?, options)
    }

    /// A store in memory that is gone with its last handle. For tests.
    ///
    /// # Errors
    /// The engine or the operating system refused.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        Self::start(open::in_memory(&options)?, options)
    }

    /// A store on a disk that a test plays.
    ///
    /// # Errors
    /// As [`Store::open`].
    #[cfg(feature = "test-disk")]
    #[doc(hidden)]
    pub fn on_disk(disk: &crate::disk::Disk, options: Options) -> Result<Self, OpenError> {
        Self::start(open::on_disk(disk, &options)?, options)
    }

    fn start(opened: Opened, options: Options) -> Result<Self, OpenError> {
        let Opened { database, keeper } = opened;
        let database = Arc::new(database);
        let queue = Arc::new(Queue::new(options.queue));
        let counters = Arc::new(Counters::default());
        let writer =
            Writer::new(Arc::clone(&database), Arc::clone(&queue), Arc::clone(&counters), options.clock.clone());
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(|| writer.run()).map_err(|source| {
            OpenError::Io { action: "start the writer of", path: keeper.path.clone().unwrap_or_default(), source }
        })?;
        Ok(Self(Arc::new(Inner {
            queue,
            counters,
            writer: Mutex::new(Some(thread)),
            durability: options.durability,
            clock: options.clock,
            database,
            _keeper: keeper,
        })))
    }

    /// Hands in a batch without blocking, to be as durable as [`Options::durability`] says.
    ///
    /// Batches are written in the order in which they are handed in. A batch that finds no room is refused: its ticket
    /// says [`StoreError::Busy`]. To keep such a batch, use [`Store::try_submit`].
    pub fn submit(&self, batch: Batch) -> Ticket<()> {
        self.submit_with(batch, self.0.durability)
    }

    /// As [`Store::submit`], as durable as this says.
    pub fn submit_with(&self, batch: Batch, durability: Durability) -> Ticket<()> {
        self.hand_in(batch, durability, written)
    }

    /// As [`Store::submit_with`], but a batch that finds no room is given back; wait for [`Store::room`] then.
    ///
    /// # Errors
    /// The batch.
    pub fn try_submit(&self, batch: Batch, durability: Durability) -> Result<Ticket<()>, Batch> {
        let completion = Completion::new();
        match self.0.queue.push(batch, durability, &completion) {
            Ok(()) => Ok(Ticket::pending(completion, written)),
            Err(Refusal::Busy(batch)) => Err(batch),
            Err(Refusal::Stopped(why)) => Ok(Ticket::refused(why)),
        }
    }

    /// A way to hand in batches that does not keep the store open: for what the writer itself calls, which must never
    /// hold the last handle.
    #[must_use]
    pub fn submitter(&self) -> Submitter {
        Submitter { queue: Arc::clone(&self.0.queue) }
    }

    /// Visits sessions, what belongs to them, and retained messages, as they were last committed.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn visit_sessions(&self, see: impl FnMut(SessionRow<'_>)) -> Result<(), StoreError> {
        self.read(|transaction| tables::sessions::visit(transaction, see))
    }

    /// Done when the queue is half empty, or the store is closed.
    pub fn room(&self) -> Room {
        Room(Arc::clone(&self.0.queue))
    }

    /// Visits all directory entries of a kind as they were last committed, ordered by identifier.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn visit_entries(&self, kind: &str, see: impl FnMut(&str, &[u8])) -> Result<(), StoreError> {
        self.read(|transaction| tables::directory::visit(transaction, kind, see))
    }

    /// Reads a value of the store's own, see [`Batch::put_meta`].
    ///
    /// # Errors
    /// The file could not be read.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| tables::meta::get(transaction, name))
    }

    /// A namespace of keys and values, such as `policy:jwt`, that may use `quota` octets, counted as
    /// [`KeyValue::usage`] says. Namespaces are made by being used.
    ///
    /// # Errors
    /// The name is empty or longer than [`crate::MAX_NAMESPACE`].
    pub fn key_value(&self, namespace: &str, quota: u64) -> Result<KeyValue, KeyValueError> {
        KeyValue::new(self.clone(), namespace, quota)
    }

    /// Removes up to `limit` values that have expired, now; the writer does so by itself every half a minute. The
    /// answer is how many.
    pub fn sweep(&self, limit: u32) -> Ticket<u64> {
        self.hand_in(Batch::single(Operation::Sweep(limit)), Durability::None, |outcome| match outcome {
            Ok(Answer::Count(count)) => Ok(count),
            other => written(other).map(|()| 0),
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            transactions: count(&self.0.counters.transactions),
            syncs: count(&self.0.counters.syncs),
            batches: count(&self.0.counters.batches),
            operations: count(&self.0.counters.operations),
            waiting: self.0.queue.size() as u64,
        }
    }

    /// Why the store takes no more, if it does not: it was closed, or the disk failed. For health checks.
    #[must_use]
    pub fn stopped(&self) -> Option<StoreError> {
        self.0.queue.stopped()
    }

    /// Tells the time as the store does.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Takes no more, and blocks until all that was handed in is on disk. Reading goes on. Dropping the last handle does
    /// the same.
    pub fn close(&self) {
        self.0.close();
    }

    pub(crate) fn hand_in<T, E: From<StoreError>>(
        &self,
        batch: Batch,
        durability: Durability,
        read: fn(Outcome) -> Result<T, E>,
    ) -> Ticket<T, E> {
        let completion = Completion::new();
        match self.0.queue.push(batch, durability, &completion) {
            Ok(()) => Ticket::pending(completion, read),
            Err(Refusal::Busy(_)) => Ticket::refused(StoreError::Busy.into()),
            Err(Refusal::Stopped(why)) => Ticket::refused(why.into()),
        }
    }

    pub(crate) fn read_value(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now_ms = self.0.clock.now_ms();
        self.read(|transaction| tables::key_value::get(transaction, namespace, key, now_ms))
    }

    pub(crate) fn read_usage(&self, namespace: &str) -> Result<u64, StoreError> {
        self.read(|transaction| tables::key_value::usage(transaction, namespace))
    }

    /// A file that is damaged in a place that opening did not look at may make the engine panic; that must not take a
    /// caller's thread with it.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        let result = catch_unwind(AssertUnwindSafe(|| read(&self.0.database.begin_read()?)));
        result
            .unwrap_or_else(|_| Err(Fault("the storage engine stumbled over the file's contents".to_owned())))
            .map_err(|Fault(why)| StoreError::Failed(why.into()))
    }
}

/// Hands in batches, for as long as the store is open. See [`Store::submitter`].
#[derive(Clone, Debug)]
pub struct Submitter {
    queue: Arc<Queue>,
}

impl Submitter {
    /// Hands in a batch and has `then` called when it is written, or is not: on the writer's thread, in the order of the
    /// batches, so it must be quick. A batch is taken whatever waits already; who hands in more than the store can
    /// write looks at [`Self::is_crowded`] and waits.
    ///
    /// Where the durability does not promise the disk, `then` is called when the engine has it.
    pub fn submit_then(
        &self,
        batch: Batch,
        durability: Durability,
        then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let completion = Completion::calling(Box::new(then));
        if let Err(why) = self.queue.push_always(batch, durability, &completion) {
            completion.complete(Err(why.into()));
        }
    }

    /// Whether more waits to be written than [`Options::queue`] allows.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.queue.is_crowded()
    }
}

impl Inner {
    fn close(&self) {
        self.queue.stop(StoreError::Closed);
        if let Some(thread) = self.writer.lock().take() {
            // The writer catches the engine's panics and has none of its own.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
