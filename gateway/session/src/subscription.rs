//! What the router is given for a subscription of a session.

use std::sync::Arc;

use portcullis_grant::Grant;
use portcullis_mqtt::{QoS, SharedFilter};
use portcullis_router::{DeliveryCheck, Mailbox, Subscription};

use crate::state::Held;

/// Share name and filter of a subscription that was validated when it was made.
pub(crate) fn split_share(filter: &str) -> (Option<&str>, &str) {
    match SharedFilter::parse(filter) {
        Ok(Some(shared)) => (Some(shared.share), shared.filter),
        _ => (None, filter),
    }
}

/// A grant as the router asks it about deliveries.
struct Receives(Arc<Grant>);

impl DeliveryCheck for Receives {
    fn may_receive(&self, topic: &str) -> bool {
        self.0.may_receive(topic)
    }
}

/// What the router is given for a subscription. `filtered`: the grant denies some of what the filter matches.
pub(crate) fn subscription(
    mailbox: &Arc<Mailbox>,
    held: &Held,
    granted: QoS,
    filtered: bool,
    grant: &Arc<Grant>,
) -> Subscription {
    Subscription {
        mailbox: Arc::clone(mailbox),
        qos: held.requested.min(granted),
        no_local: held.no_local,
        retain_as_published: held.retain_as_published,
        id: held.id,
        check: filtered.then(|| Arc::new(Receives(Arc::clone(grant))) as Arc<dyn DeliveryCheck>),
    }
}
