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
    /// Only those with a higher number; if there are none yet, the answer waits for a while.
    pub after: Option<u64>,
}

/// Told of what administrators did: everything but looking.
pub trait AdminWitness: Send + Sync + 'static {
    /// Somebody with the token made a request, which was answered with this status.
    fn acted(&self, by: portcullis_grant::Peer, method: &str, path: &str, status: u16);
}

/// On what terms a candidate is to decide in shadow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowTerms {
    /// About which share of the clients, such as `10%`. None: about all.
    pub share: Option<String>,
    /// Whether it may send requests.
    pub http: bool,
    /// The text of the component's detached signature.
    pub signature: Option<String>,
}

/// The kinds of entries in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Applications whose keys sign tokens.
    Apps,
    /// People with a password.
    Users,
    /// Devices.
    Devices,
    /// API keys.
    Keys,
    /// Keystone domains, which are FIWARE services.
    Domains,
    /// Keystone projects, which are Open IoT accounts and FIWARE service paths.
    Projects,
    /// Roles that users have somewhere.
    Roles,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Apps, Self::Users, Self::Devices, Self::Keys, Self::Domains, Self::Projects, Self::Roles];

    /// The segment of the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Users => "users",
            Self::Devices => "devices",
            Self::Keys => "keys",
            Self::Domains => "domains",
            Self::Projects => "projects",
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
    /// Begins to record a policy's logins: `seconds`, `share`, `with_secrets`.
    fn record_policy(&self, name: String, wanted: Map<String, Value>) -> BoxFuture<'_, AdminResult>;
    /// What was recorded since the last time.
    fn recording(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// Ends a recording.
    fn end_recording(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// Reads one policy again. `insist`: what its source has, whatever stands in for that.
    fn reload_policy(&self, name: String, insist: bool) -> BoxFuture<'_, AdminResult>;
    /// The versions of a policy that were live.
    fn versions(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// Puts the candidate that decides in shadow in place; with a digest, only if it is that one.
    fn promote(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult>;
    /// What came of the candidate in shadow so far.
    fn shadow(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// Has a candidate decide in shadow.
    fn begin_shadow(&self, name: String, component: Vec<u8>, terms: ShadowTerms) -> BoxFuture<'_, AdminResult>;
    /// Ends that, and answers what came of it.
    fn end_shadow(&self, name: String) -> BoxFuture<'_, AdminResult>;
    /// Goes back to a version, named by the beginning of its digest, or to the one that was live last.
    fn roll_back(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult>;
    /// Makes a new key of the gateway's own by this name; the old one verifies for another `overlap` seconds.
    fn rotate_key(&self, name: String, overlap: u64) -> BoxFuture<'_, AdminResult>;
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
    /// Changes the named members of an entry; answers it as it is then. What depends on it is looked at again at once.
    fn change(&self, kind: Kind, id: String, members: Map<String, Value>) -> BoxFuture<'_, AdminResult>;
    /// The whole directory as one document; `secrets`: with the hashes of passwords and keys.
    fn export(&self, secrets: bool) -> BoxFuture<'_, AdminResult>;
    /// Adds what such a document has and puts it in place of what has the same identifier; says how much it was.
    fn import(&self, document: Map<String, Value>) -> BoxFuture<'_, AdminResult>;
    /// Removes an entry, and ends what it let in.
    fn remove(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult>;
}
