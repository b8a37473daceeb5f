//! Which policy serves which paths.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_grant::{Gatekeeper, HttpEndpoint};
use portcullis_net::request::resolve_dot_segments;
use thiserror::Error;

/// A policy's HTTP interface at a prefix.
#[derive(Clone)]
pub struct Mount {
    /// A path such as `/v3`: it serves `/v3` and everything below `/v3/`. `/` serves everything.
    pub prefix: String,
    /// Who answers.
    pub endpoint: Arc<dyn HttpEndpoint>,
    /// Who is asked first. None: the endpoint looks at credentials itself.
    pub guard: Option<Arc<dyn Gatekeeper>>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("prefix", &self.prefix).field("guarded", &self.guard.is_some()).finish()
    }
}

/// Why a table of mounts makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MountError {
    /// Not a path in its plain form.
    #[error("`{0}` cannot be mounted: write a path that begins with `/`, without `.`, `..`, `?`, `#` or percent signs")]
    NotAPath(String),
    /// Two policies at one path.
    #[error("two policies are mounted at `{0}`; give each a prefix of its own")]
    Twice(String),
}

/// A checked table. The longest prefix wins.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    /// Longest first, without the slash at the end.
    mounts: Vec<Mount>,
}

impl Mounts {
    /// Checks and sorts.
    ///
    /// # Errors
    /// A prefix is no path, or there twice.
    pub fn new(mounts: Vec<Mount>) -> Result<Self, MountError> {
        let mut table: Vec<Mount> = Vec::with_capacity(mounts.len());
        for mut mount in mounts {
            let plain = mount.prefix.starts_with('/')
                && !mount.prefix.contains(['?', '#', '%'])
                && resolve_dot_segments(&mount.prefix) == mount.prefix;
            if !plain {
                return Err(MountError::NotAPath(mount.prefix));
            }
            mount.prefix.truncate(mount.prefix.trim_end_matches('/').len());
            if table.iter().any(|other| other.prefix == mount.prefix) {
                return Err(MountError::Twice(if mount.prefix.is_empty() { "/".to_owned() } else { mount.prefix }));
            }
            table.push(mount);
        }
        table.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        Ok(Self { mounts: table })
    }

    /// Who serves a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Mount> {
        let path = plain(path);
        self.mounts.iter().find(|mount| {
            path.strip_prefix(mount.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// The path with needless percent-encoding undone (RFC 3986 §6.2.2.2). A policy may decode it later; without this,
/// `/%61dmin` would slip past the guard of `/admin` to whoever serves `/`.
fn plain(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let octet = escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        match octet.filter(|octet| octet.is_ascii_alphanumeric() || "-._~".contains(*octet)) {
            Some(octet) => {
                plain.push(octet);
                rest = escape.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('%');
                rest = escape.get(1..).unwrap_or_default();
            }
        }
    }
    plain.push_str(rest);
    resolve_dot_segments(&plain)
}

/// A table that listeners share and that is replaced in one step. Requests under way end with whoever began them.
#[derive(Clone, Debug, Default)]
pub struct MountTable {
    mounts: Arc<ArcSwap<Mounts>>,
}

impl MountTable {
    /// A shared table.
    #[must_use]
    pub fn new(mounts: Mounts) -> Self {
        Self { mounts: Arc::new(ArcSwap::from_pointee(mounts)) }
    }

    /// Puts another in its place.
    pub fn replace(&self, mounts: Mounts) {
        self.mounts.store(Arc::new(mounts));
    }

    /// The table now.
    #[must_use]
    pub fn current(&self) -> Arc<Mounts> {
        self.mounts.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_grant::{BoxFuture, ConnectionFacts, HttpAnswer, HttpCall};
    use proptest::prelude::*;

    struct Nobody;

    impl HttpEndpoint for Nobody {
        fn handle(&self, _: ConnectionFacts, _: HttpCall) -> BoxFuture<'_, HttpAnswer> {
            Box::pin(async { HttpAnswer { status: 204, headers: Vec::new(), body: Vec::new() } })
        }
    }

    fn mounts(prefixes: &[&str]) -> Result<Mounts, MountError> {
        let mount = |prefix: &&str| Mount { prefix: (*prefix).to_owned(), endpoint: Arc::new(Nobody), guard: None };
        Mounts::new(prefixes.iter().map(mount).collect())
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = mounts(&["/v3", "/", "/v3/auth/"]).unwrap();
        for (path, expected) in [
            ("/v3", "/v3"),
            ("/v3/", "/v3"),
            ("/v30", ""),
            ("/v3/auth", "/v3/auth"),
            ("/v3/auth/tokens", "/v3/auth"),
            ("/v3/authority", "/v3"),
            ("/", ""),
            ("/%763/%61uth/x", "/v3/auth"),
            ("/v3/%2e%2e/x", ""),
            ("/v3%2Fauth", ""),
        ] {
            assert_eq!(table.find(path).unwrap().prefix, expected, "{path}");
        }
        assert!(mounts(&["/v3"]).unwrap().find("/v4").is_none());
    }

    #[test]
    fn prefixes_are_checked() {
        assert_eq!(mounts(&["v3"]).unwrap_err(), MountError::NotAPath("v3".to_owned()));
        for bad in ["", "/a?b", "/a#b", "/a%20b", "/a/../b", "/./a"] {
            assert!(mounts(&[bad]).is_err(), "{bad}");
        }
        assert_eq!(mounts(&["/v3", "/v3/"]).unwrap_err(), MountError::Twice("/v3".to_owned()));
        assert_eq!(mounts(&["/", "/"]).unwrap_err(), MountError::Twice("/".to_owned()));
    }

    proptest! {
        #[test]
        fn no_encoding_of_a_letter_changes_who_serves(tail in "[a-z/.]{0,8}", encode in prop::collection::vec(any::<bool>(), 16)) {
            let table = mounts(&["/admin", "/"]).unwrap();
            let path = format!("/admin/{tail}");
            let encoded: String = path
                .chars()
                .zip(encode.iter().cycle())
                .map(|(c, yes)| if *yes && c != '/' { format!("%{:02X}", c as u32) } else { c.to_string() })
                .collect();
            prop_assert_eq!(&table.find(&encoded).unwrap().prefix, &table.find(&path).unwrap().prefix);
        }

        #[test]
        fn any_path_is_survived(path in any::<String>()) {
            let _ = mounts(&["/a"]).unwrap().find(&path);
        }
    }
}
