//! The matcher against a naive reading of the contract, and the cache's bounds.

use portcullis_mqtt::{QoS, topic};
use proptest::prelude::*;

use super::own::Rules;
use super::*;
use crate::denial::{Denial, DenyReason};
use crate::draft::GrantError;
use crate::gatekeeper::{Action, Authorization, Publication, SubscriptionRequest};
use crate::names::Words;

fn rule(effect: Effect, actions: Actions, filter: &str, max_qos: QoS) -> Rule {
    Rule { effect, actions, filter: filter.to_owned(), max_qos }
}

fn compiled(rules: &[Rule]) -> RuleSet {
    RuleSet::compile(rules).expect("valid rules")
}

/// The contract, word by word and slow.
struct Naive<'a>(&'a [Rule]);

impl Naive<'_> {
    fn action(&self, action: Actions, name: &str, qos: QoS) -> Permission {
        let hits = || self.0.iter().filter(|r| r.actions.contains(action) && topic::matches(&r.filter, name));
        let highest = |effect| hits().filter(|r| r.effect == effect).map(|r| r.max_qos).max();
        if hits().any(|r| r.effect == Effect::Deny) {
            return Permission::Deny;
        }
        let (effect, permission) = if highest(Effect::Ask).is_some() {
            (Effect::Ask, Permission::Ask)
        } else {
            (Effect::Allow, Permission::Allow)
        };
        if highest(effect) >= Some(qos) { permission } else { Permission::Deny }
    }

    fn send(&self, action: Actions, name: &str, qos: QoS, retain: bool) -> Permission {
        let mut parts = vec![self.action(action, name, qos)];
        if retain {
            parts.push(self.action(Actions::RETAIN, name, qos));
        }
        if parts.contains(&Permission::Deny) {
            Permission::Deny
        } else if parts.contains(&Permission::Ask) {
            Permission::Ask
        } else {
            Permission::Allow
        }
    }

    fn may_receive(&self, name: &str) -> bool {
        self.action(Actions::SUBSCRIBE, name, QoS::AtMostOnce) != Permission::Deny
    }

    fn subscribe(&self, filter: &str, qos: QoS) -> SubscribePermission {
        let of = |effect| self.0.iter().filter(move |r| r.effect == effect && r.actions.contains(Actions::SUBSCRIBE));
        let covering = |effect| of(effect).filter(|r| topic::covers(&r.filter, filter)).map(|r| r.max_qos).max();
        let reached = |effect| of(effect).filter(|r| topic::overlaps(&r.filter, filter)).map(|r| r.max_qos).min();
        let filtered = reached(Effect::Deny).is_some();
        if covering(Effect::Deny).is_some() {
            return SubscribePermission::Deny;
        }
        if let Some(max) = covering(Effect::Ask) {
            return SubscribePermission::Ask { max_qos: max.min(qos), filtered };
        }
        match (covering(Effect::Allow), reached(Effect::Ask)) {
            (None, _) => SubscribePermission::Deny,
            (Some(max), None) => SubscribePermission::Allow { max_qos: max.min(qos), filtered },
            (Some(max), Some(ask)) => SubscribePermission::Ask { max_qos: max.min(ask).min(qos), filtered },
        }
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "$SYS", "é"])
}

fn topic_name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/")).prop_filter("not empty", |t| !t.is_empty())
}

