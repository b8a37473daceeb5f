//! Who is told what happens to clients.

use portcullis_grant::{Account, ConnectionFacts, FilterRefusal, Grant, Refusal};

use crate::machine::End;

/// Told of what happens to clients: audit, `portcullis why`, logs. Called on the connections' threads: be quick.
pub trait Observer: Send + Sync + 'static {
    /// A client was let in; how that was decided.
    fn admitted(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant, account: Account);
    /// A login was refused.
    fn refused(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>, refusal: &Refusal);
    /// A publication, subscription or will was refused. `what` is `publish`, `subscribe`, `receive` or `will`.
    fn action_refused(
        &self,
        connection: &ConnectionFacts,
        client_id: &str,
        grant: &Grant,
        what: &'static str,
        topic: &str,
    );
    /// A filter refused a message, or failed. `what` is `publish` or `will`.
    fn message_refused(
        &self,
        connection: &ConnectionFacts,
        client_id: &str,
        grant: &Grant,
        what: &'static str,
        topic: &str,
        refusal: &FilterRefusal,
    );
    /// A connection that had been let in ended.
    fn ended(&self, connection: &ConnectionFacts, client_id: &str, end: &End);
}

/// An observer that does nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn admitted(&self, _: &ConnectionFacts, _: &str, _: &Grant, _: Account) {}
    fn refused(&self, _: &ConnectionFacts, _: &str, _: Option<&str>, _: &Refusal) {}
    fn action_refused(&self, _: &ConnectionFacts, _: &str, _: &Grant, _: &str, _: &str) {}
    fn message_refused(&self, _: &ConnectionFacts, _: &str, _: &Grant, _: &str, _: &str, _: &FilterRefusal) {}
    fn ended(&self, _: &ConnectionFacts, _: &str, _: &End) {}
}
