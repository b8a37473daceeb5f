//! The policies that the gateway carries: components, and what each may use when its entry does not say.

use serde_json::{Map, Value};

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
    /// What else it needs if its configuration asks for it.
    more: Option<More>,
    /// Whether it keeps something.
    keyvalue: bool,
    /// Whether it asks others by HTTP if it is configured to: whom, its entry must say.
    http: bool,
}

/// What a policy needs for a part of its configuration, and can do without otherwise.
#[derive(Clone, Copy)]
struct More {
    /// Whether the configuration has that part.
    asked: fn(&Map<String, Value>) -> bool,
    /// The interfaces of the contract that nothing else of it uses.
    interfaces: &'static [&'static str],
    /// What of the directory.
    directory: DirectoryAccess,
    /// Further keys.
    keys: &'static [&'static str],
}

/// Tokens of the gateway's own: signed, revoked, and given to devices that are activated.
const OISP: More = More {
    asked: |config| config.contains_key("oisp"),
    interfaces: &["directory-admin"],
    directory: DirectoryAccess::Write,
    keys: &["gateway-rs256"],
};

/// Tokens that the gateway issues as a Keystone, and revokes.
const LOCAL: More = More {
    asked: |config| config.get("mode").is_none_or(|mode| mode != "upstream"),
    interfaces: &["directory-admin"],
    directory: DirectoryAccess::Write,
    keys: &["gateway-es256"],
};

macro_rules! bundled {
    ($name:literal, directory: $directory:expr, keys: $keys:expr, more: $more:expr, keyvalue: $keyvalue:literal, http: $http:literal) => {
        Builtin {
            name: $name,
            component: include_bytes!(concat!("../../policies/prebuilt/", $name, ".wasm")),
            directory: $directory,
            keys: $keys,
            more: $more,
            keyvalue: $keyvalue,
            http: $http,
        }
    };
}

const ALL: &[Builtin] = &[
    bundled!("anonymous", directory: None, keys: None, more: None, keyvalue: false, http: false),
    bundled!("api-key", directory: Some(DirectoryAccess::Read), keys: None, more: None, keyvalue: false, http: false),
    bundled!("device", directory: Some(DirectoryAccess::Read), keys: None, more: None, keyvalue: false, http: false),
    bundled!("jwt", directory: Some(DirectoryAccess::Read), keys: Some(&[]), more: Some(OISP), keyvalue: false, http: false),
    bundled!("keystone", directory: Some(DirectoryAccess::Read), keys: Some(&[]), more: Some(LOCAL), keyvalue: true, http: true),
    bundled!("layer", directory: Some(DirectoryAccess::Write), keys: Some(&["gateway-rs256"]), more: None, keyvalue: true, http: false),
];

impl Builtin {
    /// What it may use when its entry has no `allow`: what this configuration of it uses.
    pub(crate) fn allow(&self, config: &Map<String, Value>) -> Allow {
        self.with(self.more.filter(|more| (more.asked)(config)))
    }

    /// What it may use at most, however it is configured.
    pub(crate) fn most(&self) -> Allow {
        self.with(self.more)
    }

    fn with(&self, more: Option<More>) -> Allow {
        let keys = self.keys.map(|names| {
            let more = more.map_or(&[][..], |more| more.keys);
            names.iter().chain(more).map(|name| Located::nowhere((*name).to_owned())).collect()
        });
        let directory = more.map(|more| more.directory).or(self.directory);
        Allow { directory, keys, keyvalue: self.keyvalue, http: self.http.then(Vec::new) }
    }

    /// The interfaces that it imports and can do without.
    pub(crate) fn optional(&self) -> &'static [&'static str] {
        self.more.map_or(&[], |more| more.interfaces)
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
        let manifest: Value = serde_json::from_str(include_str!("../../policies/prebuilt/manifest.json")).unwrap();
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