fn topic_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, all)| {
            if all {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("not empty", |f| !f.is_empty())
}

/// What may be a client's name: levels, and worse.
fn name() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec!["/", "a/", "/b", "+", "#", "a/+", "\0A"]).prop_map(str::to_owned);
    prop_oneof![4 => topic_name(), 1 => odd]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let effect = prop_oneof![4 => Just(Effect::Allow), 1 => Just(Effect::Ask), 1 => Just(Effect::Deny)];
    let actions = (0u8..16).prop_map(Actions);
    let one = (effect, actions, topic_filter(), qos()).prop_map(|(effect, actions, filter, max_qos)| Rule {
        effect,
        actions,
        filter,
        max_qos,
    });
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_the_contract_about_messages(rules in rules(), topics in prop::collection::vec(topic_name(), 1..6), qos in qos()) {
        let (set, naive) = (compiled(&rules), Naive(&rules));
        for name in &topics {
            for retain in [false, true] {
                prop_assert_eq!(set.publish(name, qos, retain), naive.send(Actions::PUBLISH, name, qos, retain), "publish {}", name);
                prop_assert_eq!(set.will(name, qos, retain), naive.send(Actions::WILL, name, qos, retain), "will {}", name);
            }
            prop_assert_eq!(set.may_receive(name), naive.may_receive(name), "receive {}", name);
        }
    }

    #[test]
    fn agrees_with_the_contract_about_subscriptions(rules in rules(), filter in topic_filter(), qos in qos()) {
        prop_assert_eq!(compiled(&rules).subscribe(&filter, qos), Naive(&rules).subscribe(&filter, qos));
    }

    #[test]
    fn an_unfiltered_subscription_delivers_only_what_may_be_received(rules in rules(), filter in topic_filter(), name in topic_name()) {
        let set = compiled(&rules);
        if topic::matches(&filter, &name)
            && let SubscribePermission::Allow { filtered: false, .. } = set.subscribe(&filter, QoS::ExactlyOnce)
        {
            prop_assert!(set.may_receive(&name));
        }
    }

    #[test]
    fn names_kept_apart_change_nothing(
        rules in rules(), subject in name(), tenant in prop::option::of(name()), more in prop::collection::vec(name(), 0..3),
        filter in topic_filter(), topics in prop::collection::vec(topic_name(), 1..6), qos in qos(),
    ) {
        let mut words = Words::new(&subject, tenant.as_deref(), None);
        more.iter().for_each(|word| words.add(word));
        let (whole, apart, names) = (compiled(&rules), Rules::compile(&rules, &words).unwrap(), words.names());
        for topic in &topics {
            for retain in [false, true] {
                prop_assert_eq!(apart.publish(&names, topic, qos, retain), whole.publish(topic, qos, retain), "publish {}", topic);
                prop_assert_eq!(apart.will(&names, topic, qos, retain), whole.will(topic, qos, retain), "will {}", topic);
            }
            prop_assert_eq!(apart.receive(&names, topic), whole.receive(topic), "receive {}", topic);
        }
        prop_assert_eq!(apart.subscribe(&names, &filter, qos), whole.subscribe(&filter, qos));
    }

    #[test]
    fn the_order_of_rules_has_no_meaning(rules in rules(), filter in topic_filter(), name in topic_name(), qos in qos()) {
        let turned: Vec<_> = rules.iter().rev().cloned().collect();
        let (one, other) = (compiled(&rules), compiled(&turned));
        prop_assert_eq!(one.publish(&name, qos, true), other.publish(&name, qos, true));
        prop_assert_eq!(one.subscribe(&filter, qos), other.subscribe(&filter, qos));
    }

    #[test]
    fn any_text_compiles_or_is_refused(filter in ".*", name in ".*") {
        if let Ok(set) = RuleSet::compile(&[rule(Effect::Allow, Actions::ALL, &filter, QoS::ExactlyOnce)]) {
            let _ = (set.publish(&name, QoS::AtMostOnce, true), set.subscribe(&name, QoS::AtMostOnce), set.may_receive(&name));
        }
    }
}

#[test]
fn rules_with_a_clients_names_are_the_same_for_all() {
    let of = |name: &str, filters: &[String]| {
        let rules: Vec<_> = filters.iter().map(|f| rule(Effect::Allow, Actions::ALL, f, QoS::AtLeastOnce)).collect();
        Rules::compile(&rules, &Words::new(name, None, None)).unwrap()
    };
    let filters =
        |name: &str| [format!("{name}/stream"), format!("x/{name}/#"), "load/#".to_owned(), format!("+/{name}")];
    assert_eq!(of("ada", &filters("ada")), of("bob", &filters("bob")));
    let many = |name: &str| (0..9).map(|n| format!("{name}/{n}")).collect::<Vec<_>>();
    assert_ne!(of("ada", &many("ada")), of("bob", &many("bob")), "many are looked up, by the whole of their texts");
    let names = Words::new("ada", None, None).names();
    assert_eq!(of("ada", &many("ada")).publish(&names, "ada/8", QoS::AtLeastOnce, true), Permission::Allow);
}

#[test]
fn nothing_matches_nothing_is_allowed() {
    let set = compiled(&[]);
    assert_eq!(set.publish("a", QoS::AtMostOnce, false), Permission::Deny);
    assert_eq!(set.subscribe("a", QoS::AtMostOnce), SubscribePermission::Deny);
    assert!(!set.may_receive("a"));
}

#[test]
fn asking_is_not_bypassed_by_a_higher_quality_of_service() {
    let set = compiled(&[
        rule(Effect::Ask, Actions::PUBLISH, "door/+", QoS::AtMostOnce),
        rule(Effect::Allow, Actions::PUBLISH, "#", QoS::ExactlyOnce),
    ]);
    assert_eq!(set.publish("door/1", QoS::AtMostOnce, false), Permission::Ask);
    assert_eq!(set.publish("door/1", QoS::ExactlyOnce, false), Permission::Deny);
    assert_eq!(set.publish("window/1", QoS::ExactlyOnce, false), Permission::Allow);
}

#[test]
fn a_denied_part_filters_and_a_denied_whole_refuses() {
    let set = compiled(&[
        rule(Effect::Allow, Actions::SUBSCRIBE, "plant/#", QoS::AtLeastOnce),
        rule(Effect::Deny, Actions::SUBSCRIBE, "plant/+/secret", QoS::AtMostOnce),
    ]);
    let qos = QoS::ExactlyOnce;
    let allowed = |filtered| SubscribePermission::Allow { max_qos: QoS::AtLeastOnce, filtered };
    assert_eq!(set.subscribe("plant/#", qos), allowed(true));
    assert_eq!(set.subscribe("plant/1/temperature", qos), allowed(false));
    assert_eq!(set.subscribe("plant/1/secret", qos), SubscribePermission::Deny);
    assert_eq!(set.subscribe("#", qos), SubscribePermission::Deny);
    assert!(set.may_receive("plant/1/temperature") && !set.may_receive("plant/1/secret"));
}

