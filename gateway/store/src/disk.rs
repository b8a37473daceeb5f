//! A disk for tests: in memory, it keeps what was synced apart from what was written, and can lose its power, fill up
//! or break. Compiled only with the feature `test-disk`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::StorageBackend;

/// What a disk writes in one step. What is larger may be torn.
const SECTOR: usize = 512;

/// See the module's description. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    platter: Mutex<Platter>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Platter {
    /// What is there after a power cut, whatever happens.
    synced: Vec<u8>,
    /// What the system shows while it runs.
    shown: Vec<u8>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Step>,
    /// Steps (writes, syncs, changes of length) until the power fails; none: it does not.
    power: Option<u64>,
    /// Octets that may still be written; none: as many as one likes.
    room: Option<u64>,
    /// Every sync fails from now on.
    deaf: bool,
    /// Every sync waits until this is over.
    held: bool,
    /// How many do.
    waiting: u32,
    /// Syncs so far.
    syncs: u64,
}

#[derive(Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails after so many more steps: writes, syncs, changes of length. Nothing works from then on.
    pub fn cut_after(&self, steps: u64) {
        self.0.platter.lock().power = Some(steps);
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.platter.lock().power == Some(0)
    }

    /// Takes so many more octets and is full then: "no space left on device". What does not fit is written in part.
    pub fn fill_after(&self, octets: u64) {
        self.0.platter.lock().room = Some(octets);
    }

    /// Every sync fails from now on. As on a real system, what it should have written counts as written and is not.
    pub fn fail_syncs(&self) {
        self.0.platter.lock().deaf = true;
    }

    /// There is room again, and syncs work. What was lost meanwhile stays lost.
    pub fn heal(&self) {
        let mut platter = self.0.platter.lock();
        (platter.deaf, platter.room) = (false, None);
    }

    /// Has the contents of another disk from now on, all of them synced.
    pub fn restore(&self, other: &Self) {
        let image = other.0.platter.lock().shown.clone();
        let mut platter = self.0.platter.lock();
        (platter.synced, platter.shown) = (image.clone(), image);
        platter.unsynced.clear();
    }

    /// Another disk that is as full, deaf or without power as this one, and empty.
    pub(crate) fn aside(&self) -> Self {
        let aside = Self::default();
        let platter = self.0.platter.lock();
        *aside.0.platter.lock() =
            Platter { power: platter.power, room: platter.room, deaf: platter.deaf, ..Platter::default() };
        drop(platter);
        aside
    }

    /// Has the contents of another disk from now on, as by renaming a file.
    pub(crate) fn replace_with(&self, other: &Self) {
        let (mut platter, mut other) = (self.0.platter.lock(), other.0.platter.lock());
        platter.synced = std::mem::take(&mut other.synced);
        platter.shown = std::mem::take(&mut other.shown);
        platter.unsynced = std::mem::take(&mut other.unsynced);
    }

    /// Every sync waits until what this returns is dropped.
    pub fn hold_syncs(&self) -> SyncsHeld {
        self.0.platter.lock().held = true;
        SyncsHeld(self.clone())
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.platter.lock().syncs
    }

    /// The disk as it is found when the power is back: what was synced, and of the later steps what `chance` lets
    /// survive. Each step is lost, whole, or torn: then any of its sectors may be there, and half a sector as well.
    /// `chance` is given a bound and gives a number below it.
    pub fn after_power_cut(&self, mut chance: impl FnMut(u64) -> u64) -> Self {
        let platter = self.0.platter.lock();
        let mut found = platter.synced.clone();
        for step in &platter.unsynced {
            let fate = chance(3);
            match step {
                _ if fate == 0 => {}
                Step::Length(length) => found.resize(*length, 0),
                Step::Write(at, octets) => {
                    for (n, sector) in octets.chunks(SECTOR).enumerate() {
                        let kept = match (fate, chance(8)) {
                            (1, _) | (_, 0..=3) => sector.len(),
                            (_, 4) => chance(sector.len() as u64) as usize,
                            _ => 0,
                        };
                        put(&mut found, at + n * SECTOR, &sector[..kept]);
                    }
                }
            }
        }
        Self::with(found)
    }

    /// The same contents on a disk with nothing wrong with it, as after space was made and the process started again.
    #[must_use]
    pub fn repaired(&self) -> Self {
        Self::with(self.0.platter.lock().shown.clone())
    }

    fn with(image: Vec<u8>) -> Self {
        let platter = Platter { synced: image.clone(), shown: image, ..Platter::default() };
        Self(Arc::new(Inner { platter: Mutex::new(platter), moved: Condvar::new() }))
    }

    fn step(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.0.platter.lock();
        if let Some(left) = &mut platter.power {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the power is gone"));
            }
        }
        Ok(platter)
    }
}

/// Syncs wait while this is there.
#[derive(Debug)]
pub struct SyncsHeld(Disk);

impl SyncsHeld {
    /// Blocks until a sync waits. False: none did within this time.
    #[must_use]
    pub fn has_one_within(&self, time: Duration) -> bool {
        let inner = &self.0.0;
        let mut platter = inner.platter.lock();
        while platter.waiting == 0 {
            if inner.moved.wait_for(&mut platter, time).timed_out() {
                return false;
            }
        }
        true
    }
}

impl Drop for SyncsHeld {
    fn drop(&mut self) {
        self.0.0.platter.lock().held = false;
        self.0.0.moved.notify_all();
    }
}

fn put(image: &mut Vec<u8>, at: usize, octets: &[u8]) {
    if octets.is_empty() {
        return;
    }
    if image.len() < at + octets.len() {
        image.resize(at + octets.len(), 0);
    }
    image[at..at + octets.len()].copy_from_slice(octets);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.platter.lock().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.platter.lock();
        let at = offset as usize;
        let found = platter.shown.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.step()?;
        platter.shown.resize(len as usize, 0);
        platter.unsynced.push(Step::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.step()?;
        if platter.held {
            platter.waiting += 1;
            self.0.moved.notify_all();
            while platter.held {
                self.0.moved.wait(&mut platter);
            }
            platter.waiting -= 1;
        }
        let steps = std::mem::take(&mut platter.unsynced);
        if platter.deaf {
            return Err(io::Error::other("the disk does not answer"));
        }
        platter.syncs += 1;
        for step in steps {
            match step {
                Step::Length(length) => platter.synced.resize(length, 0),
                Step::Write(at, octets) => put(&mut platter.synced, at, &octets),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.step()?;
        let fits = platter.room.map_or(data.len(), |room| data.len().min(room as usize));
        if let Some(room) = &mut platter.room {
            *room -= fits as u64;
        }
        let at = offset as usize;
        put(&mut platter.shown, at, &data[..fits]);
        platter.unsynced.push(Step::Write(at, data[..fits].to_vec()));
        if fits < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
