//! The policy that lies on the desk: a file or a bundled one, compiled once however many worlds it is put into.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use parking_lot::Mutex;
use portcullis_grant::BoxFuture;
use portcullis_policy::{Compiler, InProcess};

use crate::builtin;
use crate::cli::{Exit, Failure};
use crate::config::Allow;

/// A component and what it may use when nobody says.
#[derive(Clone)]
pub(super) struct Subject {
    /// `builtin:NAME` or the path.
    pub(super) origin: String,
    /// Its octets.
    pub(super) component: Bytes,
    /// As an entry without `allow`.
    pub(super) allow: Allow,
    /// Compiles it once.
    pub(super) compiler: Arc<Once>,
}

impl Subject {
    /// Reads what the command line names.
    pub(super) fn read(named: &str) -> Result<Self, Failure> {
        let (component, allow) = match named.strip_prefix("builtin:") {
            Some(name) => {
                let found = builtin::find(name).ok_or_else(|| {
                    let names: Vec<_> = builtin::names().collect();
                    Failure::new(
                        format!("no policy {name:?} is built in; there are {}", names.join(", ")),
                        Exit::NotFound,
                    )
                })?;
                (Bytes::from_static(found.component), found.allow())
            }
            None => {
                let component = std::fs::read(named).map_err(|error| {
                    Failure::new(format!("{named} cannot be read: {}", crate::plain(&error)), Exit::Failure)
                })?;
                (component.into(), Allow::default())
            }
        };
        Ok(Self { origin: named.to_owned(), component, allow, compiler: Arc::default() })
    }
}

impl Subject {
    /// Whether the gateway carries it.
    pub(super) fn is_bundled(&self) -> bool {
        self.origin.starts_with("builtin:")
    }
}

/// A compiler that remembers the one component that it compiles.
#[derive(Default)]
pub(super) struct Once(Mutex<Option<(Vec<u8>, Duration)>>);

impl Once {
    /// Octets of the machine code. 0: it has not compiled yet.
    pub(super) fn octets(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |(code, _)| code.len())
    }

    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.0.lock().as_ref().map_or(Duration::ZERO, |(_, took)| *took)
    }
}

impl Compiler for Once {
    fn compile(&self, component: Bytes) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            if let Some((code, _)) = &*self.0.lock() {
                return Ok(code.clone());
            }
            let begun = Instant::now();
            let code = InProcess.compile(component).await?;
            *self.0.lock() = Some((code.clone(), begun.elapsed()));
            Ok(code)
        })
    }
}
