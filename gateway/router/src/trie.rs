//! Subscriptions by topic level.
//!
//! A filter that shares no further level with another one is kept where it parts from the others, with the rest of its
//! levels beside it: most filters are such, and each node on the way would be a wait for memory at every message, and a
//! few hundred octets. Filters that were parted by another one stay so when it goes.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hashbrown::HashMap;
use portcullis_mqtt::QoS;
use smallvec::SmallVec;

use crate::levels::{Levels, Name};
use crate::mailbox::Mailbox;
use crate::route::{GroupRoute, Target, Targets};

/// Says whether a message may be delivered: the deny rules of a grant that a subscription reaches into. Asked once a
/// route, not once a message.
pub trait DeliveryCheck: Send + Sync {
    /// Whether messages on this topic may go to the subscriber.
    fn may_receive(&self, topic: &str) -> bool;
}

/// One subscription of one session.
#[derive(Clone)]
pub struct Subscription {
    /// Where messages go.
    pub mailbox: Arc<Mailbox>,
    /// The quality of service that was granted.
    pub qos: QoS,
    /// MQTT 5 §3.8.3.1.
    pub no_local: bool,
    /// MQTT 5 §3.8.3.1.
    pub retain_as_published: bool,
    /// Subscription identifier (MQTT 5 §3.8.2.1.2).
    pub id: Option<u32>,
    /// None: everything that the filter matches may be delivered.
    pub check: Option<Arc<dyn DeliveryCheck>>,
}

/// Names of groups come from strangers: the map's seed is random.
type Groups = HashMap<Box<str>, Group, foldhash::quality::RandomState>;

#[derive(Default)]
struct Node {
    /// What follows of the only filter from here on, whose subscriptions these are; `children` is none then.
    rest: Option<Name>,
    children: Option<Box<Children>>,
    /// Most filters have one subscriber.
    subscriptions: SmallVec<[Subscription; 1]>,
    groups: Option<Box<Groups>>,
}

/// What is below a node. Every look-up asks for the wildcards, so that they are found without a hash.
#[derive(Default)]
struct Children {
    named: Levels<Node>,
    /// Below `+`.
    one: Option<Box<Node>>,
    /// Below `#`, where nothing else is.
    all: Option<Box<Node>>,
}

impl Children {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.one.is_none() && self.all.is_none()
    }

    /// The child for a level of a filter, made if there is none.
    fn enter(&mut self, level: &[u8]) -> &mut Node {
        match level {
            b"+" => self.one.get_or_insert_default(),
            b"#" => self.all.get_or_insert_default(),
            _ => self.named.enter(level),
        }
    }

    fn get_mut(&mut self, level: &str) -> Option<&mut Node> {
        match level {
            "+" => self.one.as_deref_mut(),
            "#" => self.all.as_deref_mut(),
            _ => self.named.get_mut(level.as_bytes()),
        }
    }

    fn remove(&mut self, level: &str) {
        match level {
            "+" => self.one = None,
            "#" => self.all = None,
            _ => self.named.remove(level.as_bytes()),
        }
    }
}

#[derive(Default)]
struct Group {
    members: SmallVec<[Subscription; 1]>,
    turn: Arc<AtomicUsize>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_none() && self.has_no_subscriptions()
    }

    fn has_no_subscriptions(&self) -> bool {
        self.subscriptions.is_empty() && self.groups.is_none()
    }

    /// Moves the only filter from here on a level down, so that another one has room.
    fn part(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        let only = Self {
            rest: None,
            children: None,
            subscriptions: std::mem::take(&mut self.subscriptions),
            groups: self.groups.take(),
        };
        let (level, rest) = match rest.iter().position(|octet| *octet == b'/') {
            Some(slash) => (Name::from_slice(&rest[..slash]), Some(Name::from_slice(&rest[slash + 1..]))),
            None => (rest, None),
        };
        *self.children.get_or_insert_default().enter(&level) = Self { rest, ..only };
    }

    /// Where the subscriptions of a filter are, the rest of which is `path`; made if there is no such place.
    fn place(&mut self, path: Option<&str>) -> &mut Self {
        let mut node = self;
        let mut path = path;
        loop {
            if node.rest.as_deref() == path.map(str::as_bytes) && (node.rest.is_some() || path.is_none()) {
                return node;
            }
            if node.is_empty() {
                node.rest = path.map(|path| Name::from_slice(path.as_bytes()));
                return node;
            }
            node.part();
            let Some(rest) = path else { return node };
            let (level, rest) = split(rest);
            node = node.children.get_or_insert_default().enter(level.as_bytes());
            path = rest;
        }
    }
}

