//! The policy that lies on the desk: a file or a bundled one, compiled once however many worlds it is put into.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use parking_lot::Mutex;
use portcullis_grant::BoxFuture;
use portcullis_policy::{Compiler, InProcess, MachineCode};
use serde_json::{Map, Value};

use crate::builtin::{self, Builtin};
use crate::cli::{Exit, Failure};
use crate::config::Allow;

/// A component and what it may use when nobody says.
#[derive(Clone)]
pub(super) struct Subject {
    /// `builtin:NAME` or the path.
    pub(super) origin: String,
    /// Its octets.
    pub(super) component: Bytes,
    /// All that an entry without `allow` could give it.
    pub(super) allow: Allow,
    /// If the gateway carries it.
    builtin: Option<&'static Builtin>,
    /// Compiles it once.
    pub(super) compiler: Arc<Once>,
}

impl Subject {
    /// Reads what the command line names.
    pub(super) fn read(named: &str) -> Result<Self, Failure> {
        let (component, builtin) = match named.strip_prefix("builtin:") {
            Some(name) => {
                let found = builtin::find(name).ok_or_else(|| {
                    let names: Vec<_> = builtin::names().collect();
                    Failure::new(
                        format!("no policy {name:?} is built in; there are {}", names.join(", ")),
                        Exit::NotFound,
                    )
                })?;
                (Bytes::from_static(found.component), Some(found))
            }
            None => {
                let component = crate::files::read_bounded(named.as_ref()).map_err(|error| {
                    Failure::new(format!("{named} cannot be read: {}", crate::plain(&error)), Exit::Failure)
                })?;
                (component.into(), None)
            }
        };
        let allow = builtin.map(Builtin::most).unwrap_or_default();
        Ok(Self { origin: named.to_owned(), component, allow, builtin, compiler: Arc::default() })
    }
}

impl Subject {
    /// As an entry with this configuration and without `allow`.
    pub(super) fn allow_for(&self, config: &Map<String, Value>) -> Allow {
        self.builtin.map(|found| found.allow(config)).unwrap_or_default()
    }

    /// The interfaces that it imports and can do without.
    pub(super) fn optional(&self) -> &'static [&'static str] {
        self.builtin.map_or(&[], Builtin::optional)
    }

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
    fn compile(&self, component: Bytes, target: Option<&'static str>) -> BoxFuture<'_, Result<MachineCode, String>> {
        Box::pin(async move {
            if let Some((code, _)) = &*self.0.lock() {
                return Ok(MachineCode::from(code.as_slice()));
            }
            let begun = Instant::now();
            let code = InProcess.compile(component, target).await?;
            *self.0.lock() = Some((code.to_vec(), begun.elapsed()));
            Ok(code)
        })
    }
}
