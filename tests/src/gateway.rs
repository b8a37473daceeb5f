//! The real binary, running: started with a configuration of its own, watched, and stopped at the end of the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use tempfile::TempDir;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::client::Dial;
use crate::config::{Config, authority};
use crate::link::{Route, Transport};
use crate::packets::Version;
use crate::{PATIENCE, binary, within};

/// A gateway that did not come up.
#[derive(Debug)]
pub struct Failure {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A running gateway. Dropping it kills the process; a panic inside it fails the test.
pub struct Gateway {
    directory: TempDir,
    child: Child,
    ready: HashMap<String, SocketAddr>,
    out: watch::Receiver<Text>,
    err: watch::Receiver<Text>,
}

/// What a stream of the process has said so far.
#[derive(Clone, Debug, Default)]
struct Text {
    said: String,
    ended: bool,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(config: &Config) -> Self {
        match Self::attempt(config).await {
            Ok(gateway) => gateway,
            Err(failure) => panic!("the gateway did not come up: {}\n{}{}", failure.status, failure.out, failure.err),
        }
    }

    /// Starts it, and gives either the running gateway or what it said before it ended.
    ///
    /// # Errors
    /// [`Failure`] when the process ends instead of getting ready.
    pub async fn attempt(config: &Config) -> Result<Self, Failure> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        config.write(directory.path());
        let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
        Self::spawn(directory, &serve).await
    }

    /// Starts it in a directory that may already have data in it.
    ///
    /// # Errors
    /// [`Failure`] when the process ends instead of getting ready.
    pub async fn spawn(directory: TempDir, arguments: &[&str]) -> Result<Self, Failure> {
        let (child, out, err) = launch(directory.path(), arguments);
        let mut gateway = Self { directory, child, ready: HashMap::new(), out, err };
        let said = within("the ready line", async {
            let ready = |text: &Text| text.ended || text.said.lines().any(|line| line.starts_with("ready "));
            // The sender lives as long as the thread that reads the stream; at its end `ended` is set.
            gateway.out.wait_for(ready).await.map(|text| text.said.clone()).unwrap_or_default()
        })
        .await;
        match said.lines().find_map(|line| line.strip_prefix("ready ")) {
            Some(line) => {
                gateway.ready = addresses(line);
                Ok(gateway)
            }
            None => {
                let status = gateway.exit().await;
                Err(Failure { status, out: said, err: gateway.log() })
            }
        }
    }