/// Whether the rest of a filter matches the rest of a topic, both behind a level of their own.
fn rest_matches(filter: &[u8], topic: Option<&str>) -> bool {
    let mut topic = topic;
    let mut levels = filter.split(|octet| *octet == b'/');
    loop {
        match (levels.next(), topic) {
            // It matches the level above as well (§4.7.1.2).
            (Some(b"#"), _) => return true,
            (Some(level), Some(path)) => {
                let (name, rest) = split(path);
                if level != b"+" && level != name.as_bytes() {
                    return false;
                }
                topic = rest;
            }
            (level, path) => return level.is_none() && path.is_none(),
        }
    }
}

fn put(list: &mut SmallVec<[Subscription; 1]>, new: Subscription) -> bool {
    if let Some(old) = list.iter_mut().find(|s| Arc::ptr_eq(&s.mailbox, &new.mailbox)) {
        *old = new;
        return false;
    }
    list.push(new);
    true
}

fn take(list: &mut SmallVec<[Subscription; 1]>, mailbox: u64) -> bool {
    let before = list.len();
    list.retain(|s| s.mailbox.number != mailbox);
    if list.spilled() && list.len() <= 1 {
        list.shrink_to_fit();
    }
    list.len() < before
}

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Trie {
    root: Node,
    count: usize,
}

impl Trie {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// True if it is new; false if it replaced one of the same session.
    pub(crate) fn insert(&mut self, filter: &str, share: Option<&str>, subscription: Subscription) -> bool {
        let (level, rest) = split(filter);
        let node = self.root.children.get_or_insert_default().enter(level.as_bytes()).place(rest);
        let new = match share {
            None => put(&mut node.subscriptions, subscription),
            Some(name) => {
                put(&mut node.groups.get_or_insert_default().entry(name.into()).or_default().members, subscription)
            }
        };
        self.count += usize::from(new);
        new
    }

    /// True if there was one.
    pub(crate) fn remove(&mut self, filter: &str, share: Option<&str>, mailbox: u64) -> bool {
        let there = remove(&mut self.root, Some(filter), share, mailbox);
        self.count -= usize::from(there);
        there
    }

    /// Everybody who gets what is published to `topic`, one target a session.
    pub(crate) fn find(&self, topic: &str) -> (Targets, Vec<GroupRoute>) {
        let mut found = Found { topic, subscriptions: SmallVec::new(), groups: Vec::new() };
        // A leading wildcard does not match topics that begin with `$` (§4.7.2).
        found.descend(&self.root, Some(topic), !topic.starts_with('$'));
        let mut subscriptions = found.subscriptions;
        // Those without no-local first: what its own messages find is known before the others join.
        subscriptions.sort_by_key(|s| (s.mailbox.number, s.no_local));
        let mut targets = Targets::with_capacity(subscriptions.len());
        for s in subscriptions {
            match targets.last_mut() {
                Some(last) if last.mailbox.number == s.mailbox.number => {
                    if s.no_local && !last.no_local {
                        // Its own messages come by the subscriptions so far alone, everybody else's by all of them.
                        let mut others = last.clone();
                        last.own_only = true;
                        others.no_local = true;
                        others.add(s);
                        targets.push(others);
                    } else {
                        last.add(s);
                    }
                }
                _ => targets.push(target(s)),
            }
        }
        (targets, found.groups)
    }
}

fn target(s: &Subscription) -> Target {
    Target {
        mailbox: Arc::clone(&s.mailbox),
        qos: s.qos,
        no_local: s.no_local,
        own_only: false,
        retain_as_published: s.retain_as_published,
        ids: s.id.into_iter().collect::<SmallVec<[u32; 1]>>(),
    }
}

