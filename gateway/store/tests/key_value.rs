//! Namespaces of keys and values: bounds, time to live, quota, and any sequence of operations against a simple model.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::thread;

use portcullis_store::{Clock, ClockHand, KeyValue, KeyValueError, MAX_KEY, MAX_VALUE, Options, Store};
use proptest::prelude::*;

fn store() -> (Store, ClockHand) {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    (Store::in_memory(Options { clock, ..Options::default() }).unwrap(), hand)
}

fn namespace(store: &Store) -> KeyValue {
    store.key_value("policy:test", 1 << 30).unwrap()
}

fn invalid<T: std::fmt::Debug>(result: Result<T, KeyValueError>) -> String {
    match result.unwrap_err() {
        KeyValueError::Invalid(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bounds_are_those_of_the_contract() {
    let (store, _hand) = store();
    let kv = namespace(&store);
    let longest = "k".repeat(MAX_KEY);
    kv.set(&longest, &vec![1; MAX_VALUE], Some(u32::MAX)).wait().unwrap();
    assert_eq!(kv.get(&longest).unwrap().unwrap().len(), MAX_VALUE);
    let long = "k".repeat(MAX_KEY + 1);
    assert!(invalid(kv.get(&long)).contains("512"));
    assert!(invalid(kv.set(&long, b"", None).wait()).contains("512"));
    assert!(invalid(kv.take(&long).wait()).contains("512"));
    assert!(invalid(kv.delete(&long).wait()).contains("512"));
    assert!(invalid(kv.increment(&long, 1, None).wait()).contains("512"));
    assert!(invalid(kv.set("k", &vec![1; MAX_VALUE + 1], None).wait()).contains("65536"));
    assert!(invalid(kv.set_if_absent("k", b"", Some(0)).wait()).contains("time to live"));
    assert!(invalid(store.key_value("", 1).map(drop)).contains("namespace"));
    assert!(invalid(store.key_value(&"n".repeat(129), 1).map(drop)).contains("namespace"));
    kv.set("", b"the empty key is a key", None).wait().unwrap();
    assert!(kv.get("").unwrap().is_some());
}

#[test]
fn numbers_are_decimal_text_and_never_wrap() {
    let (store, _hand) = store();
    let kv = namespace(&store);
    assert_eq!(kv.increment("n", 5, None).wait(), Ok(5));
    assert_eq!(kv.increment("n", -7, None).wait(), Ok(-2));
    assert_eq!(kv.get("n").unwrap(), Some(b"-2".to_vec()));
    kv.set("n", i64::MAX.to_string().as_bytes(), None).wait().unwrap();
    assert!(invalid(kv.increment("n", 1, None).wait()).contains("64 bits"));
    assert_eq!(kv.increment("n", 0, None).wait(), Ok(i64::MAX), "and is unchanged");
    for wrong in ["", "1.5", "x", " 1", "\u{ff11}"] {
        kv.set("n", wrong.as_bytes(), None).wait().unwrap();
        assert!(invalid(kv.increment("n", 1, None).wait()).contains("number"), "{wrong:?}");
        assert_eq!(kv.get("n").unwrap(), Some(wrong.as_bytes().to_vec()));
    }
}

#[test]
fn a_window_of_attempts_ends() {
    let (store, hand) = store();
    let kv = namespace(&store);
    assert_eq!(kv.increment("tries", 1, Some(60)).wait(), Ok(1));
    hand.advance_ms(59_999);
    assert_eq!(kv.increment("tries", 1, Some(60)).wait(), Ok(2), "what is there keeps its time to live");
    hand.advance_ms(1);
    assert_eq!(kv.get("tries").unwrap(), None);
    assert_eq!(kv.increment("tries", 1, Some(60)).wait(), Ok(1));
}

#[test]
fn only_one_of_many_takes_or_sets_first() {
    let (store, _hand) = store();
    let kv = namespace(&store);
    kv.set("nonce", b"x", None).wait().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let kv = kv.clone();
            thread::spawn(move || {
                let took = kv.take("nonce").wait().unwrap().is_some();
                let first = kv.set_if_absent("jti", b"", Some(60)).wait().unwrap();
                kv.increment("sum", 1, None).wait().unwrap();
                (usize::from(took), usize::from(first))
            })
        })
        .collect();
    let (took, first) = threads.into_iter().map(|t| t.join().unwrap()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!((took, first), (1, 1));
    assert_eq!(kv.get("sum").unwrap(), Some(b"8".to_vec()));
}

#[test]
fn a_namespace_has_its_share_and_no_more() {
    let (store, hand) = store();
    let kv = store.key_value("small", 1000).unwrap();
    kv.set("a", &[0; 400], Some(10)).wait().unwrap();
    kv.set("b", &[0; 400], None).wait().unwrap();
    assert_eq!(kv.usage(), Ok(2 * (400 + 1 + 32)));
    assert_eq!(kv.set("c", &[0; 400], None).wait(), Err(KeyValueError::Full(1000)));
    assert_eq!(kv.increment("c", 1, None).wait(), Ok(1), "a little fits still");
    kv.delete("c").wait().unwrap();
    assert_eq!(kv.get("c").unwrap(), None);
    store.key_value("other", 1000).unwrap().set("c", &[0; 900], None).wait().unwrap();
    hand.advance_ms(10_000);
    kv.set("c", &[0; 400], None).wait().unwrap();
    assert_eq!(kv.usage(), Ok(2 * (400 + 1 + 32)), "what had expired made room");
    let lowered = store.key_value("small", 10).unwrap();
    assert_eq!(lowered.set("b", &[0; 401], None).wait(), Err(KeyValueError::Full(10)));
    lowered.set("b", &[0; 399], None).wait().unwrap();
    lowered.delete("b").wait().unwrap();
    lowered.delete("c").wait().unwrap();
    assert_eq!(kv.usage(), Ok(0));
}

#[test]
fn overwriting_an_expired_value_in_a_full_namespace_counts_right() {
    let (store, hand) = store();
    let kv = store.key_value("small", 500).unwrap();
    kv.set("a", &[0; 300], Some(1)).wait().unwrap();
    hand.advance_ms(5_000);
    kv.set("a", &[0; 467], None).wait().unwrap();
    assert_eq!(kv.usage(), Ok(500));
    assert_eq!(store.sweep(100).wait(), Ok(0), "its old expiry is forgotten");
    assert_eq!(kv.get("a").unwrap().unwrap().len(), 467);
}

#[test]
fn sweeping_takes_what_has_expired_and_nothing_else() {
    let (store, hand) = store();
    let kv = namespace(&store);
    for n in 0..30_u32 {
        kv.set(&n.to_string(), b"v", Some(n + 1)).wait().unwrap();
    }
    kv.set("for ever", b"v", None).wait().unwrap();
    kv.set("5", b"longer now", Some(100)).wait().unwrap();
    hand.advance_ms(10_000);
    assert_eq!(store.sweep(4).wait(), Ok(4));
    assert_eq!(store.sweep(100).wait(), Ok(5));
    assert_eq!(store.sweep(100).wait(), Ok(0));
    assert_eq!(kv.get("5").unwrap(), Some(b"longer now".to_vec()));
    assert_eq!(kv.get("9").unwrap(), None);
    assert!(kv.get("10").unwrap().is_some() && kv.get("for ever").unwrap().is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Set(u8, Vec<u8>, Option<u32>),
    SetIfAbsent(u8, Vec<u8>, Option<u32>),
    Take(u8),
    Delete(u8),
    Increment(u8, i64, Option<u32>),
    Pass(u32),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..4_u8;
    let ttl = || proptest::option::of(1..5_u32);
    let value = || {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..40)
        ]
    };
    prop_oneof![
        key().prop_map(Step::Get),
        (key(), value(), ttl()).prop_map(|(k, v, t)| Step::Set(k, v, t)),
        (key(), value(), ttl()).prop_map(|(k, v, t)| Step::SetIfAbsent(k, v, t)),
        key().prop_map(Step::Take),
        key().prop_map(Step::Delete),
        (key(), -3..4_i64, ttl()).prop_map(|(k, d, t)| Step::Increment(k, d, t)),
        (0..2500_u32).prop_map(Step::Pass),
        Just(Step::Sweep),
    ]
}

/// What a store is, without the store: key to value and expiry.
#[derive(Default)]
struct Model {
    values: HashMap<String, (Vec<u8>, Option<u64>)>,
    now: u64,
}

impl Model {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values.get(key).filter(|(_, end)| end.is_none_or(|end| end > self.now)).map(|(value, _)| value.clone())
    }

    fn set(&mut self, key: &str, value: Vec<u8>, ttl: Option<u32>) {
        self.values.insert(key.to_owned(), (value, ttl.map(|ttl| self.now + u64::from(ttl) * 1000)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_sequence_of_operations_does_what_a_map_would(steps in proptest::collection::vec(step(), 1..60)) {
        let (store, hand) = store();
        let kv = namespace(&store);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Get(k) => prop_assert_eq!(kv.get(&k.to_string()).unwrap(), model.get(&k.to_string())),
                Step::Set(k, v, ttl) => {
                    kv.set(&k.to_string(), &v, ttl).wait().unwrap();
                    model.set(&k.to_string(), v, ttl);
                }
                Step::SetIfAbsent(k, v, ttl) => {
                    let absent = model.get(&k.to_string()).is_none();
                    prop_assert_eq!(kv.set_if_absent(&k.to_string(), &v, ttl).wait(), Ok(absent));
                    if absent {
                        model.set(&k.to_string(), v, ttl);
                    }
                }
                Step::Take(k) => {
                    prop_assert_eq!(kv.take(&k.to_string()).wait().unwrap(), model.get(&k.to_string()));
                    model.values.remove(&k.to_string());
                }
                Step::Delete(k) => {
                    prop_assert_eq!(kv.delete(&k.to_string()).wait(), Ok(model.get(&k.to_string()).is_some()));
                    model.values.remove(&k.to_string());
                }
                Step::Increment(k, by, ttl) => {
                    let key = k.to_string();
                    let got = kv.increment(&key, by, ttl).wait();
                    match model.get(&key) {
                        None => {
                            prop_assert_eq!(got, Ok(by));
                            model.set(&key, by.to_string().into_bytes(), ttl);
                        }
                        Some(old) => {
                            let old = std::str::from_utf8(&old).ok().and_then(|old| old.parse::<i64>().ok());
                            match old.and_then(|old| old.checked_add(by)) {
                                None => prop_assert!(matches!(got, Err(KeyValueError::Invalid(_)))),
                                Some(sum) => {
                                    prop_assert_eq!(got, Ok(sum));
                                    model.values.get_mut(&key).unwrap().0 = sum.to_string().into_bytes();
                                }
                            }
                        }
                    }
                }
                Step::Pass(ms) => {
                    hand.advance_ms(u64::from(ms));
                    model.now += u64::from(ms);
                }
                Step::Sweep => {
                    store.sweep(1000).wait().unwrap();
                    let now = model.now;
                    model.values.retain(|_, (_, end)| end.is_none_or(|end| end > now));
                    let octets: u64 = model.values.iter().map(|(k, (v, _))| (32 + k.len() + v.len()) as u64).sum();
                    prop_assert_eq!(kv.usage(), Ok(octets), "after a sweep, usage is what is there");
                }
            }
        }
        for k in 0..4 {
            prop_assert_eq!(kv.get(&k.to_string()).unwrap(), model.get(&k.to_string()));
        }
    }
}
