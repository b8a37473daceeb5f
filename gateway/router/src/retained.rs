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

/// Who retains a message, and how much of what is retained may be theirs.
#[derive(Clone, Debug)]
pub struct Holder {
    /// A name that no other has.
    pub name: Arc<str>,
    /// Bounds on what they hold: of topics where they were the last to retain a message.
    pub limits: RetainedLimits,
}

impl RetainedLimits {
    /// No bounds.
    pub const NONE: Self = Self { messages: usize::MAX, bytes: usize::MAX };
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
    /// A bound of [`Holder::limits`] is reached.
    #[error("its publisher holds as many retained messages as it may")]
    HolderFull,
}

type Levels = HashMap<Box<str>, Node, foldhash::quality::RandomState>;

#[derive(Default)]
struct Node {
    children: Option<Box<Levels>>,
    kept: Option<Kept>,
}

/// A retained message, and whose it is.
#[derive(Clone)]
struct Kept {
    message: Arc<Message>,
    holder: Option<Arc<str>>,
}

/// How much is somebody's.
#[derive(Clone, Copy, Default)]
struct Share {
    messages: usize,
    bytes: usize,
}

#[derive(Default)]
struct Tree {
    root: Node,
    count: usize,
    bytes: usize,
    /// Of each who holds any.
    shares: HashMap<Arc<str>, Share, foldhash::quality::RandomState>,
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
    fn account(&mut self, old: Option<&Kept>, new: Option<&Kept>) {
        // First what comes: who only replaces a message keeps its place among the holders.
        if let Some(holder) = new.and_then(|kept| kept.holder.as_ref()) {
            let share = self.shares.entry(Arc::clone(holder)).or_default();
            share.messages += 1;
            share.bytes += new.map_or(0, |kept| kept.message.size());
        }
        if let Some((kept, holder)) = old.and_then(|kept| kept.holder.as_ref().map(|holder| (kept, holder)))
            && let Some(share) = self.shares.get_mut(holder)
        {
            share.messages -= 1;
            share.bytes -= kept.message.size();
            if share.messages == 0 {
                self.shares.remove(holder);
            }
        }
        let (old, new) = (old.map(|kept| &kept.message), new.map(|kept| &kept.message));
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

    /// Keeps a message in place of the topic's last one; one with an empty payload removes it. `holder`: whose it is from
    /// now on; none: nobody's.
    ///
    /// # Errors
    /// [`RetainedError::Full`] or [`RetainedError::HolderFull`], and what was there stays; or [`RetainedError::TooDeep`].
    pub fn set(&self, message: Arc<Message>, holder: Option<&Holder>) -> Result<(), RetainedError> {
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
        let old = find(&tree.root, message.topic());
        let old_size = old.map(|kept| kept.message.size());
        let full = (old_size.is_none() && count >= self.limits.messages)
            || bytes - old_size.unwrap_or(0) + size > self.limits.bytes;
        if full {
            return Err(RetainedError::Full);
        }
        if let Some(holder) = holder {
            let mut share = tree.shares.get(&holder.name).copied().unwrap_or_default();
            if let Some(own) = old.filter(|kept| kept.holder.as_ref() == Some(&holder.name)) {
                share.messages -= 1;
                share.bytes -= own.message.size();
            }
            if share.messages >= holder.limits.messages || share.bytes + size > holder.limits.bytes {
                return Err(RetainedError::HolderFull);
            }
        }
        // One name for all that somebody holds.
        let name = holder.map(|h| tree.shares.get_key_value(&h.name).map_or(&h.name, |(name, _)| name)).cloned();
        let new = Kept { message: Arc::clone(&message), holder: name };
        let mut node = &mut tree.root;
        for level in message.topic().split('/') {
            node = node.children.get_or_insert_default().entry(level.into()).or_default();
        }
        let old = node.kept.replace(new.clone());
        tree.account(old.as_ref(), Some(&new));
        Ok(())
    }

    /// Forgets the topic's message. True if there was one.
    pub fn remove(&self, topic: &str) -> bool {
        self.tree.write().remove(topic)
    }

    /// The message of one topic.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<Arc<Message>> {
        let message = find(&self.tree.read().root, topic).map(|kept| Arc::clone(&kept.message));
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

fn find<'a>(root: &'a Node, topic: &str) -> Option<&'a Kept> {
    let mut node = root;
    for level in topic.split('/') {
        node = node.children.as_ref()?.get(level)?;
    }
    node.kept.as_ref()
}

