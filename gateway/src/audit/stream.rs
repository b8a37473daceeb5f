//! The audit stream: every decision, as a line of JSON, to a file, to standard output and to a topic.
//!
//! Each place has a thread and a bounded queue of its own, so that a full disk, a pipe that nobody reads or a slow topic
//! holds up neither clients nor the other places. What a place cannot take is counted, and the place is told so as soon
//! as it takes something again.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_mqtt::QoS;
use portcullis_router::Message;
use portcullis_session::{Broker, Scratch};

use super::decision::Decision;
use super::file::AuditFile;
use crate::config::Audit as Settings;

/// Entries that wait for one place.
const QUEUE: usize = 8192;
/// Entries that are written at a time.
const BATCH: usize = 256;
/// How long the last entries may take when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What became of the entries of one place. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Written or published.
    pub(crate) written: AtomicU64,
    /// Not: the queue was full, or the place did not take them.
    pub(crate) lost: AtomicU64,
}

/// The counts of all places.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllCounts {
    /// The file.
    pub(crate) file: Arc<Counts>,
    /// Standard output.
    pub(crate) stdout: Arc<Counts>,
    /// The topic.
    pub(crate) topic: Arc<Counts>,
}

/// The places that are configured.
#[derive(Debug, Default)]
pub(super) struct Stream {
    places: Vec<Place>,
}

struct Place {
    queue: SyncSender<Note>,
    counts: Arc<Counts>,
    /// Ends with the thread.
    over: Mutex<Receiver<()>>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("counts", &self.counts).finish_non_exhaustive()
    }
}

enum Note {
    Entry(Arc<Decision>),
    /// The file is to be taken up again under its name.
    Reopen,
}

/// Where lines go.
trait Out: Send + 'static {
    /// Takes all of them, or says why not.
    fn take(&mut self, lines: &[String]) -> io::Result<()>;
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Opens the places.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub(super) fn open(settings: &Settings, counts: &AllCounts, broker: &Arc<Broker>) -> io::Result<Self> {
        let mut places = Vec::new();
        if let Some(path) = &settings.file {
            let file = AuditFile::open(&path.value, settings.turnover)?;
            places.push(Place::start("audit-file", ToFile(file), &counts.file)?);
        }
        if settings.stdout {
            places.push(Place::start("audit-stdout", ToStdout, &counts.stdout)?);
        }
        if let Some(topic) = &settings.topic {
            let out = ToTopic { topic: topic.value.clone(), broker: Arc::downgrade(broker) };
            places.push(Place::start("audit-topic", out, &counts.topic)?);
        }
        Ok(Self { places })
    }

    /// Hands an entry to every place. Never waits.
    pub(super) fn tell(&self, entry: &Arc<Decision>) {
        for place in &self.places {
            if place.queue.try_send(Note::Entry(Arc::clone(entry))).is_err() {
                place.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Has the file taken up again under its name.
    pub(super) fn reopen(&self) {
        for place in &self.places {
            // A queue that is full belongs to a place that is stuck: it has to be told later, by another signal.
            let _ = place.queue.try_send(Note::Reopen);
        }
    }

    /// Waits, for a while, until everything is written.
    pub(super) fn close(self: Arc<Self>) {
        let Some(stream) = Arc::into_inner(self) else { return };
        for Place { queue, over, .. } in stream.places {
            drop(queue);
            // An error is the end of the thread, or that it takes too long: either way there is nothing more to do.
            let _ = over.into_inner().recv_timeout(FAREWELL);
        }
    }
}

impl Place {
    fn start(name: &str, out: impl Out, counts: &Arc<Counts>) -> io::Result<Self> {
        let (queue, notes) = sync_channel(QUEUE);
        let (ends, over) = sync_channel(0);
        let held = Arc::clone(counts);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ends: SyncSender<()> = ends;
            run(&notes, &held, out);
        })?;
        Ok(Self { queue, counts: Arc::clone(counts), over: Mutex::new(over) })
    }
}

