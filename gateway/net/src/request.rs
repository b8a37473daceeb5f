//! Reading the target of an HTTP request, the same for the WebSocket upgrade and the HTTP room.

/// A request target (RFC 9112 §3.2) in origin or absolute form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The authority of the absolute form. It wins over the Host header (§3.2.2).
    pub authority: Option<&'a str>,
    /// The path, dot segments resolved, percent-encoded as received. Begins with `/`.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. None: neither form, such as `*` or `host:port`.
    #[must_use]
    pub fn parse(target: &'a str) -> Option<Self> {
        let (authority, origin) = if target.starts_with('/') {
            (None, target)
        } else {
            let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"))?;
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, origin) = rest.split_at(end);
            if authority.is_empty() {
                return None;
            }
            (Some(authority), origin)
        };
        // A fragment is no part of a request.
        if origin.contains('#') {
            return None;
        }
        let (path, query) = origin.split_once('?').map_or((origin, None), |(path, query)| (path, Some(query)));
        Some(Self { authority, path: resolve_dot_segments(path), query })
    }
}

/// Removes `.` and `..` segments (RFC 3986 §5.2.4), also when the dots are percent-encoded, so that no path reaches
/// another mount than the one that its text shows. Never climbs above `/`.
#[must_use]
pub fn resolve_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let dots = dots(segment);
        if dots == Some(2) {
            kept.pop();
        }
        match dots {
            // The last segment leaves its slash behind.
            Some(_) if segments.peek().is_none() => kept.push(""),
            Some(_) => {}
            None => kept.push(segment),
        }
    }
    let mut resolved = String::with_capacity(path.len() + 1);
    for segment in kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if resolved.is_empty() { "/".to_owned() } else { resolved }
}

/// 1 for `.`, 2 for `..`, percent-encoded or not.
fn dots(segment: &str) -> Option<u8> {
    let mut count = 0;
    let mut rest = segment;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e")).or_else(|| rest.strip_prefix("%2E"))?;
        count += 1;
        if count > 2 {
            return None;
        }
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dot_segments_are_resolved() {
        for (path, resolved) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//b/", "/a//b/"),
            ("/v3/%2e%2E/admin", "/admin"),
            ("/v3/.%2e/admin", "/admin"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(resolve_dot_segments(path), resolved, "{path}");
        }
    }

    #[test]
    fn targets_come_in_two_forms() {
        let origin = Target::parse("/mqtt?a=b?c").unwrap();
        assert_eq!(origin, Target { authority: None, path: "/mqtt".to_owned(), query: Some("a=b?c") });
        let absolute = Target::parse("http://gateway:8080?x").unwrap();
        assert_eq!(absolute, Target { authority: Some("gateway:8080"), path: "/".to_owned(), query: Some("x") });
        for bad in ["*", "", "gateway:443", "http://", "http:///x", "/a#b", "ftp://h/"] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_dot_segment_survives(path in "(/(\\.|%2e|%2E|a|b){0,3}){0,6}") {
            let resolved = resolve_dot_segments(&path);
            prop_assert!(resolved.starts_with('/'));
            prop_assert!(resolved.split('/').all(|segment| dots(segment).is_none()), "{}", resolved);
            prop_assert_eq!(resolve_dot_segments(&resolved), resolved.clone());
        }
    }
}
