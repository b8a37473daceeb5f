//! Retained messages: the last one of each topic (MQTT 5 §3.3.1.3), found by filter when somebody subscribes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::message::Message;
use crate::now_ms;

/// Bounds on what is retained.
#[derive(Clone, Copy, Debug)]
pub struct RetainedLimits {
    /// Topics with a retained message.
    pub messages: usize,
    /// Octets of topics, properties and payloads.
    pub bytes: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { messages: 100_000, bytes: 256 * 1024 * 1024 }
    }
}

/// Levels of the deepest topic that is kept. The tree is walked, and freed, by recursion: a topic of 65,535 separators
/// would overflow the stack of whoever does it.
const DEEPEST: usize = 1024;

/// Why a message was not retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetainedError {
    /// Its topic has more than 1,024 levels.
    #[error("the topic has more levels than retained messages may have")]
    TooDeep,
    /// A bound of [`RetainedLimits`] is reached.
    #[error("the store of retained messages is full")]
    Full,
}

type Levels = HashMap<Box<str>, Node, foldhash::quality::RandomState>;

#[derive(Default)]
struct Node {
    children: Option<Box<Levels>>,
    message: Option<Arc<Message>>,
}

#[derive(Default)]
struct Tree {
    root: Node,
    count: usize,
    bytes: usize,
    /// Those that expire, the first to do so first.
    expiring: BTreeMap<Deadline, Arc<Message>>,
}

/// When a message expires, and which it is: the place of what is kept is its own.
type Deadline = (u64, usize);

fn deadline(message: &Arc<Message>) -> Option<Deadline> {
    message.expires_at.map(|at| (at, Arc::as_ptr(message).addr()))
}

impl Tree {
    /// Counts a message that is in its place now, and no longer the one that was.
    fn account(&mut self, old: Option<&Arc<Message>>, new: Option<&Arc<Message>>) {
        self.count = self.count + usize::from(new.is_some()) - usize::from(old.is_some());
        self.bytes = self.bytes + new.map_or(0, |m| m.size()) - old.map_or(0, |m| m.size());
        if let Some(deadline) = old.and_then(deadline) {
            self.expiring.remove(&deadline);
        }
        if let Some((message, deadline)) = new.and_then(|m| deadline(m).map(|at| (m, at))) {
            self.expiring.insert(deadline, Arc::clone(message));
        }
    }

    fn remove(&mut self, topic: &str) -> bool {
        let Some(old) = remove(&mut self.root, Some(topic)) else { return false };
        self.account(Some(&old), None);
        true
    }
}

/// The retained messages of the gateway.
#[derive(Default)]
pub struct Retained {
    limits: RetainedLimits,
    tree: RwLock<Tree>,
}

impl Retained {
    /// An empty store.
    #[must_use]
    pub fn new(limits: RetainedLimits) -> Self {
        Self { limits, tree: RwLock::default() }
    }

    /// Topics with a retained message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.read().count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tree.read().bytes
    }

    /// Keeps a message in place of the topic's last one; one with an empty payload removes it.
    ///
    /// # Errors
    /// [`RetainedError::Full`], and what was there stays; or [`RetainedError::TooDeep`].
    pub fn set(&self, message: Arc<Message>) -> Result<(), RetainedError> {
        if message.topic().split('/').nth(DEEPEST).is_some() {
            return Err(RetainedError::TooDeep);
        }
        if message.payload().is_empty() {
            self.remove(message.topic());
            return Ok(());
        }
        let mut tree = self.tree.write();
        let (count, bytes) = (tree.count, tree.bytes);
        let size = message.size();
        let old_size = find(&tree.root, message.topic()).map(|m| m.size());
        let full = (old_size.is_none() && count >= self.limits.messages)
            || bytes - old_size.unwrap_or(0) + size > self.limits.bytes;
        if full {
            return Err(RetainedError::Full);
        }
        let mut node = &mut tree.root;
        for level in message.topic().split('/') {
            node = node.children.get_or_insert_default().entry(level.into()).or_default();
        }
        let old = node.message.replace(Arc::clone(&message));
        tree.account(old.as_ref(), Some(&message));
        Ok(())
    }

    /// Forgets the topic's message. True if there was one.
    pub fn remove(&self, topic: &str) -> bool {
        self.tree.write().remove(topic)
    }

    /// The message of one topic.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<Arc<Message>> {
        let message = find(&self.tree.read().root, topic).cloned();
        message.filter(|m| !m.expired(now_ms()))
    }

    /// All messages whose topic the filter matches and that have not expired.
    #[must_use]
    pub fn matching(&self, filter: &str) -> Vec<Arc<Message>> {
        let tree = self.tree.read();
        let mut found = Vec::new();
        descend(&tree.root, Some(filter), true, now_ms(), &mut found);
        found
    }

    /// Removes messages that have expired, those that did so first, at most `most` a call. Returns them. What has not
    /// expired is not looked at.
    pub fn sweep(&self, most: usize) -> Vec<Arc<Message>> {
        let now = now_ms();
        if self.tree.read().expiring.first_key_value().is_none_or(|(_, message)| !message.expired(now)) {
            return Vec::new();
        }
        let mut tree = self.tree.write();
        let expired = tree.expiring.values().take_while(|m| m.expired(now)).take(most).cloned().collect::<Vec<_>>();
        for message in &expired {
            tree.remove(message.topic());
        }
        expired
    }
}

fn find<'a>(root: &'a Node, topic: &str) -> Option<&'a Arc<Message>> {
    let mut node = root;
    for level in topic.split('/') {
        node = node.children.as_ref()?.get(level)?;
    }
    node.message.as_ref()
}

