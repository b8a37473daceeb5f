//! `HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`: what a component is called in a registry.

use std::fmt;
use std::net::IpAddr;

/// A reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The registry, with its port if one is named.
    pub(crate) host: String,
    /// The repository.
    pub(crate) repository: String,
    /// The tag; `latest` if neither it nor a digest is named.
    pub(crate) tag: Option<String>,
    /// SHA-256 of the manifest, in hexadecimal.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Reads what follows `oci://`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or("the digest after '@' is not one of sha256")?;
                if !is_digest(hex) {
                    return Err("a digest has 64 hexadecimal digits in lower case");
                }
                (name, Some(hex.to_owned()))
            }
            None => (text, None),
        };
        let (host, path) = name.split_once('/').ok_or("there is no '/' between registry and repository")?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        // Distribution specification, "Pulling manifests".
        let word = |part: &str| {
            let bound = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let bytes = part.as_bytes();
            bound(bytes.first().copied())
                && bound(bytes.last().copied())
                && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
        };
        if repository.len() > 255 || !repository.split('/').all(word) {
            return Err("the repository is not lower-case words with '/' between them");
        }
        let is_tag = |tag: &String| {
            (1..=128).contains(&tag.len())
                && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !tag.starts_with(['.', '-'])
        };
        if !tag.as_ref().is_none_or(is_tag) {
            return Err("the tag is not up to 128 letters, digits, '.', '_' and '-'");
        }
        let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        if !is_host || format!("http://{host}/").parse::<hyper::Uri>().is_err() {
            return Err("the registry is not a host, or a host and a port");
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }

    /// What the manifest is asked for by.
    pub(super) fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Whether the registry is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let name = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// 64 hexadecimal digits in lower case.
pub(super) fn is_digest(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let digest = "0123456789abcdef".repeat(4);
        for (text, host, repository, manifest) in [
            ("registry.example/policies/badge:1.2", "registry.example", "policies/badge", "1.2".to_owned()),
            ("127.0.0.1:5000/badge", "127.0.0.1:5000", "badge", "latest".to_owned()),
            (&format!("[::1]:5000/a/b@sha256:{digest}"), "[::1]:5000", "a/b", format!("sha256:{digest}")),
            (&format!("r.example/a:1@sha256:{digest}"), "r.example", "a", format!("sha256:{digest}")),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!((reference.host.as_str(), reference.repository.as_str()), (host, repository), "{text}");
            assert_eq!(reference.manifest(), manifest);
            assert_eq!(Reference::parse(reference.to_string().strip_prefix("oci://").unwrap()), Ok(reference));
        }
        for wrong in [
            "",
            "badge",
            "/badge",
            "r.example/",
            "r.example/A",
            "r.example/../x",
            "r.example/a:",
            "r.example/a:.x",
            "r.example/a@sha256:12",
            "r.example/a@md5:12",
            "u:p@r.example/a",
            "r.example/a?b",
            "r example/a",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |host: &str| Reference::parse(&format!("{host}/a")).unwrap().is_loopback();
        for yes in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is(yes), "{yes}");
        }
        for no in ["localhost.example", "127.0.0.1.example:5000", "10.0.0.1", "r.example"] {
            assert!(!is(no), "{no}");
        }
    }
}
