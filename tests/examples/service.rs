//! The plant's badge service, a process of its own: `examples/badge-service.py`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_tests::binary::root;

/// The running service; dropping it ends it.
pub(crate) struct BadgeService {
    child: Child,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl BadgeService {
    pub(crate) fn start() -> Self {
        let requests = Arc::default();
        let (child, port) = launch(0, &requests);
        Self { child, port, requests }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How often it was asked for a badge.
    pub(crate) fn asked(&self, number: &str) -> usize {
        let path = format!("/badges/{number} ");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|line| line.starts_with(&path)).count()
    }

    /// Ends it: nobody listens any more.
    pub(crate) fn go_away(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, where it was.
    pub(crate) fn come_back(&mut self) {
        (self.child, self.port) = launch(self.port, &self.requests);
    }
}

impl Drop for BadgeService {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn launch(port: u16, requests: &Arc<Mutex<Vec<String>>>) -> (Child, u16) {
    let mut child = Command::new("python3")
        .arg(root().join("examples/badge-service.py"))
        .args(["--port", &port.to_string()])
        .arg(root().join("examples/badges.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 can be run");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().expect("the service says where it listens").unwrap();
    let port = first.strip_suffix("/badges/").and_then(|url| url.rsplit(':').next()?.parse().ok());
    let port = port.unwrap_or_else(|| panic!("the service said {first:?}"));
    let requests = Arc::clone(requests);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (child, port)
}
