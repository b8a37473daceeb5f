//! A broker to compare with: Debian's mosquitto, which keeps sessions in memory and saves them now and then.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use portcullis_tests::PATIENCE;
use tempfile::TempDir;

/// A running mosquitto.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Mosquitto {
    /// Starts it with `persistence true` and its default of saving every 1,800 seconds. None: it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        let config = directory.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 1024\nset_tcp_nodelay true\nuser root\n",
            address.port(),
            directory.path().display()
        );
        std::fs::write(&config, text).expect("its configuration");
        let program =
            ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|p| std::path::Path::new(p).exists())?;
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto can be run");
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > PATIENCE || child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let said = child.stderr.take().map(|err| BufReader::new(err).lines().map_while(Result::ok).collect());
                let said: Vec<String> = said.unwrap_or_default();
                panic!("mosquitto does not come up: {}", said.join("\n"));
            }
            std::thread::yield_now();
        }
        Some(Self { child, address, _directory: directory })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
