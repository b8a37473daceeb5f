//! One call into a policy: what is asked, what may come back, and how it can fail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::{PeerDetails, Sources};

use crate::bindings::exports::portcullis::policy::{
    authorization, descriptor, enhanced_authentication, message_filter, renewal,
};
use crate::bindings::portcullis::policy::types::{
    Connection, Credentials, HttpRequest, HttpResponse, Identity, Verdict,
};
use crate::state::{DeadlinePassed, State};
use crate::tape::Tape;
use crate::trap::{self, Late};

/// What a policy is asked.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    Describe,
    SelfTest,
    Authenticate(&'a Connection, &'a Credentials),
    Continue(&'a Connection, &'a enhanced_authentication::Reply),
    Renew(&'a Connection, &'a [u8]),
    Authorize(&'a Identity, &'a [u8], &'a authorization::Action),
    Handle(&'a Connection, &'a HttpRequest),
    Filter(&'a message_filter::Publisher, &'a message_filter::Message),
}

/// What it answered.
pub(crate) enum Answer {
    Description(descriptor::Description),
    SelfTest(Result<(), String>),
    Verdict(Verdict),
    Renewal(renewal::Decision),
    Authorization(authorization::Decision),
    Http(HttpResponse),
    Filtered(message_filter::Outcome),
}

/// Whose call it is, for the host interfaces.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    pub(crate) details: Option<Arc<PeerDetails>>,
    pub(crate) address: Option<IpAddr>,
    /// What the host is to note, or to say.
    pub(crate) tape: Option<Arc<Tape>>,
    /// Where they note how new it was what they answered.
    pub(crate) sources: Sources,
}

/// Why there is no answer. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Too many calls run or wait.
    #[error("all of its instances are busy and enough calls wait")]
    Busy,
    /// It did not answer in time.
    #[error("{0}")]
    Deadline(Late),
    /// It stopped on an error of its own.
    #[error("it trapped: {0}")]
    Trap(String),
    /// No instance could be made.
    #[error("no instance of it could be started: {0}")]
    Start(String),
    /// It trapped too often and is left alone for a while.
    #[error("it keeps failing and is left alone for another {} ms; its last error: {last}", .rest.as_millis())]
    Quarantined {
        /// Until it is tried again.
        rest: Duration,
        /// What went wrong before.
        last: String,
    },
    /// It does not export what would be needed.
    #[error("it does not export `{0}`")]
    NoSuchExport(&'static str),
    /// Its answer breaks the contract.
    #[error("its answer breaks the contract: {0}")]
    Void(String),
}

impl CallError {
    /// Whether the policy itself is to blame, so that too many of them put it into quarantine.
    pub(crate) fn blames_policy(&self) -> bool {
        matches!(self, Self::Deadline(_) | Self::Trap(_) | Self::Void(_))
    }

    /// Reads what wasmtime reports.
    pub(crate) fn of(error: &wasmtime::Error, deadline: Duration, state: &State) -> Self {
        if error.downcast_ref::<DeadlinePassed>().is_some() {
            return Self::Deadline(state.notes.late(deadline));
        }
        Self::Trap(trap::words(error, &state.notes, state.memory.limit()))
    }
}
