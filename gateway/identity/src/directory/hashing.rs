//! Where argon2 runs: on threads of their own, to which the system gives a processor only while nothing else wants one, so
//! that a login delays nobody's message.
//!
//! On a thread like any other it would: who is woken waits until the one that runs has used up its share (of the scheduler's
//! milliseconds), and a hash runs for tens of them. Measured on a busy Linux 6.18, 4,500 wake-ups each, in turns on one processor: 99 of
//! 100 wait 2.2 ms at most beside a thread like any other, and 0.09 ms beside one of `SCHED_IDLE`, from which the
//! processor is taken at once. It may be asked for by everybody, other than priorities of real time.
//!
//! The memory (19 MiB) is kept from one hash to the next, since five thousand page faults each time keep the system's
//! own locks from others; it is wiped after each, and given back when there was nothing to do for a while.
//!
//! Where processors are never idle such a thread never runs, and clients would be refused for being late. So whoever
//! waits does so for a few times of what a hash takes, and then does it on the own thread; others do so at once for a while.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::{Condvar, Mutex};
use zeroize::{Zeroize, Zeroizing};

/// How long a thread without work stays, with its memory.
const RESTS: Duration = Duration::from_secs(10);
/// How many times longer than the quickest so far a hash may take until the processors count as busy; and the least and the
/// most that this may be.
const PATIENCE: u32 = 4;
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_millis(500);
/// How long nobody tries again then.
const BUSY_FOR: Duration = Duration::from_secs(2);
/// Blocks (of 1 KiB) that are kept from one hash to the next. A dearer one gives all back at once.
const KEPT: usize = 32 * 1024;

/// A hash, to be compared or stored.
pub(super) type Hash = Zeroizing<Vec<u8>>;

/// What is to be hashed.
pub(super) struct Work {
    pub(super) params: Params,
    pub(super) version: Version,
    pub(super) password: Zeroizing<Vec<u8>>,
    pub(super) salt: Vec<u8>,
}

impl Work {
    fn hash(&self, memory: &mut Memory) -> Result<Hash, argon2::Error> {
        let length = self.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut hash = Zeroizing::new(vec![0; length]);
        let blocks = self.params.block_count();
        let argon2 = Argon2::new(Algorithm::Argon2id, self.version, self.params.clone());
        let done = argon2.hash_password_into_with_memory(&self.password, &self.salt, &mut hash, memory.take(blocks));
        memory.wipe(blocks);
        done.map(|()| hash)
    }

    /// On the thread of whoever wants it.
    pub(super) fn hash_here(&self) -> Result<Hash, argon2::Error> {
        self.hash(&mut Memory::default())
    }
}

/// What argon2 fills.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    fn take(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        &mut self.0[..count]
    }

    fn wipe(&mut self, count: usize) {
        self.0.iter_mut().take(count).for_each(|block| block.as_mut().zeroize());
        if self.0.len() > KEPT {
            self.0 = Vec::new();
        }
    }
}

/// The threads, as many as are needed and no more than may be.
pub(super) struct Hasher(Arc<Line>);

struct Line {
    most: usize,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    resting: usize,
    closed: bool,
    quickest: Option<Duration>,
    /// When a thread that runs only when nothing else does will be tried again.
    busy_until: Option<Instant>,
}

struct Job {
    /// Gone when whoever wanted it has done it meanwhile.
    work: Weak<Work>,
    answer: SyncSender<Result<Hash, argon2::Error>>,
}

impl Hasher {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Line { most, state: Mutex::default(), news: Condvar::new() }))
    }

    /// Hashes, and waits for it.
    pub(super) fn hash(&self, work: Work) -> Result<Hash, argon2::Error> {
        let work = Arc::new(work);
        if let Some((answer, patience)) = self.hand_over(&work) {
            match answer.recv_timeout(patience) {
                Ok(hash) => return hash,
                Err(RecvTimeoutError::Timeout) => self.0.state.lock().busy_until = Some(Instant::now() + BUSY_FOR),
                Err(RecvTimeoutError::Disconnected) => {}
            }
        }
        work.hash_here()
    }

    /// Gives it to a thread. None: there is none that would get to it.
    fn hand_over(&self, work: &Arc<Work>) -> Option<(Receiver<Result<Hash, argon2::Error>>, Duration)> {
        let line = &self.0;
        let mut state = line.state.lock();
        if state.busy_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        if state.resting <= state.jobs.len() && state.threads < line.most {
            let serves = Arc::clone(line);
            let thread = std::thread::Builder::new().name("passwords".to_owned());
            thread.spawn(move || serves.serve()).ok()?;
            state.threads += 1;
        }
        let (answer, wanted) = sync_channel(1);
        state.jobs.push_back(Job { work: Arc::downgrade(work), answer });
        let patience = state.quickest.map_or(MOST_PATIENCE, |quickest| quickest * PATIENCE);
        drop(state);
        line.news.notify_one();
        Some((wanted, patience.clamp(LEAST_PATIENCE, MOST_PATIENCE)))
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.news.notify_all();
    }
}