    /// The bound address of a listener, or of `admin`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.ready.get(listener).unwrap_or_else(|| panic!("{listener} is not among {:?}", self.ready))
    }

    /// Names and addresses of the `ready` line, Unix sockets left out.
    #[must_use]
    pub fn ready(&self) -> &HashMap<String, SocketAddr> {
        &self.ready
    }

    /// The way to the listener that is named like the transport.
    #[must_use]
    pub fn route(&self, transport: Transport) -> Route {
        self.route_to(transport.name(), transport)
    }

    /// The way to a Unix socket in the directory of the configuration.
    #[must_use]
    pub fn route_to_socket(&self, transport: Transport, socket: &str) -> Route {
        let mut route = Route::new(transport, SocketAddr::from(([127, 0, 0, 1], 0)), authority().pem());
        route.socket = Some(self.directory().join(socket));
        route
    }

    /// The way to a listener.
    #[must_use]
    pub fn route_to(&self, listener: &str, transport: Transport) -> Route {
        Route::new(transport, self.address(listener), authority().pem())
    }

    /// A client that is about to connect to the listener named like the transport.
    #[must_use]
    pub fn dial(&self, transport: Transport, version: Version, client_id: &str) -> Dial {
        Dial::new(self.route(transport), version, client_id)
    }

    /// A client that is about to connect to the listener `tcp`.
    #[must_use]
    pub fn tcp(&self, version: Version, client_id: &str) -> Dial {
        self.dial(Transport::Tcp, version, client_id)
    }

    /// The admin API, with the token that the gateway wrote for its commands.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn admin(&self) -> Admin {
        let file = std::fs::read(self.data().join("admin.json")).expect("admin.json in the data directory");
        let told: serde_json::Value = serde_json::from_slice(&file).expect("JSON in admin.json");
        Admin::new(self.address("admin")).bearer(told["token"].as_str().expect("a token in admin.json"))
    }

    /// The directory with the configuration, its files and, in `data`, the gateway's data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything on standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.out.borrow().said.clone()
    }

    /// Everything on standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.err.borrow().said.clone()
    }

    /// Waits until standard output holds this text, and gives all of it.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn said(&mut self, text: &str) -> String {
        let seen = |out: &Text| out.said.contains(text);
        let waited = tokio::time::timeout(PATIENCE, self.out.wait_for(seen)).await.is_ok_and(|wait| wait.is_ok());
        assert!(waited, "expected {text:?} on standard output, which has\n{}", self.output());
        self.output()
    }

    /// Waits until standard error, from octet `from` on, holds this text.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn logged(&mut self, from: usize, text: &str) {
        let seen = |log: &Text| log.said.get(from..).is_some_and(|new| new.contains(text));
        let waited = tokio::time::timeout(PATIENCE, self.err.wait_for(seen)).await.is_ok_and(|wait| wait.is_ok());
        assert!(waited, "expected {text:?} in the log, which has\n{}", &self.log()[from.min(self.log().len())..]);
    }

    /// Has it read its configuration again, and waits until it has. That a file has changed it may have noticed before:
    /// what it did about that is not waited for.
    ///
    /// # Panics
    /// When it does not take all of it.
    pub async fn reload(&mut self) {
        let from = self.log().len();
        self.signal(libc::SIGHUP);
        self.logged(from, "reloaded, because SIGHUP came").await;
    }

    /// Runs the binary with a command of the command line, in the gateway's directory.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        command(self.directory(), arguments).env("PORTCULLIS_DATA", "data").output().expect("the binary can be run")
    }

    /// Runs a command of the command line that must succeed, and gives its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "portcullis {arguments:?} failed: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// Sends a signal, such as [`libc::SIGHUP`].
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process identifier");
        // SAFETY: `kill` takes two integers and touches no memory; the child was not waited for yet, so that its
        // identifier is still its own.
        #[allow(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "the gateway can be sent a signal");
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.exit().await
    }

    /// Stops it and starts it again on the same configuration and data.
    ///
    /// # Panics
    /// When it does not stop cleanly or does not come up again.
    pub async fn restart(mut self) -> Self {
        let status = self.stop().await;
        assert!(status.success(), "the gateway did not stop cleanly: {status}\n{}", self.log());
        let directory = self.into_directory();
        let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
        Self::spawn(directory, &serve).await.unwrap_or_else(|failure| panic!("no restart: {failure:?}"))
    }

    /// Kills it in the middle of what it does, and starts it again on the same configuration and data.
    ///
    /// # Panics
    /// When it does not come up again.
    pub async fn kill_and_restart(mut self) -> Self {
        self.signal(libc::SIGKILL);
        self.exit().await;
        let directory = self.into_directory();
        let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
        Self::spawn(directory, &serve).await.unwrap_or_else(|failure| panic!("no restart: {failure:?}"))
    }

    /// Its directory, for another start. The process is killed if it still runs.
    ///
    /// # Panics
    /// When there is no room for another temporary directory.
    #[must_use]
    pub fn into_directory(mut self) -> TempDir {
        std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a temporary directory"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn exit(&mut self) -> ExitStatus {
        within("the end of the process", async {
            // Its streams end with it: no polling.
            let _ = self.out.wait_for(|text| text.ended).await;
            let _ = self.err.wait_for(|text| text.ended).await;
        })
        .await;
        self.child.wait().expect("the process can be waited for")
    }

    /// Forbids the process to write files beyond this many octets, as a quota does and much as a full disk. None: it may
    /// again.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn limit_files(&self, octets: Option<u64>) {
        let limit = libc::rlimit { rlim_cur: octets.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
        let pid = i32::try_from(self.child.id()).expect("a process identifier");
        // SAFETY: `limit` lives during the call, which reads it and writes nothing; the child was not waited for yet.
        #[allow(unsafe_code, reason = "the standard library sets no limits of other processes")]
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!(set, 0, "the gateway can be limited");
    }

    /// File descriptors that it has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process lives").count()
    }

    /// The value of a metric without labels.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.admin().get("/metrics").await.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{name} is not among the metrics:\n{text}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("{name} is {value}")) as u64
    }

    /// Waits until a metric without labels is what `is` takes.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn until_metric(&self, name: &str, is: impl Fn(u64) -> bool) -> u64 {
        within(&format!("the right value of {name}"), async {
            loop {
                let value = self.metric(name).await;
                if is(value) {
                    return value;
                }
                // The next question is the event: it takes its time.
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Waits until resident memory and open descriptors are at most so many, and gives both as they are then. What a
    /// gateway lets go, a displaced version first of all, it lets go when its last user has: a moment later.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn until_at_most(&self, octets: u64, descriptors: usize) -> (u64, usize) {
        let began = Instant::now();
        loop {
            let now = (self.memory().0, self.descriptors());
            if now.0 <= octets && now.1 <= descriptors {
                return now;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{now:?} octets and descriptors, where at most {octets} and {descriptors} are to be"
            );
            self.metric("portcullis_uptime_seconds").await;
        }
    }

    /// Resident memory in octets: now, and the most so far.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a field of /proc");
            line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("kilobytes") * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "the test has failed: this is its evidence")]
            {
                eprintln!("--- the gateway said ---\n{}{log}", self.output());
            }
        } else {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}

