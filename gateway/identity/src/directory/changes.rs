//! Who wants to hear of changes: those who hold live connections, and the audit.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It has other contents, or was enabled.
    Updated,
    /// It was disabled.
    Disabled,
    /// It is gone: deleted or revoked.
    Deleted,
}

/// A change: whoever depends on one of the names is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened to the entry that is named first.
    pub kind: ChangeKind,
    /// In the words of the contract's `depends-on`: `user:<id>`, `consumer:<id>`, `device:<id>`, `app:<id>`,
    /// `key:<id>`, `token:<id>`, `domain:<id>`, `project:<id>`. First the entry itself, then what stands or falls with
    /// it: its keys; of an app also its devices; of a device also its owner, who may reach it.
    pub dependencies: Vec<String>,
}

thread_local! {
    static ACTOR: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Does something in somebody's name: listeners, which are told on the thread that makes a change, can ask whose it is.
pub fn acting<T>(by: &str, work: impl FnOnce() -> T) -> T {
    let before = ACTOR.replace(Some(by.into()));
    let done = work();
    ACTOR.set(before);
    done
}

/// In whose name this thread changes the directory. None: the gateway's own.
#[must_use]
pub fn actor() -> Option<Arc<str>> {
    ACTOR.with_borrow(Clone::clone)
}

type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

#[derive(Default)]
pub(super) struct Listeners {
    next: AtomicU64,
    all: RwLock<Vec<(u64, Listener)>>,
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listeners({})", self.all.read().len())
    }
}

impl Listeners {
    pub(super) fn add(self: &Arc<Self>, listener: Listener) -> Subscription {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.write().push((id, listener));
        Subscription { id, listeners: Arc::clone(self) }
    }

    pub(super) fn tell(&self, change: &Change) {
        // Called outside the lock, so that a listener may drop its subscription.
        let all: Vec<Listener> = self.all.read().iter().map(|(_, listener)| Arc::clone(listener)).collect();
        all.iter().for_each(|listener| listener(change));
    }
}

/// Keeps a listener registered until it is dropped.
#[must_use = "the listener is unregistered when this is dropped"]
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    listeners: Arc<Listeners>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.listeners.all.write().retain(|(id, _)| *id != self.id);
    }
}