fn remove(node: &mut Node, path: Option<&str>) -> Option<Arc<Message>> {
    let Some(path) = path else { return node.message.take() };
    let (level, rest) = path.split_once('/').map_or((path, None), |(l, r)| (l, Some(r)));
    let children = node.children.as_mut()?;
    let child = children.get_mut(level)?;
    let old = remove(child, rest);
    if child.children.is_none() && child.message.is_none() {
        children.remove(level);
    }
    if children.is_empty() {
        node.children = None;
    }
    old
}

fn descend(node: &Node, filter: Option<&str>, top: bool, now: u64, found: &mut Vec<Arc<Message>>) {
    let Some(filter) = filter else {
        found.extend(node.message.iter().filter(|m| !m.expired(now)).cloned());
        return;
    };
    if filter == "#" {
        // `a/#` matches `a` itself, but a leading `#` has no parent level.
        if !top {
            found.extend(node.message.iter().filter(|m| !m.expired(now)).cloned());
        }
        for (level, child) in node.children.iter().flat_map(|c| c.iter()) {
            if !(top && level.starts_with('$')) {
                descend(child, Some("#"), false, now, found);
            }
        }
        return;
    }
    let (level, rest) = filter.split_once('/').map_or((filter, None), |(l, r)| (l, Some(r)));
    let Some(children) = &node.children else { return };
    if level == "+" {
        for (name, child) in children.iter() {
            if !(top && name.starts_with('$')) {
                descend(child, rest, false, now, found);
            }
        }
    } else if let Some(child) = children.get(level) {
        descend(child, rest, false, now, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_mqtt::QoS;
    use proptest::prelude::*;

    fn message(topic: &str, payload: &str) -> Arc<Message> {
        Arc::new(Message::new(topic, &[], payload.as_bytes(), QoS::AtMostOnce, true, None, 0))
    }

    #[test]
    fn an_empty_payload_forgets_the_topic_and_frees_its_nodes() {
        let r = Retained::default();
        r.set(message("a/b/c", "x")).unwrap();
        r.set(message("a/b/c", "")).unwrap();
        assert_eq!((r.len(), r.bytes()), (0, 0));
        assert!(r.tree.read().root.children.is_none());
    }

    #[test]
    fn a_topic_as_deep_as_a_stranger_can_make_it_does_no_harm() {
        let r = Retained::default();
        assert_eq!(r.set(message(&"/".repeat(65_535), "x")), Err(RetainedError::TooDeep));
        r.set(message(&"/".repeat(DEEPEST - 1), "x")).unwrap();
        assert_eq!((r.matching("#").len(), r.sweep(10).len()), (1, 0));
    }

    /// A message that expired long ago, or will in an hour.
    fn mortal(topic: &str, expired: bool) -> Arc<Message> {
        let mut message = Message::new(topic, &[], b"x", QoS::AtMostOnce, true, Some(3600), 0);
        if expired {
            message.expires_at = Some(0);
        }
        Arc::new(message)
    }

    #[test]
    fn a_sweep_takes_what_has_expired_and_the_index_holds_nothing_else() {
        let r = Retained::default();
        for n in 0..10 {
            r.set(mortal(&format!("dead/{n}"), true)).unwrap();
            r.set(mortal(&format!("alive/{n}"), false)).unwrap();
            r.set(message(&format!("for/ever/{n}"), "x")).unwrap();
        }
        assert_eq!(r.tree.read().expiring.len(), 20);
        assert_eq!((r.sweep(4).len(), r.len()), (4, 26));
        // What is replaced or removed is not expected any more.
        for n in 0..10 {
            r.set(message(&format!("dead/{n}"), "y")).unwrap();
            r.set(mortal(&format!("alive/{n}"), false)).unwrap();
        }
        assert_eq!((r.sweep(100).len(), r.len()), (0, 30));
        assert_eq!(r.tree.read().expiring.len(), 10);
        for n in 0..10 {
            r.remove(&format!("alive/{n}"));
        }
        assert_eq!((r.tree.read().expiring.len(), r.len()), (0, 20));
    }

    #[test]
    fn a_full_store_keeps_what_it_has_and_still_replaces() {
        let r = Retained::new(RetainedLimits { messages: 1, bytes: 100 });
        r.set(message("a", "1")).unwrap();
        assert_eq!(r.set(message("b", "1")), Err(RetainedError::Full));
        r.set(message("a", "22")).unwrap();
        assert_eq!(r.get("a").unwrap().payload(), b"22");
        assert_eq!(r.set(message("a", &"x".repeat(100))), Err(RetainedError::Full));
        assert_eq!(r.get("a").unwrap().payload(), b"22");
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_it_matches(
            topics in prop::collection::btree_set("(a|b|\\$s)?(/(a|b)?){0,2}", 0..20),
            filter in "(a|b|\\$s|\\+)?(/(a|b|\\+)?){0,2}(/#)?|#",
        ) {
            prop_assume!(!filter.is_empty());
            let r = Retained::default();
            let topics: Vec<_> = topics.into_iter().filter(|t| !t.is_empty()).collect();
            for t in &topics {
                r.set(message(t, "x")).unwrap();
            }
            let mut found: Vec<String> = r.matching(&filter).iter().map(|m| m.topic().to_owned()).collect();
            found.sort();
            let expected: Vec<String> =
                topics.iter().filter(|t| portcullis_mqtt::topic::matches(&filter, t)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
