//! The contract as this gateway knows it: its text, and the names in it.

/// The package.
pub(crate) const PACKAGE: &str = "portcullis:policy";
/// The version that this gateway speaks.
pub(crate) const VERSION: &str = "0.1.0";

/// The WIT package that this gateway was built with, one `(file name, text)` for each file.
pub const WIT: &[(&str, &str)] = &[
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("authentication.wit", include_str!("../../../wit/authentication.wit")),
    ("descriptor.wit", include_str!("../../../wit/descriptor.wit")),
    ("peer.wit", include_str!("../../../wit/peer.wit")),
    ("host.wit", include_str!("../../../wit/host.wit")),
    ("jose.wit", include_str!("../../../wit/jose.wit")),
    ("http.wit", include_str!("../../../wit/http.wit")),
    ("directory.wit", include_str!("../../../wit/directory.wit")),
    ("message-filter.wit", include_str!("../../../wit/message-filter.wit")),
];

/// Interfaces that every policy may import.
pub(crate) const BASE: [&str; 6] = ["types", "peer", "log", "clock", "random", "config"];

/// Interfaces that are granted by name, and the line of the policy's entry that grants each.
pub(crate) const GRANTED: [(&str, &str); 5] = [
    ("jose", r#"allow = { keys = ["…"] }"#),
    ("store", "allow = { keyvalue = true }"),
    ("http-client", r#"allow = { http = ["host:port"] }"#),
    ("directory", r#"allow = { directory = "read" }"#),
    ("directory-admin", r#"allow = { directory = "write" }"#),
];

/// The version of the contract that this gateway speaks.
#[must_use]
pub fn contract_version() -> &'static str {
    VERSION
}

/// The line of a policy's entry that grants an interface. None: it needs no granting, or there is no such interface.
#[must_use]
pub fn granting_line(interface: &str) -> Option<&'static str> {
    GRANTED.iter().find(|(name, _)| *name == interface).map(|(_, line)| *line)
}

/// Interfaces that the gateway calls.
pub(crate) const EXPORTS: [&str; 7] = [
    "descriptor",
    "authentication",
    "enhanced-authentication",
    "renewal",
    "authorization",
    "http-endpoint",
    "message-filter",
];

/// The functions of an interface, as the contract's text has them. None: there is no such interface.
pub(crate) fn functions(interface: &str) -> Option<Vec<&'static str>> {
    WIT.iter().find_map(|(_, text)| {
        let start = text.find(&format!("\ninterface {interface} {{"))?;
        let body = &text[start + 1..];
        let body = &body[..body.find("\n}").unwrap_or(body.len())];
        Some(body.lines().filter_map(|line| line.trim().split_once(": func(")).map(|(name, _)| name).collect())
    })
}

/// What must agree between two versions: before 1.0 the second number, from then on the first.
pub(crate) fn track(version: &str) -> String {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if major == "0" { format!("0.{minor}") } else { major.to_owned() }
}

/// `package/interface@version`, in parts.
pub(crate) fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (package, rest) = name.split_once('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some((package, interface, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_found_in_the_text() {
        for interface in BASE.iter().chain(&EXPORTS).copied().chain(GRANTED.iter().map(|g| g.0)) {
            let found = functions(interface).unwrap_or_else(|| panic!("no interface {interface}"));
            assert_eq!(found.is_empty(), interface == "types", "{interface}: {found:?}");
        }
        assert_eq!(functions("jose").expect("jose"), ["verify", "decode-unverified", "sign", "public-keys"]);
        assert_eq!(functions("nonsense"), None);
    }

    #[test]
    fn the_text_is_of_the_version() {
        assert!(WIT.iter().all(|(_, text)| text.contains(&format!("package {PACKAGE}@{VERSION};"))));
    }

    #[test]
    fn versions_agree_by_track() {
        assert_eq!(track("0.1.7"), track(VERSION));
        assert_ne!(track("0.2.0"), track(VERSION));
        assert_eq!(track("1.2.0"), track("1.0.0"));
    }
}
