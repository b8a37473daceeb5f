//! Which topic names a filter matches (MQTT 5 §4.7), and how two filters stand to each other as sets of names.
//!
//! All three take filters as strings and expect them valid; for others they answer something and do not panic, with
//! `+` and `#` taken as wildcards only where they fill their level. A `$share/…` prefix is for the caller to take off.
//!
//! The one exception in the rules: a wildcard in the first level does not match a name that starts with `$`
//! ([MQTT-4.7.2-1]).

/// Splits the first level off: the level, and what follows its slash if there is one.
fn split(topic: &[u8]) -> (&[u8], Option<&[u8]>) {
    match topic.iter().position(|b| *b == b'/') {
        Some(at) => (&topic[..at], Some(&topic[at + 1..])),
        None => (topic, None),
    }
}

fn is_dollar(level: &[u8]) -> bool {
    level.first() == Some(&b'$')
}

fn is_hash(rest: Option<&[u8]>) -> bool {
    rest == Some(b"#")
}

/// Whether `filter` matches the topic name `topic`. Linear in their length, and done at the first octet that differs.
///
/// `a/#` matches `a` as well (MQTT 5 §4.7.1.2).
pub fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.as_bytes(), topic.as_bytes());
    if is_dollar(topic) && matches!(filter, [b'+'] | [b'+', b'/', ..] | b"#") {
        return false;
    }
    // One pass over the octets of both, since most filters that are asked differ early: no level is looked for first.
    let (mut at, mut level_begins) = (0, true);
    for (i, octet) in filter.iter().enumerate() {
        match octet {
            b'+' if level_begins && matches!(filter.get(i + 1), None | Some(b'/')) => {
                at += topic[at..].iter().take_while(|octet| **octet != b'/').count();
            }
            b'#' if level_begins && i + 1 == filter.len() => return true,
            octet => match topic.get(at) {
                Some(found) if found == octet => at += 1,
                None => return filter[i..] == *b"/#",
                Some(_) => return false,
            },
        }
        level_begins = *octet == b'/';
    }
    at == topic.len()
}

/// Whether every topic name that `inner` matches is matched by `outer` too. Linear in their length.
pub fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.as_bytes(), inner.as_bytes());
    // Only a filter whose first level is literal reaches names that start with `$`.
    if is_dollar(inner) && matches!(split(outer), (b"+", _) | (b"#", None)) {
        return false;
    }
    // `a/#` matches `a`, but every name has a first level, and the empty string is no name: these two have no parent.
    inner = match inner {
        b"#" => b"+/#",
        b"/#" => b"/+/#",
        other => other,
    };
    loop {
        let (wide, outer_rest) = split(outer);
        if wide == b"#" && outer_rest.is_none() {
            return true;
        }
        let (narrow, inner_rest) = split(inner);
        if narrow == b"#" && inner_rest.is_none() {
            return false;
        }
        if wide != b"+" && wide != narrow {
            return false;
        }
        match (outer_rest, inner_rest) {
            (None, None) => return true,
            (rest, None) => return is_hash(rest),
            (None, Some(_)) => return false,
            (Some(o), Some(i)) => (outer, inner) = (o, i),
        }
    }
}

/// Whether some topic name is matched by both filters. Linear in their length.
pub fn overlaps(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let wild = |filter| matches!(split(filter), (b"+", _) | (b"#", None));
    if (is_dollar(a) && wild(b)) || (is_dollar(b) && wild(a)) {
        return false;
    }
    // They would meet in the empty string, which is no name.
    if matches!((a, b), (b"+", b"/#") | (b"/#", b"+")) {
        return false;
    }
    loop {
        let ((left, a_rest), (right, b_rest)) = (split(a), split(b));
        if (left == b"#" && a_rest.is_none()) || (right == b"#" && b_rest.is_none()) {
            return true;
        }
        if left != b"+" && right != b"+" && left != right {
            return false;
        }
        match (a_rest, b_rest) {
            (None, None) => return true,
            (rest, None) | (None, rest) => return is_hash(rest),
            (Some(x), Some(y)) => (a, b) = (x, y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("ä/+", "ä/ö", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    /// Every string of one to `depth` levels from an alphabet.
    fn enumerate(alphabet: &[&str], depth: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut last: Vec<String> = alphabet.iter().map(|s| (*s).to_owned()).collect();
        for _ in 0..depth {
            all.extend(last.iter().cloned());
            last = last.iter().flat_map(|head| alphabet.iter().map(move |tail| format!("{head}/{tail}"))).collect();
        }
        all
    }

    /// The rules, said as plainly as possible.
    fn reference(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => reference(filter, topic),
            ([level, filter @ ..], [name, topic @ ..]) => level == name && reference(filter, topic),
            _ => false,
        }
    }

    fn reference_matches(filter: &str, topic: &str) -> bool {
        let filter: Vec<_> = filter.split('/').collect();
        let topic: Vec<_> = topic.split('/').collect();
        if topic[0].starts_with('$') && matches!(filter[0], "+" | "#") {
            return false;
        }
        reference(&filter, &topic)
    }

    #[test]
    fn all_small_filters_agree_with_the_reference() {
        let filters: Vec<String> = enumerate(&["a", "b", "", "$x", "+", "#"], 3)
            .into_iter()
            .filter(|f| crate::topic::valid_topic_filter(f).is_ok())
            .collect();
        // One level more than the filters have, and a name that no filter says, so that sets of matched names tell
        // the difference between `+` and all the literals.
        let topics: Vec<String> =
            enumerate(&["a", "b", "", "$x", "z"], 4).into_iter().filter(|t| !t.is_empty()).collect();
        let sets: Vec<Vec<bool>> = filters
            .iter()
            .map(|filter| {
                topics
                    .iter()
                    .map(|topic| {
                        let expected = reference_matches(filter, topic);
                        assert_eq!(matches(filter, topic), expected, "{filter:?} {topic:?}");
                        expected
                    })
                    .collect()
            })
            .collect();
        assert!(filters.len() > 100 && topics.len() > 700, "{} {}", filters.len(), topics.len());
        for (a, a_set) in filters.iter().zip(&sets) {
            for (b, b_set) in filters.iter().zip(&sets) {
                let subset = b_set.iter().zip(a_set).all(|(b, a)| *a || !*b);
                let common = a_set.iter().zip(b_set).any(|(a, b)| *a && *b);
                assert_eq!(covers(a, b), subset, "covers {a:?} {b:?}");
                assert_eq!(overlaps(a, b), common, "overlaps {a:?} {b:?}");
            }
        }
    }
}