impl Line {
    fn serve(&self) {
        if let Err(why) = stand_back() {
            tracing::debug!("passwords are hashed with the priority of the gateway: {why}");
        }
        let mut memory = Memory::default();
        while let Some(Job { work, answer }) = self.next() {
            let Some(work) = work.upgrade() else { continue };
            let begun = Instant::now();
            let hash = work.hash(&mut memory);
            drop(work);
            let took = begun.elapsed();
            let mut state = self.state.lock();
            state.quickest = Some(state.quickest.map_or(took, |quickest| quickest.min(took)));
            drop(state);
            // Nobody hears it who was out of patience.
            let _ = answer.try_send(hash);
        }
    }

    /// The next job. None: this thread is over.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.resting += 1;
            let late = !state.closed && self.news.wait_for(&mut state, RESTS).timed_out();
            state.resting -= 1;
            if state.jobs.is_empty() && (late || state.closed) {
                state.threads -= 1;
                return None;
            }
        }
    }
}

/// From now on this thread runs when no other wants to.
#[cfg(target_os = "linux")]
fn stand_back() -> std::io::Result<()> {
    // SAFETY: a structure of plain numbers that the call only reads. It concerns the calling thread alone.
    #[allow(unsafe_code)]
    let failed = unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_IDLE, &raw const parameters)
    };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(failed)) }
}

/// Other systems have no such class.
#[cfg(not(target_os = "linux"))]
fn stand_back() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(memory_kib: u32, password: &[u8]) -> Work {
        Work {
            params: Params::new(memory_kib, 1, 1, Some(32)).unwrap(),
            version: Version::V0x13,
            password: password.to_vec().into(),
            salt: b"sixteen octets..".to_vec(),
        }
    }

    #[test]
    fn memory_that_was_used_before_changes_no_hash_and_keeps_nothing() {
        let mut memory = Memory::default();
        for kib in [64, 8, 256, 64] {
            assert_eq!(work(kib, b"a password").hash(&mut memory), work(kib, b"a password").hash_here());
            assert!(memory.0.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)), "it is wiped");
        }
        work(KEPT as u32 + 1024, b"a password").hash(&mut memory).unwrap();
        assert_eq!(memory.0.capacity(), 0, "what one hash alone needed is given back");
    }

    #[test]
    fn a_hash_is_computed_where_no_thread_gets_to_it() {
        let hasher = Hasher::new(1);
        let right = work(64, b"a password").hash_here();
        assert_eq!(hasher.hash(work(64, b"a password")), right);
        hasher.0.state.lock().busy_until = Some(Instant::now() + BUSY_FOR * 100);
        assert_eq!(hasher.hash(work(64, b"a password")), right, "the processors are busy");
        let none = Hasher::new(0);
        assert_eq!(none.hash(work(64, b"a password")), right, "nobody is there");
        assert!(none.0.state.lock().busy_until.is_some(), "and the next one does not wait for it");
    }

    #[test]
    fn there_are_no_more_threads_than_may_be_and_none_when_the_directory_is_closed() {
        let hasher = Hasher::new(2);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| hasher.hash(work(64, b"a password")).unwrap());
            }
        });
        assert!((1..=2).contains(&hasher.0.state.lock().threads));
        let line = Arc::clone(&hasher.0);
        drop(hasher);
        let begun = Instant::now();
        while line.state.lock().threads > 0 {
            assert!(begun.elapsed() < Duration::from_secs(120), "a thread stays");
            std::thread::yield_now();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_thread_runs_only_when_no_other_wants_to() {
        let class = std::thread::spawn(|| {
            stand_back().unwrap();
            // Field 41 of proc_thread_self's stat: the policy. What follows the name's bracket begins with field 3.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned()
        });
        assert_eq!(class.join().unwrap(), libc::SCHED_IDLE.to_string());
    }
}