#[test]
fn deep_filters_match_beyond_the_prefix_classes() {
    let deep = vec!["x"; 100].join("/");
    let set = compiled(&[
        rule(Effect::Allow, Actions::PUBLISH, &deep, QoS::AtMostOnce),
        rule(Effect::Allow, Actions::PUBLISH, &format!("y/{deep}/#"), QoS::AtMostOnce),
    ]);
    assert_eq!(set.publish(&deep, QoS::AtMostOnce, false), Permission::Allow);
    assert_eq!(set.publish(&deep[2..], QoS::AtMostOnce, false), Permission::Deny);
    assert_eq!(set.publish(&format!("y/{deep}/z"), QoS::AtMostOnce, false), Permission::Allow);
    assert_eq!(set.publish(&format!("y/{}", &deep[2..]), QoS::AtMostOnce, false), Permission::Deny);
}

#[test]
fn what_is_not_a_filter_is_named() {
    for bad in ["", "a/#/b", "a+", "$share/g/a"] {
        let rules = [
            rule(Effect::Allow, Actions::ALL, "ok", QoS::AtMostOnce),
            rule(Effect::Allow, Actions::ALL, bad, QoS::AtMostOnce),
        ];
        match RuleSet::compile(&rules) {
            Err(GrantError::BadFilter { index: 1, filter, .. }) => assert_eq!(filter, bad),
            other => panic!("{bad:?} gave {other:?}"),
        }
    }
    let long = rule(Effect::Allow, Actions::ALL, &"x".repeat(60_000), QoS::AtMostOnce);
    assert!(matches!(RuleSet::compile(&vec![long; 5]), Err(GrantError::TooMany { .. })));
    let short = rule(Effect::Allow, Actions::ALL, "x", QoS::AtMostOnce);
    assert!(matches!(RuleSet::compile(&vec![short; 1025]), Err(GrantError::TooMany { .. })));
}

fn publication(topic: &str, size: u32) -> Action {
    Action::Publish(Publication { topic: topic.to_owned(), qos: QoS::AtMostOnce, retain: false, will: false, size })
}

fn yes(valid_for: u32) -> Authorization {
    Authorization { denied: None, valid_for }
}

fn no(valid_for: u32) -> Authorization {
    Authorization { denied: Some(Denial::new(DenyReason::NotAuthorized, "no")), valid_for }
}

#[test]
fn an_answer_holds_for_as_long_as_it_says() {
    let cache = AskCache::default();
    cache.put_at(1000, &publication("a", 1), &yes(2));
    assert_eq!(cache.look_at(2999, &publication("a", 900)), Some(true), "the size is not part of the key");
    assert_eq!(cache.look_at(3000, &publication("a", 1)), None);
    assert_eq!(cache.look_at(1000, &publication("b", 1)), None);
    cache.put_at(1000, &publication("a", 1), &no(2));
    assert_eq!(cache.look_at(1001, &publication("a", 1)), Some(false));
    cache.put_at(1001, &publication("a", 1), &yes(0));
    assert_eq!(cache.look_at(1001, &publication("a", 1)), None, "an answer for now only ends an older one");
}

#[test]
fn the_cache_is_bounded_and_forgets_what_ends_first() {
    let cache = AskCache::default();
    for n in 0..ask::MAX_ANSWERS as u32 + 100 {
        cache.put_at(0, &publication(&format!("t/{n}"), 0), &yes(n + 1));
    }
    assert_eq!(cache.len(), ask::MAX_ANSWERS);
    assert_eq!(cache.look_at(0, &publication("t/0", 0)), None);
    assert_eq!(cache.look_at(0, &publication("t/355", 0)), Some(true));
    cache.put_at(0, &publication(&"x".repeat(ask::MAX_KEY_OCTETS + 1), 0), &yes(60));
    assert_eq!(cache.len(), ask::MAX_ANSWERS, "what is too long is not kept");
}

#[test]
fn a_remembered_subscription_keeps_its_terms() {
    let cache = AskCache::default();
    let request = SubscriptionRequest { filter: "a/#".to_owned(), qos: QoS::AtLeastOnce, share: Some("g".to_owned()) };
    cache.remember(&Action::Subscribe(request), &yes(3600));
    let ask = |share| cache.subscribe("a/#", QoS::AtLeastOnce, share, QoS::AtMostOnce, true);
    assert_eq!(ask(Some("g")), SubscribePermission::Allow { max_qos: QoS::AtMostOnce, filtered: true });
    assert_eq!(ask(None), SubscribePermission::Ask { max_qos: QoS::AtMostOnce, filtered: true });
}
