//! Who goes first on a machine whose processors broker and generator share.
//!
//! Clients have machines of their own. Here they have not, and a light client that waits for a processor measures the
//! scheduler. So the thread that keeps a rate is served before all others, as often as it needs a moment; and the one
//! that publishes as fast as it can gives way to the broker, which is then never kept from its work by those who make it.

use rustix::process::nice;

/// How much more polite than the broker a thread is that takes what is left.
const LAST: i32 = 10;

/// This thread is served at once whenever it has something to do. False: the system does not permit it, and figures have
/// the scheduler's delays in them.
pub(crate) fn first() -> bool {
    let wanted = libc::sched_param { sched_priority: 1 };
    // Programs that it starts are served as all others are.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `wanted` lives during the call, which reads it; 0 is the calling thread.
    #[allow(unsafe_code, reason = "no crate that is here sets the class of a thread")]
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const wanted) };
    done == 0
}

/// This thread gives way.
pub(crate) fn last() {
    // Linux keeps politeness for each thread. To be more polite is always permitted.
    let _ = nice(LAST);
}

/// Whether [`first`] is permitted.
pub(crate) fn may_go_first() -> bool {
    std::thread::spawn(first).join().unwrap_or(false)
}
