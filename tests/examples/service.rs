//! The plant's badge service, a process of its own: `examples/badge-service.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis_tests::binary::root;
use portcullis_tests::{PATIENCE, address};

/// The running service; dropping it ends it.
pub(crate) struct BadgeService {
    child: Child,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl BadgeService {
    pub(crate) fn start() -> Self {
        let (address, requests) = (address::own(), Arc::default());
        Self { child: launch(address, &requests), address, requests }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How often it was asked for a badge until now.
    pub(crate) fn asked(&self, number: &str) -> usize {
        self.catch_up();
        self.count(&format!("/badges/{number} "))
    }

    fn count(&self, path: &str) -> usize {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|line| line.starts_with(path)).count()
    }

    /// Waits for all lines about requests that were answered: those before the line of one more.
    fn catch_up(&self) {
        let mark = format!("/mark/{} ", self.count("/mark/"));
        let mut stream = TcpStream::connect(self.address).expect("the service is there");
        write!(stream, "GET {mark}HTTP/1.1\r\nHost: plant\r\nConnection: close\r\n\r\n").expect("it takes a request");
        stream.read_to_end(&mut Vec::new()).expect("an answer");
        let begun = Instant::now();
        while self.count(&mark) == 0 {
            assert!(begun.elapsed() < PATIENCE, "the service does not say what it was asked");
            std::thread::yield_now();
        }
    }

    /// Ends it: nobody listens any more.
    pub(crate) fn go_away(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, where it was.
    pub(crate) fn come_back(&mut self) {
        self.child = launch(self.address, &self.requests);
    }
}

impl Drop for BadgeService {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn launch(address: SocketAddr, requests: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut child = Command::new("python3")
        .arg(root().join("examples/badge-service.py"))
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
        .arg(root().join("examples/badges.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 can be run");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().expect("the service says where it listens").unwrap();
    assert!(first.contains(&address.to_string()), "the service said {first:?}");
    let requests = Arc::clone(requests);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    child
}
