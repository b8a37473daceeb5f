//! How far it is: a bar on a terminal, a line for each step elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

const WIDTH: usize = 30;

pub(crate) struct Progress {
    total: usize,
    done: usize,
    begun: Instant,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: 0, begun: Instant::now(), terminal: stderr().is_terminal() }
    }

    /// A step begins.
    pub(crate) fn step(&mut self, what: &str) {
        let filled = WIDTH * self.done / self.total.max(1);
        let left = match self.done {
            0 => String::new(),
            done => {
                let seconds = self.begun.elapsed().as_secs_f64() * (self.total - done) as f64 / done as f64;
                format!(", {:.0} min left", (seconds / 60.0).ceil())
            }
        };
        let bar = format!("[{}{}]", "█".repeat(filled), "·".repeat(WIDTH - filled));
        // Nobody is stopped by a terminal that is gone.
        let _ = if self.terminal {
            write!(stderr(), "\r\x1b[2K{bar} {}/{} {what}{left}", self.done, self.total)
        } else {
            writeln!(stderr(), "{}/{} {what}", self.done + 1, self.total)
        };
        let _ = stderr().flush();
        self.done += 1;
    }

    /// Says something that stays.
    pub(crate) fn say(&self, what: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        let _ = writeln!(stderr(), "{clear}{what}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}
