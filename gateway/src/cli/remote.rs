//! The admin API of the gateway that runs on a data directory, as a command sees it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub(super) use crate::percent::encoded;
use crate::runtime_file::RuntimeFile;

/// How long a command waits for an answer. Loading a policy of a scripting language takes ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a gateway on this machine may take to accept a connection.
const PROBE: Duration = Duration::from_secs(5);
/// Octets of the longest answer that is read.
const LONGEST: usize = 16 << 20;

/// A running gateway.
#[derive(Clone)]
pub(super) struct Remote {
    data: PathBuf,
    runtime: RuntimeFile,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The file that says where it is cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Nobody answers at its address.
    #[error("no gateway runs on {}; start one with `portcullis serve`, or name its data directory with --data", .0.display())]
    NotRunning(PathBuf),
    /// The answer broke off or is no HTTP.
    #[error("the gateway did not answer: {0}")]
    Broken(String),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The gateway says no.
    #[error("{0}")]
    Refused(String),
}

impl Remote {
    /// The one that was started last on this directory. None: there is none, or it has no admin API.
    pub(super) fn find(data: &Path) -> Result<Option<Self>, RemoteError> {
        let unreadable = |error: std::io::Error| RemoteError::Unreadable {
            path: data.join("admin.json"),
            why: crate::plain(&error),
        };
        Ok(RuntimeFile::read(data).map_err(unreadable)?.map(|runtime| Self { data: data.to_owned(), runtime }))
    }

    /// The one that must be there.
    pub(super) fn require(data: &Path) -> Result<Self, RemoteError> {
        Self::find(data)?.ok_or_else(|| RemoteError::NotRunning(data.to_owned()))
    }

    /// Whether somebody listens at its address. After a crash nobody does.
    pub(super) fn is_there(&self) -> bool {
        std::net::TcpStream::connect_timeout(&self.runtime.address, PROBE).is_ok()
    }

    /// Asks, and waits for the answer of a gateway that must be there.
    pub(super) fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, RemoteError> {
        self.ask(method, path, body)?.ok_or_else(|| RemoteError::NotRunning(self.data.clone()))
    }

    /// Sends a component, and waits for the answer of a gateway that must be there.
    pub(super) fn upload(&self, path: &str, component: Vec<u8>) -> Result<Value, RemoteError> {
        let answer = self.send(Method::PUT, path, "application/wasm", component.into())?;
        answer.ok_or_else(|| RemoteError::NotRunning(self.data.clone()))
    }

    /// Asks, and waits for the answer. None: nobody listens at the address, as after a crash.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, RemoteError> {
        let body = Bytes::from(body.map(Value::to_string).unwrap_or_default());
        self.send(method, path, "application/json", body)
    }

    fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Option<Value>, RemoteError> {
        let broken = |error: &dyn std::fmt::Display| RemoteError::Broken(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| broken(&e))?;
        runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, self.exchange(method, path, kind, body)).await {
                Ok(answer) => answer,
                Err(_) => Err(RemoteError::Broken(format!("nothing came within {} seconds", PATIENCE.as_secs()))),
            }
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Option<Value>, RemoteError> {
        let broken = |error: &dyn std::fmt::Display| RemoteError::Broken(error.to_string());
        let Ok(stream) = tokio::net::TcpStream::connect(self.runtime.address).await else { return Ok(None) };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // It ends with the runtime of this one question.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.runtime.address.to_string())
            .header("authorization", format!("Bearer {}", self.runtime.token))
            .header("content-type", kind)
            .body(Full::new(body))
            .map_err(|e| broken(&e))?;
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|e| broken(&e))?.to_bytes();
        let value: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).trim()))
        };
        if status.is_success() {
            return Ok(Some(value));
        }
        let said =
            value.get("error").and_then(|error| error.get("message").unwrap_or(error).as_str()).map(str::to_owned);
        let said = said
            .or_else(|| value.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("the gateway answered {status}"));
        Err(if status == StatusCode::NOT_FOUND { RemoteError::NotFound(said) } else { RemoteError::Refused(said) })
    }
}
