//! What happens later to sessions without a connection: delayed wills, expiry.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::registry::Entry;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Publish the will that waits (MQTT 5 §3.1.3.2.2).
    Will,
    /// End the session.
    Expiry,
}

/// Names an appointment, to cancel it.
pub(crate) type Appointment = (u64, u64);

/// Ordered by time. A session that comes back cancels its appointments, so that clients which come and go do not leave
/// a trail here.
#[derive(Default)]
pub(crate) struct Deferred {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    by_time: BTreeMap<Appointment, (Arc<Entry>, u32, Due)>,
    next: u64,
}

impl Deferred {
    /// Has `what` happen to the session at `at` ([`portcullis_router::now_ms`]), if its generation is still the same.
    pub(crate) fn schedule(&self, at: u64, entry: &Arc<Entry>, generation: u32, what: Due) -> Appointment {
        let mut queue = self.queue.lock();
        queue.next += 1;
        let appointment = (at, queue.next);
        queue.by_time.insert(appointment, (Arc::clone(entry), generation, what));
        appointment
    }

    pub(crate) fn cancel(&self, appointment: Appointment) {
        let cancelled = self.queue.lock().by_time.remove(&appointment);
        // The entry may be the last reference to a session: not under the lock.
        drop(cancelled);
    }

    /// Appointments that are not due yet.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().by_time.len()
    }

    /// Takes the next thing that is due.
    pub(crate) fn pop(&self, now: u64) -> Option<(Arc<Entry>, u32, Due)> {
        let mut queue = self.queue.lock();
        let first = queue.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
