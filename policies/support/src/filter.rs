//! MQTT topic filters (MQTT 5 §4.7): is this one, and does one cover another.

/// Whether `filter` is a topic filter that a rule may have.
///
/// # Errors
/// What is wrong with it, in words that continue "the filter …".
pub fn check(filter: &str) -> Result<(), &'static str> {
    if filter.is_empty() {
        return Err("is empty");
    }
    if filter.len() > 65_535 {
        return Err("is longer than 65,535 octets");
    }
    if filter.contains('\0') {
        return Err("contains U+0000");
    }
    if filter.starts_with("$share/") {
        return Err(
            "begins with `$share/`: write the filter inside it, which is what a shared subscription is judged by",
        );
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.peek().is_none() => {}
            "#" => return Err("has a `#` that is not its last level"),
            _ if level.contains(['+', '#']) => return Err("has a wildcard beside other characters of its level"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether every topic that `inner` matches is matched by `outer`. Both are valid filters.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    // A filter that begins with a wildcard matches no topic that begins with `$` (§4.7.2).
    if inner.starts_with('$') && outer.starts_with(['+', '#']) {
        return false;
    }
    let mut inner_levels = inner.split('/');
    for level in outer.split('/') {
        if level == "#" {
            return true;
        }
        match (level, inner_levels.next()) {
            // `a/#` matches `a` too, so it lies within nothing that asks for one more level.
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (outer, Some(inner)) if outer == inner => {}
            _ => return false,
        }
    }
    inner_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{check, covers};
    use proptest::prelude::*;

    #[test]
    fn filters_are_checked() {
        for good in ["a", "a/b", "/", "a//b", "+", "#", "+/+/#", "$reset/x", "a b", "/#"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "a+", "a/#/b", "##", "a#", "+a/b", "a\0", "$share/g/a"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"a".repeat(65_536)).is_err());
    }

    #[test]
    fn covering() {
        for (outer, inner) in [
            ("#", "a/b/#"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/#", "a/+/c"),
            ("+/b", "a/b"),
            ("+/+", "+/b"),
            ("$reset/#", "$reset/x"),
            ("a/b", "a/b"),
        ] {
            assert!(covers(outer, inner), "{outer} covers {inner}");
        }
        for (outer, inner) in [
            ("#", "$SYS/x"),
            ("+/x", "$reset/x"),
            ("a/+", "a/#"),
            ("a/b", "a/+"),
            ("a/#", "+/b"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("a/#", "ab"),
            ("+", "#"),
        ] {
            assert!(!covers(outer, inner), "{outer} does not cover {inner}");
        }
    }

    /// The definition of a match, written independently of [`covers`]. `topic` has no wildcards.
    fn matches(filter: &str, topic: &str) -> bool {
        fn levels(filter: &[&str], topic: &[&str]) -> bool {
            match (filter.split_first(), topic.split_first()) {
                (Some((&"#", _)), _) | (None, None) => true,
                (Some((&first, rest)), Some((&level, more))) => (first == "+" || first == level) && levels(rest, more),
                _ => false,
            }
        }
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        levels(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
    }

    fn filters() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "$s", "", "+", "#"]), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a filter", |text| check(text).is_ok())
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(outer in filters(), inner in filters(),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "$s", "", "c"]), 1..6)) {
            let topic = topic.join("/");
            if covers(&outer, &inner) && matches(&inner, &topic) {
                prop_assert!(matches(&outer, &topic), "{} covers {} but does not match {}", outer, inner, topic);
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,40}", other in ".{0,40}") {
            let _ = check(&text);
            let _ = covers(&text, &other);
        }
    }
}