impl Target {
    /// Adds another subscription of the same session.
    fn add(&mut self, s: &Subscription) {
        self.qos = self.qos.max(s.qos);
        self.retain_as_published |= s.retain_as_published;
        self.ids.extend(s.id);
    }
}

struct Found<'t> {
    topic: &'t str,
    subscriptions: SmallVec<[&'t Subscription; 8]>,
    groups: Vec<GroupRoute>,
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (path, None),
    }
}

impl<'t> Found<'t> {
    fn take(&mut self, node: &'t Node) {
        let topic = self.topic;
        let permitted = |s: &&Subscription| s.check.as_ref().is_none_or(|c| c.may_receive(topic));
        self.subscriptions.extend(node.subscriptions.iter().filter(permitted));
        for group in node.groups.iter().flat_map(|g| g.values()) {
            let members: Vec<Target> = group.members.iter().filter(permitted).map(target).collect();
            if !members.is_empty() {
                self.groups.push(GroupRoute { members, turn: Arc::clone(&group.turn) });
            }
        }
    }

    fn descend(&mut self, node: &'t Node, path: Option<&str>, wildcards: bool) {
        if let Some(rest) = &node.rest {
            if rest_matches(rest, path) {
                self.take(node);
            }
            return;
        }
        let Some(path) = path else {
            self.take(node);
            // `a/#` matches `a` as well (§4.7.1.2).
            if let Some(all) = node.children.as_ref().and_then(|c| c.all.as_deref()) {
                self.take(all);
            }
            return;
        };
        let Some(children) = &node.children else { return };
        let (level, rest) = split(path);
        if let Some(child) = children.named.get(level.as_bytes()) {
            self.descend(child, rest, true);
        }
        if wildcards {
            if let Some(child) = &children.one {
                self.descend(child, rest, true);
            }
            if let Some(all) = &children.all {
                self.take(all);
            }
        }
    }
}

