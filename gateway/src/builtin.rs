//! The policies that the gateway carries: components, and what each may use when its entry does not say.

use crate::config::{Allow, DirectoryAccess, Located};

/// A bundled component.
#[derive(Clone, Copy)]
pub(crate) struct Builtin {
    /// What `builtin:NAME` and the chains of listeners call it.
    pub(crate) name: &'static str,
    /// The component, as `policies/build` made it.
    pub(crate) component: &'static [u8],
    /// What of the directory it needs.
    directory: Option<DirectoryAccess>,
    /// The keys that it needs by name; none: it neither verifies nor signs tokens.
    keys: Option<&'static [&'static str]>,
    /// Whether it keeps something.
    keyvalue: bool,
    /// Whether it asks others by HTTP if it is configured to: whom, its entry must say.
    http: bool,
}

macro_rules! bundled {
    ($name:literal, directory: $directory:expr, keys: $keys:expr, keyvalue: $keyvalue:literal, http: $http:literal) => {
        Builtin {
            name: $name,
            component: include_bytes!(concat!("../../policies/prebuilt/", $name, ".wasm")),
            directory: $directory,
            keys: $keys,
            keyvalue: $keyvalue,
            http: $http,
        }
    };
}

const ALL: &[Builtin] = &[
    bundled!("anonymous", directory: None, keys: None, keyvalue: false, http: false),
    bundled!("api-key", directory: Some(DirectoryAccess::Read), keys: None, keyvalue: false, http: false),
    bundled!("device", directory: Some(DirectoryAccess::Read), keys: None, keyvalue: false, http: false),
    bundled!("jwt", directory: Some(DirectoryAccess::Write), keys: Some(&["gateway-rs256"]), keyvalue: false, http: false),
    bundled!("keystone", directory: Some(DirectoryAccess::Write), keys: Some(&["gateway-es256"]), keyvalue: true, http: true),
    bundled!("layer", directory: Some(DirectoryAccess::Write), keys: Some(&["gateway-rs256"]), keyvalue: true, http: false),
];

impl Builtin {
    /// What it may use when its entry has no `allow`.
    pub(crate) fn allow(&self) -> Allow {
        Allow {
            directory: self.directory,
            keys: self.keys.map(|names| names.iter().map(|name| Located::nowhere((*name).to_owned())).collect()),
            keyvalue: self.keyvalue,
            http: self.http.then(Vec::new),
        }
    }
}

/// The one with this name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

/// All names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|builtin| builtin.name)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn what_is_carried_is_what_the_manifest_lists() {
        let manifest: serde_json::Value =
            serde_json::from_str(include_str!("../../policies/prebuilt/manifest.json")).unwrap();
        let listed = manifest["policies"].as_array().unwrap();
        assert_eq!(
            listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect::<Vec<_>>(),
            names().collect::<Vec<_>>()
        );
        for (entry, builtin) in listed.iter().zip(ALL) {
            let digest: String = Sha256::digest(builtin.component).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(entry["sha256"], digest.as_str(), "{}", builtin.name);
        }
    }
}
