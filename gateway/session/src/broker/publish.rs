//! What is published by nobody's connection, and what is retained.

use std::sync::Arc;

use portcullis_router::{Holder, Message, Published};

use super::Broker;
use crate::durable::encode_retained;
use crate::registry::{Owner, Will};
use crate::scratch::Scratch;

impl Broker {
    /// Publishes a message that no MQTT client sent. The caller settles the batch.
    pub fn publish(&self, message: &Arc<Message>, s: &mut Scratch) -> Published {
        self.publish_for(None, message, s)
    }

    fn publish_for(&self, holder: Option<&Holder>, message: &Arc<Message>, s: &mut Scratch) -> Published {
        let published = self.router.publish_message(message, holder, &mut s.batch);
        if published.retained {
            self.store_retained(message, holder, &mut s.journal);
        }
        published
    }

    /// As [`Self::publish`], without a trace on disk: what begins anew with the gateway.
    pub(crate) fn publish_volatile(&self, message: &Arc<Message>, s: &mut Scratch) {
        self.router.publish_message(message, None, &mut s.batch);
    }

    /// Has the store keep, or forget, what was just retained.
    pub(crate) fn store_retained(
        &self,
        message: &Message,
        holder: Option<&Holder>,
        journal: &mut portcullis_store::Batch,
    ) {
        if self.durable.is_none() {
            return;
        }
        if message.payload().is_empty() {
            journal.delete_retained(message.topic());
        } else {
            journal.put_retained(message.topic(), encode_retained(message, holder.map(|holder| &*holder.name)));
        }
    }

    pub(super) fn publish_will(&self, owner: &Owner, will: &Will, s: &mut Scratch) {
        let holder = Holder { name: owner.name(), limits: will.limits };
        self.publish_for(Some(&holder), &Arc::new(will.message.begin()), s);
    }

    /// What is retained for `filter`, in the order of the topics, after the one named `after`, at most `most` of those
    /// that `keep` wants. A filter without wildcards finds one message or none.
    #[must_use]
    pub fn retained_for(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
        keep: impl Fn(&str) -> bool,
    ) -> Vec<Arc<Message>> {
        let retained = &self.router.retained;
        let mut found = if filter.contains(['+', '#']) {
            retained.matching(filter)
        } else {
            retained.get(filter).into_iter().collect()
        };
        found.retain(|message| after.is_none_or(|after| message.topic() > after) && keep(message.topic()));
        if found.len() > most {
            found.select_nth_unstable_by(most, |a, b| a.topic().cmp(b.topic()));
            found.truncate(most);
        }
        found.sort_unstable_by(|a, b| a.topic().cmp(b.topic()));
        found
    }
}