fn remove(node: &mut Node, path: Option<&str>, share: Option<&str>, mailbox: u64) -> bool {
    if let Some(rest) = &node.rest
        && path.map(str::as_bytes) != Some(rest)
    {
        return false;
    }
    let Some(path) = path.filter(|_| node.rest.is_none()) else {
        let Some(name) = share else { return take(&mut node.subscriptions, mailbox) };
        let Some(groups) = &mut node.groups else { return false };
        let Some(group) = groups.get_mut(name) else { return false };
        let there = take(&mut group.members, mailbox);
        if group.members.is_empty() {
            groups.remove(name);
        }
        if groups.is_empty() {
            node.groups = None;
        }
        return there;
    };
    let (level, rest) = split(path);
    let Some(children) = &mut node.children else { return false };
    let Some(child) = children.get_mut(level) else { return false };
    let there = remove(child, rest, share, mailbox);
    if child.is_empty() {
        children.remove(level);
    }
    if children.is_empty() {
        node.children = None;
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MailboxLimits;
    use proptest::prelude::*;

    fn mailbox(n: u64) -> Arc<Mailbox> {
        Mailbox::new(n, MailboxLimits::default(), false, &Arc::new(crate::waiting::Waiting::new(usize::MAX)))
    }

    fn subscription(mailbox: &Arc<Mailbox>, qos: QoS, id: Option<u32>) -> Subscription {
        let mailbox = Arc::clone(mailbox);
        Subscription { mailbox, qos, no_local: false, retain_as_published: false, id, check: None }
    }

    #[test]
    fn a_client_with_overlapping_subscriptions_gets_one_copy_with_all_identifiers() {
        let (mut trie, m) = (Trie::default(), mailbox(1));
        trie.insert("a/+", None, subscription(&m, QoS::AtMostOnce, Some(7)));
        trie.insert("a/#", None, subscription(&m, QoS::ExactlyOnce, Some(9)));
        let (targets, _) = trie.find("a/b");
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].qos, QoS::ExactlyOnce);
        let mut ids = targets[0].ids.to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [7, 9]);
    }

    #[test]
    fn a_subscription_without_local_messages_lends_nothing_to_them() {
        let (mut trie, m) = (Trie::default(), mailbox(1));
        let quiet = Subscription { no_local: true, ..subscription(&m, QoS::ExactlyOnce, Some(9)) };
        trie.insert("a/#", None, quiet.clone());
        trie.insert("a/+", None, subscription(&m, QoS::AtMostOnce, Some(7)));
        trie.insert("+/b", None, Subscription { id: Some(8), ..quiet });
        let (targets, _) = trie.find("a/b");
        let seen: Vec<_> = targets.iter().map(|t| (t.own_only, t.no_local, t.qos, t.ids.iter().sum::<u32>())).collect();
        assert_eq!(seen, [(true, false, QoS::AtMostOnce, 7), (false, true, QoS::ExactlyOnce, 24)]);
    }

    #[test]
    fn leading_wildcards_never_reach_dollar_topics() {
        let (mut trie, m) = (Trie::default(), mailbox(1));
        for filter in ["#", "+/x", "+/#"] {
            trie.insert(filter, None, subscription(&m, QoS::AtMostOnce, None));
        }
        assert!(trie.find("$SYS/x").0.is_empty());
        trie.insert("$SYS/#", None, subscription(&m, QoS::AtMostOnce, None));
        assert_eq!(trie.find("$SYS/x").0.len(), 1);
    }

    #[test]
    fn a_filter_stays_where_it_is_when_others_come_and_go_below_and_above_it() {
        let mut trie = Trie::default();
        let filters = ["a/b/c/d", "a/b/c", "a", "a/b/+/d", "a/b/c/d/#", "a/b/c/d"];
        for (i, filter) in filters.iter().enumerate() {
            trie.insert(filter, None, subscription(&mailbox(i as u64), QoS::AtMostOnce, None));
        }
        let found = |trie: &Trie| trie.find("a/b/c/d").0.iter().map(|t| t.mailbox.number).collect::<Vec<_>>();
        assert_eq!(found(&trie), [0, 3, 4, 5]);
        for gone in [0, 1, 2, 4, 3] {
            assert!(trie.remove(filters[gone], None, gone as u64));
            assert!(!trie.remove(filters[gone], None, gone as u64));
            assert_eq!(found(&trie).last(), Some(&5));
        }
        assert_eq!(found(&trie), [5]);
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")]
    }

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(prop_oneof![3 => level(), 1 => Just("+")], 1..4), any::<bool>()).prop_map(
            |(levels, hash)| {
                let mut f = levels.join("/");
                if hash {
                    f.push_str("/#");
                }
                if f.is_empty() { "#".to_owned() } else { f }
            },
        )
    }

    proptest! {
        #[test]
        fn finds_exactly_what_the_filters_match(
            filters in prop::collection::vec(filter(), 1..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            topic in prop::collection::vec(level(), 1..4),
        ) {
            let topic = topic.join("/");
            prop_assume!(!topic.is_empty());
            let mut trie = Trie::default();
            let mut there = std::collections::BTreeMap::new();
            for (i, f) in filters.iter().enumerate() {
                let number = i as u64 + 1;
                trie.insert(f, None, subscription(&mailbox(number), QoS::AtMostOnce, None));
                there.insert(number, f.clone());
            }
            for index in removed {
                let number = index.index(filters.len()) as u64 + 1;
                let was = there.remove(&number);
                prop_assert_eq!(trie.remove(&filters[number as usize - 1], None, number), was.is_some());
            }
            prop_assert_eq!(trie.len(), there.len());
            let found: Vec<u64> = trie.find(&topic).0.iter().map(|t| t.mailbox.number).collect();
            let expected: Vec<u64> =
                there.iter().filter(|(_, f)| portcullis_mqtt::topic::matches(f, &topic)).map(|(n, _)| *n).collect();
            prop_assert_eq!(found, expected);
            for (n, f) in there {
                trie.remove(&f, None, n);
            }
            prop_assert!(trie.root.is_empty(), "removing the last subscription frees every node");
        }
    }
}
