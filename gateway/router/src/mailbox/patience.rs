//! Publishers who wait for a receiver that does not keep up, and for how long.
//!
//! A receiver is *full* from the moment that more waits for it than its high-water mark until half of that is gone. While
//! it is, its publishers wait; whoever has waited long enough gives it up, and then nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Mailbox;
use super::inner::Inner;
use super::link::Wake;
use crate::waiting::SHARE;

/// A receiver that is full, as a publisher found it.
#[derive(Debug)]
pub struct Full {
    mailbox: Arc<Mailbox>,
    /// The spell of being full in which it was found.
    spell: u32,
}

impl Full {
    /// The receiver's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.mailbox.number
    }

    /// True if its publisher must wait; `waiter` is then resumed when there is room.
    pub fn wait(&self, waiter: &Arc<dyn Wake>) -> bool {
        let mut g = self.mailbox.inner.lock();
        let gone = g.stalled || g.link.is_none() || g.closed || g.broken;
        if gone || g.backlog() <= self.mailbox.water() {
            return false;
        }
        g.seldom.get_or_insert_default().waiters.push(Arc::clone(waiter));
        true
    }

    /// For a publisher who has waited long enough: nobody waits for this receiver any more until it has caught up; its
    /// QoS 0 messages are dropped meanwhile. One that has had room since it was found is no such receiver, though others
    /// may have filled it again.
    pub fn give_up(&self) {
        let mut g = self.mailbox.inner.lock();
        if self.mailbox.spells.load(Ordering::Relaxed) != self.spell {
            return;
        }
        // It may have caught up just before its time was over; then nothing would ever end the stall again.
        g.stalled = g.backlog() > self.mailbox.water() / 2;
        self.mailbox.end_spell();
        let waiters = g.take_waiters();
        drop(g);
        resume_all(waiters);
    }
}

impl Mailbox {
    /// For a publisher that is about to send more: whether this receiver is full. A hint, for the price of a load.
    #[must_use]
    pub fn full(self: &Arc<Self>) -> Option<Full> {
        let spell = self.spells.load(Ordering::Relaxed);
        (spell % 2 == 1).then(|| Full { mailbox: Arc::clone(self), spell })
    }

    /// Octets above which publishers wait.
    pub(super) fn water(&self) -> usize {
        let high_water = self.limits.get().high_water;
        if self.waiting.is_full() { high_water.min(SHARE) } else { high_water }
    }

    /// It is full, if it was not. Called under the lock, as is [`Self::end_spell`].
    pub(super) fn begin_spell(self: &Arc<Self>) -> Full {
        let spell = self.spells.load(Ordering::Relaxed) | 1;
        self.spells.store(spell, Ordering::Relaxed);
        Full { mailbox: Arc::clone(self), spell }
    }

    pub(super) fn end_spell(&self) {
        let spell = self.spells.load(Ordering::Relaxed);
        self.spells.store(spell.wrapping_add(spell % 2), Ordering::Relaxed);
    }

    /// Whoever waited for this receiver, if they need not any longer.
    pub(super) fn release(&self, g: &mut Inner) -> Vec<Arc<dyn Wake>> {
        let full = self.spells.load(Ordering::Relaxed) % 2 == 1;
        if (!g.is_waited_for() && !g.stalled && !full) || g.backlog() > self.water() / 2 {
            return Vec::new();
        }
        g.stalled = false;
        self.end_spell();
        g.take_waiters()
    }
}

pub(super) fn resume_all(waiters: Vec<Arc<dyn Wake>>) {
    for waiter in waiters {
        waiter.resume();
    }
}