fn remove(node: &mut Node, path: Option<&str>) -> Option<Kept> {
    let Some(path) = path else { return node.kept.take() };
    let (level, rest) = path.split_once('/').map_or((path, None), |(l, r)| (l, Some(r)));
    let children = node.children.as_mut()?;
    let child = children.get_mut(level)?;
    let old = remove(child, rest);
    if child.children.is_none() && child.kept.is_none() {
        children.remove(level);
    }
    if children.is_empty() {
        node.children = None;
    }
    old
}

fn descend(node: &Node, filter: Option<&str>, top: bool, now: u64, found: &mut Vec<Arc<Message>>) {
    let Some(filter) = filter else {
        found.extend(node.kept.iter().map(|kept| &kept.message).filter(|m| !m.expired(now)).cloned());
        return;
    };
    if filter == "#" {
        // `a/#` matches `a` itself, but a leading `#` has no parent level.
        if !top {
            found.extend(node.kept.iter().map(|kept| &kept.message).filter(|m| !m.expired(now)).cloned());
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
        r.set(message("a/b/c", "x"), None).unwrap();
        r.set(message("a/b/c", ""), None).unwrap();
        assert_eq!((r.len(), r.bytes()), (0, 0));
        assert!(r.tree.read().root.children.is_none());
    }

    #[test]
    fn a_topic_as_deep_as_a_stranger_can_make_it_does_no_harm() {
        let r = Retained::default();
        assert_eq!(r.set(message(&"/".repeat(65_535), "x"), None), Err(RetainedError::TooDeep));
        r.set(message(&"/".repeat(DEEPEST - 1), "x"), None).unwrap();
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
            r.set(mortal(&format!("dead/{n}"), true), None).unwrap();
            r.set(mortal(&format!("alive/{n}"), false), None).unwrap();
            r.set(message(&format!("for/ever/{n}"), "x"), None).unwrap();
        }
        assert_eq!(r.tree.read().expiring.len(), 20);
        assert_eq!((r.sweep(4).len(), r.len()), (4, 26));
        // What is replaced or removed is not expected any more.
        for n in 0..10 {
            r.set(message(&format!("dead/{n}"), "y"), None).unwrap();
            r.set(mortal(&format!("alive/{n}"), false), None).unwrap();
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
        r.set(message("a", "1"), None).unwrap();
        assert_eq!(r.set(message("b", "1"), None), Err(RetainedError::Full));
        r.set(message("a", "22"), None).unwrap();
        assert_eq!(r.get("a").unwrap().payload(), b"22");
        assert_eq!(r.set(message("a", &"x".repeat(100)), None), Err(RetainedError::Full));
        assert_eq!(r.get("a").unwrap().payload(), b"22");
    }

    #[test]
    fn what_somebody_holds_is_bounded_and_given_back_however_it_ends() {
        let r = Retained::default();
        let limits = |messages, bytes| RetainedLimits { messages, bytes };
        let holder = |name: &str| Holder { name: name.into(), limits: limits(2, 100) };
        let (one, other) = (holder("one"), holder("other"));
        r.set(message("a", "1"), Some(&one)).unwrap();
        r.set(message("b", "1"), Some(&one)).unwrap();
        assert_eq!(r.set(message("c", "1"), Some(&one)), Err(RetainedError::HolderFull));
        r.set(message("c", "1"), Some(&other)).unwrap();
        // What is there may be replaced, within the octets.
        r.set(message("a", "2"), Some(&one)).unwrap();
        assert_eq!(r.set(message("a", &"x".repeat(98)), Some(&one)), Err(RetainedError::HolderFull));
        assert_eq!(r.get("a").unwrap().payload(), b"2");
        // Whoever retains there next has it, and what is removed or expires is nobody's.
        r.set(message("a", "3"), Some(&other)).unwrap();
        r.set(mortal("d", true), Some(&one)).unwrap();
        assert_eq!(r.set(message("e", "1"), Some(&one)), Err(RetainedError::HolderFull));
        assert_eq!(r.sweep(10).len(), 1);
        r.set(message("e", "1"), Some(&one)).unwrap();
        for topic in ["a", "b", "c", "e"] {
            r.set(message(topic, ""), None).unwrap();
        }
        assert!(r.tree.read().shares.is_empty());
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
                r.set(message(t, "x"), None).unwrap();
            }
            let mut found: Vec<String> = r.matching(&filter).iter().map(|m| m.topic().to_owned()).collect();
            found.sort();
            let expected: Vec<String> =
                topics.iter().filter(|t| portcullis_mqtt::topic::matches(&filter, t)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