/// Gives a data directory the machine code that gateways on another one have compiled: with the key, since a gateway
/// believes only what it compiled itself. A link is as good as a copy: files of the cache are replaced, never written to.
///
/// # Panics
/// When it cannot be written.
pub fn share_code(from: &Path, to: &Path) {
    let code = Path::new("cache/policies");
    std::fs::create_dir_all(to.join(code)).expect("a folder can be made");
    let mut files: Vec<_> = std::fs::read_dir(from.join(code))
        .map(|entries| entries.flatten().map(|entry| code.join(entry.file_name())).collect())
        .unwrap_or_default();
    files.push("cache.key".into());
    for file in files {
        let (from, to) = (from.join(&file), to.join(&file));
        if from.is_file() && !to.is_file() {
            let linked = std::fs::hard_link(&from, &to).or_else(|_| std::fs::copy(&from, &to).map(drop));
            linked.expect("a file of the cache can be copied");
        }
    }
}

/// Runs the binary in a directory until it ends.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().expect("the binary can be run")
}

/// The binary with these arguments in this directory, its input closed.
#[must_use]
pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::portcullis());
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    // What the developer's own shell says must not reach the tests.
    for name in ["PORTCULLIS_CONFIG", "PORTCULLIS_DATA", "PORTCULLIS_ADMIN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn launch(directory: &Path, arguments: &[&str]) -> (Child, watch::Receiver<Text>, watch::Receiver<Text>) {
    let mut command = command(directory, arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary can be run");
    let out = follow(child.stdout.take().expect("a pipe"));
    let err = follow(child.stderr.take().expect("a pipe"));
    (child, out, err)
}

/// Reads a stream to its end on a thread of its own, so that the process never waits for the test.
fn follow(stream: impl Read + Send + 'static) -> watch::Receiver<Text> {
    let (sender, receiver) = watch::channel(Text::default());
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            sender.send_modify(|text| text.said.push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        sender.send_modify(|text| text.ended = true);
    });
    receiver
}

fn addresses(line: &str) -> HashMap<String, SocketAddr> {
    line.split_whitespace()
        .filter_map(|pair| {
            let (name, address) = pair.split_once('=').expect("name=address in the ready line");
            if address.starts_with("unix:") {
                return None;
            }
            Some((name.to_owned(), address.parse().unwrap_or_else(|_| panic!("{address} is not an address"))))
        })
        .collect()
}