fn run(notes: &Receiver<Note>, counts: &Counts, mut out: impl Out) {
    let mut told = counts.lost.load(Ordering::Relaxed);
    let mut failing = false;
    while let Ok(first) = notes.recv() {
        let mut lines = Vec::new();
        let mut reopen = false;
        for note in std::iter::once(first).chain(notes.try_iter().take(BATCH - 1)) {
            match note {
                Note::Entry(entry) => lines.push(entry.line()),
                Note::Reopen => reopen = true,
            }
        }
        let entries = lines.len() as u64;
        let lost = counts.lost.load(Ordering::Relaxed);
        if lost > told {
            lines.insert(0, missing(lost - told).line());
        }
        // What came before the signal may stand in the new file: order is kept, and nothing is lost.
        let done = if reopen { out.reopen() } else { Ok(()) }.and_then(|()| out.take(&lines));
        match done {
            Ok(()) => {
                counts.written.fetch_add(entries, Ordering::Relaxed);
                told = lost;
                if std::mem::take(&mut failing) {
                    tracing::info!("the audit stream can be written again");
                }
            }
            Err(why) => {
                counts.lost.fetch_add(entries, Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    let why = crate::plain(&why);
                    tracing::error!(
                        "the audit stream cannot be written: {why}; what is missing is counted, and clients are served"
                    );
                }
            }
        }
    }
}

/// Says in the stream that something is missing from it.
fn missing(entries: u64) -> Decision {
    let mut decision = Decision::of_gateway("lost", "failed").because(
        "entries before this one are missing here: they came faster than they could be written, or could not be",
    );
    decision.times = Some(entries);
    decision
}

struct ToFile(AuditFile);

impl Out for ToFile {
    fn take(&mut self, lines: &[String]) -> io::Result<()> {
        self.0.append(together(lines).as_bytes())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.0.reopen()
    }
}

struct ToStdout;

impl Out for ToStdout {
    fn take(&mut self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(together(lines).as_bytes())?;
        out.flush()
    }
}

fn together(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Publishing says nothing to audit, or the stream would feed itself.
struct ToTopic {
    topic: String,
    broker: Weak<Broker>,
}

impl Out for ToTopic {
    fn take(&mut self, lines: &[String]) -> io::Result<()> {
        let Some(broker) = self.broker.upgrade() else { return Ok(()) };
        let mut scratch = Scratch::default();
        for line in lines {
            let message = Message::new(&self.topic, &[], line.as_bytes(), QoS::AtLeastOnce, false, None, 0);
            broker.publish(&Arc::new(message), &mut scratch);
        }
        broker.settle(&mut scratch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Faulty {
        took: Arc<Mutex<Vec<String>>>,
        works: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Out for Faulty {
        fn take(&mut self, lines: &[String]) -> io::Result<()> {
            if !self.works.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.took.lock().extend_from_slice(lines);
            Ok(())
        }
    }

    #[test]
    fn what_is_missing_is_counted_and_said_in_the_stream() {
        let took = Arc::new(Mutex::new(Vec::new()));
        let works = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let out = Faulty { took: Arc::clone(&took), works: Arc::clone(&works) };
        let place = Place::start("test", out, &counts).unwrap();
        let stream = Arc::new(Stream { places: vec![place] });
        let entry = Arc::new(Decision::of_gateway("login", "allowed"));
        (0..3).for_each(|_| stream.tell(&entry));
        while counts.lost.load(Ordering::SeqCst) < 3 {
            thread::yield_now();
        }
        works.store(true, Ordering::SeqCst);
        stream.tell(&entry);
        stream.close();
        let took = took.lock();
        let [lost, login] = &took[..] else { panic!("{took:?}") };
        assert!(lost.contains("\"lost\"") && lost.contains("\"times\":3"), "{lost}");
        assert!(login.contains("\"login\""), "{login}");
        assert_eq!(counts.written.load(Ordering::SeqCst), 1);
    }
}
