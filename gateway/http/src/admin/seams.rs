//! What the admin interface is given to show and to change. The binary implements it.

use hyper::StatusCode;
use portcullis_grant::BoxFuture;
use serde_json::{Map, Value};
use thiserror::Error;

/// A JSON document, or why there is none.
pub type AdminResult = Result<Value, AdminError>;

/// Why an admin request fails. The text is for the administrator: what is wrong, and the mend.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AdminError {
    /// What was named is not there: 404.
    #[error("{0}")]
    NotFound(String),
    /// The interface itself is not there in this gateway: 404.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The request makes no sense: 400.
    #[error("{0}")]
    Invalid(String),
    /// It contradicts what is there: 409.
    #[error("{0}")]
    Conflict(String),
    /// It was tried and did not succeed, such as a policy that does not compile; nothing has changed: 422.
    #[error("{0}")]
    Refused(String),
    /// Not now: 503.
    #[error("{0}")]
    Unavailable(String),
    /// The gateway's own failure: 500.
    #[error("{0}")]
    Failed(String),
}

impl AdminError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries at most: 1 to 1,000, 100 unless asked for.
    pub limit: usize,
    /// Begin after the entry with this name: the `next` of the page before.
    pub after: Option<String>,
}

/// Which decisions are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionQuery {
    /// Of this client identifier. None: of all.
    pub client: Option<String>,
    /// The latest so many: 1 to 1,000, 100 unless asked for.
    pub limit: usize,
}

/// The kinds of entries in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Applications whose keys sign tokens.
    Apps,
    /// Consumers of applications, by `sub`.
    Consumers,
    /// People with a password.
    Users,
    /// Domains (Keystone), which are FIWARE's services.
    Domains,
    /// Projects (Keystone), accounts (Open IoT), service paths (FIWARE).
    Projects,
    /// Devices.
    Devices,
    /// API keys.
    Keys,
    /// Which user has which role where.
    Roles,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Apps,
        Self::Consumers,
        Self::Users,
        Self::Domains,
        Self::Projects,
        Self::Devices,
        Self::Keys,
        Self::Roles,
    ];

    /// The segment of the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Consumers => "consumers",
            Self::Users => "users",
            Self::Domains => "domains",
            Self::Projects => "projects",
            Self::Devices => "devices",
            Self::Keys => "keys",
            Self::Roles => "roles",
        }
    }
}

/// The running gateway, as an administrator sees it. Lists answer `{"items": […], "next": name or null}`.
pub trait Administration: Send + Sync + 'static {
    /// Version, uptime, listeners, figures.
    fn status(&self) -> BoxFuture<'_, AdminResult>;
    /// Reads configuration, certificates and policies again; says what changed.
    fn reload(&self) -> BoxFuture<'_, AdminResult>;
    /// The policies with their digests and state.
    fn policies(&self) -> BoxFuture<'_, AdminResult>;
    /// Reads one policy again.
    fn reload_policy(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// A page of connections, by client identifier.
    fn connections(&self, page: Page) -> BoxFuture<'_, AdminResult>;
    /// Disconnects a client.
    fn disconnect(&self, client: String) -> BoxFuture<'_, AdminResult>;
    /// The latest decisions, the newest first.
    fn decisions(&self, query: DecisionQuery) -> BoxFuture<'_, AdminResult>;
}

/// The directory, as an administrator sees it. Secrets are shown once, when they are made.
pub trait DirectoryAdmin: Send + Sync + 'static {
    /// A page of entries, by identifier.
    fn list(&self, kind: Kind, page: Page) -> BoxFuture<'_, AdminResult>;
    /// One entry.
    fn get(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult>;
    /// Adds an entry; answers it with its identifier, and with its secret if one was made.
    fn add(&self, kind: Kind, entry: Map<String, Value>) -> BoxFuture<'_, AdminResult>;
    /// Removes an entry, and ends what it let in.
    fn remove(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult>;
}
