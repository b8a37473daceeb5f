//! The handle that the other rooms hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableDatabase};

use crate::batch::{Batch, Operation};
use crate::clock::Clock;
use crate::error::{KeyValueError, OpenError, StoreError};
use crate::key_value::KeyValue;
use crate::open::{self, Opened, stumbling};
use crate::options::{Durability, Options};
use crate::queue::{Queue, Refusal};
use crate::shelf::Shelf;
use crate::tables::sessions::SessionRow;
use crate::tables::{self, Fault};
use crate::ticket::{Answer, Completion, Fate, Outcome, Room, Ticket, written};
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
    /// The database's file; none in memory.
    path: Option<PathBuf>,
    // `drop` joins the writer, so this is the last owner; the directory is given up after the file.
    shelf: Arc<Shelf>,
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
    /// Times that the store failed.
    pub failures: u64,
    /// Octets that wait to be written, now.
    pub waiting: u64,
    /// Octets of the file, now; 0 in memory.
    pub file: u64,
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
        let Opened { database, origin, keeper } = opened;
        let place = origin.path().to_owned();
        let path = origin.is_file().then(|| place.clone());
        let shelf = Arc::new(Shelf::new(database));
        let queue = Arc::new(Queue::new(options.queue));
        let counters = Arc::new(Counters::default());
        let clock = options.clock.clone();
        let writer = Writer::new(Arc::clone(&shelf), origin, Arc::clone(&queue), Arc::clone(&counters), clock)
            .map_err(|Fault(why)| OpenError::Damaged { path: place.clone(), why })?;
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(|| writer.run());
        let thread = thread.map_err(|source| OpenError::Io { action: "start the writer of", path: place, source })?;
        Ok(Self(Arc::new(Inner {
            queue,
            counters,
            writer: Mutex::new(Some(thread)),
            durability: options.durability,
            clock: options.clock,
            path,
            shelf,
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
            failures: count(&self.0.counters.failures),
            waiting: self.0.queue.size() as u64,
            file: self.0.path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |found| found.len()),
        }
    }

    /// Why the store takes no more, if it does not: it was closed, or the disk failed, for now or for good. For health
    /// checks.
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

    pub(crate) fn read_keys(&self, namespace: &str) -> Result<u64, StoreError> {
        self.read(|transaction| tables::key_value::keys(transaction, namespace))
    }

    pub(crate) fn read_usage(&self, namespace: &str) -> Result<u64, StoreError> {
        self.read(|transaction| tables::key_value::usage(transaction, namespace))
    }

    /// A file that is damaged in a place that opening did not look at may make the engine panic; that must not take a
    /// caller's thread with it.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        stumbling(|| read(&self.0.shelf.database()?.begin_read()?)).map_err(|Fault(why)| StoreError::Failed(why.into()))
    }
}

/// Hands in batches, for as long as the store is open. See [`Store::submitter`].
#[derive(Clone, Debug)]
pub struct Submitter {
    queue: Arc<Queue>,
}

impl Submitter {
    /// Hands in a batch that its sender relies on: when the store fails, it is kept, and written when the store is back.
    /// A batch is taken whatever waits already; who hands in more than the store can write looks at
    /// [`Self::is_crowded`] and waits. Four times [`Options::queue`] are kept while the store has failed; what comes
    /// beyond is lost, and the store stops for good.
    ///
    /// `then` is told of its [`Fate`], in the order of the batches and on the writer's thread, so it must be quick; of a
    /// delay that is known at once, on the caller's. Where the durability does not promise the disk, a batch counts as
    /// written when the engine has it.
    pub fn submit_then(&self, batch: Batch, durability: Durability, then: impl FnMut(Fate) + Send + 'static) {
        let completion = Completion::calling(Box::new(then));
        match self.queue.push_always(batch, durability, &completion) {
            Ok(None) => {}
            Ok(Some(why)) => completion.delay(&why),
            Err(why) => completion.complete(Err(why.into())),
        }
    }

    /// Whether nothing is written, for now or for good: what is handed in is told so. Cheap enough for every message.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.queue.is_refusing()
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
