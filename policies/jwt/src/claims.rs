//! Finding claims by a path.

use std::borrow::Cow;

use policy_support::template::{LIST_LIMIT, Value as Filling};
use serde_json::Value;

/// The most steps of a path.
const DEPTH: usize = 16;

/// The value at a path such as `realm_access.roles`. A member whose name is the whole (rest of the) path wins over a step
/// down, so that names with dots in them, such as `https://example.com/roles`, are found.
pub(crate) fn find<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    fn step<'a>(value: &'a Value, path: &str, depth: usize) -> Option<&'a Value> {
        let object = value.as_object()?;
        if let Some(found) = object.get(path) {
            return Some(found);
        }
        if depth == 0 {
            return None;
        }
        path.match_indices('.').find_map(|(dot, _)| step(object.get(&path[..dot])?, &path[dot + 1..], depth - 1))
    }
    step(claims, path, DEPTH)
}

/// The texts of a claim: one, or those of a list.
///
/// # Errors
/// It is of another kind, in words that continue "it …".
pub(crate) fn texts(value: Option<&Value>) -> Result<Filling<'_>, &'static str> {
    const KIND: &str = "is neither a string nor a list of strings";
    match value {
        None | Some(Value::Null) => Ok(Filling::Missing),
        Some(Value::String(text)) => Ok(Filling::One(Cow::Borrowed(text))),
        Some(Value::Array(items)) if items.len() > LIST_LIMIT => Err("has more than 1,024 elements"),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(Cow::Borrowed)).collect::<Option<Vec<_>>>();
            texts.map(Filling::Many).ok_or(KIND)
        }
        Some(_) => Err(KIND),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, texts};
    use policy_support::template::Value as Filling;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_claims() {
        let claims = json!({
            "sub": "ann",
            "realm_access": { "roles": ["a"] },
            "https://example.com/roles": ["b"],
            "a.b": { "c": 1 },
            "a": { "b": { "c": 2, "d": 3 } },
        });
        for (path, expected) in [
            ("sub", json!("ann")),
            ("realm_access.roles", json!(["a"])),
            ("https://example.com/roles", json!(["b"])),
            ("a.b", json!({ "c": 1 })),
            ("a.b.c", json!(2)),
            ("a.b.d", json!(3)),
        ] {
            assert_eq!(find(&claims, path), Some(&expected), "{path}");
        }
        for path in ["", "x", "sub.x", "realm_access.", ".sub", "realm_access.roles.0"] {
            assert_eq!(find(&claims, path), None, "{path}");
        }
    }

    #[test]
    fn texts_are_one_or_many() {
        assert_eq!(texts(Some(&json!("a"))), Ok(Filling::One("a".into())));
        assert_eq!(texts(Some(&json!(["a", "b"]))), Ok(Filling::Many(vec!["a".into(), "b".into()])));
        assert_eq!(texts(None), Ok(Filling::Missing));
        for bad in [json!(1), json!({}), json!(["a", 1]), json!(true), json!(vec!["a"; 1025])] {
            assert!(texts(Some(&bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "[ab.é]{0,40}") {
            let _ = find(&json!({ "a": { "b": { "a": { "": 1 } } } }), &path);
        }
    }
}
