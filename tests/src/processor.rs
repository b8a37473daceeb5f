//! What a process has used of the processors.

use std::time::Duration;

/// The time of a processor that all threads of a process have had, those included that have ended.
///
/// This is the process's own clock: exact to the nanosecond, where `/proc/<pid>/stat` counts ticks of ten milliseconds, and
/// `schedstat` forgets threads that are gone.
///
/// # Panics
/// When the process is gone.
#[must_use]
pub fn time(pid: u32) -> Duration {
    let pid = libc::pid_t::try_from(pid).expect("a process identifier");
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both functions write one value of their own type to a place that lives during the call.
    #[allow(unsafe_code, reason = "the standard library knows no clocks of other processes")]
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    assert!(read, "the process is gone");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
