//! Reads what a component says of itself, before anything is linked or run, so that each refusal is a sentence with a mend.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::contract::{BASE, EXPORTS, GRANTED, PACKAGE, VERSION, functions, split, track};
use crate::spec::{Allow, DirectoryAccess, Fault};

/// The largest component that is taken.
const MAX_COMPONENT: usize = 64 << 20;

/// Which abilities a component has and what it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The interfaces of the contract that it exports, such as `authentication`.
    pub exports: Vec<String>,
    /// The interfaces of the contract that it imports, such as `jose`.
    pub imports: Vec<String>,
    /// Whether it imports anything of WASI, which it gets in empty form.
    pub wasi: bool,
}

impl Abilities {
    /// Whether it exports an interface of the contract.
    #[must_use]
    pub fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|e| e == interface)
    }

    pub(crate) fn imports(&self, interface: &str) -> bool {
        self.imports.iter().any(|i| i == interface)
    }
}

/// Looks at the first octets: is this a component at all?
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() > MAX_COMPONENT {
        return Err(Fault::TooLarge { octets: bytes.len(), limit: MAX_COMPONENT });
    }
    // The component-model binary format: the magic of Wasm, then a version and a layer of two octets each. Layer 0 is a
    // core module.
    match bytes {
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => Err(Fault::CoreModule),
        [0, b'a', b's', b'm', _, _, _, _, ..] => Ok(()),
        _ => Err(Fault::NotWasm),
    }
}

/// Whether an interface is granted by the policy's entry.
pub(crate) fn granted(allow: &Allow, interface: &str) -> bool {
    match interface {
        "jose" => allow.keys.is_some(),
        "store" => allow.keyvalue,
        "http-client" => allow.http.is_some(),
        "directory" => allow.directory >= DirectoryAccess::Read,
        "directory-admin" => allow.directory >= DirectoryAccess::Write,
        _ => BASE.contains(&interface),
    }
}

/// Whether the gateway offers something of WASI 0.2.
fn wasi_offered(package: &str, version: &str) -> bool {
    let offered = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];
    offered.contains(&package) && version.starts_with("0.2.")
}

/// Reads imports and exports, and refuses with everything that is wrong at once.
pub(crate) fn inspect(
    engine: &Engine,
    component: &Component,
    allow: &Allow,
    optional: &[&str],
) -> Result<Abilities, Fault> {
    let kind = component.component_type();
    let mut found = Abilities::default();
    let mut problems = Vec::new();
    for (name, item) in kind.imports(engine) {
        match split(name) {
            Some((PACKAGE, _, version)) if track(version) != track(VERSION) => return Err(other_version(version)),
            Some((PACKAGE, interface, version)) => {
                if !optional.contains(&interface)
                    && let Err(why) = import(allow, interface, version)
                {
                    problems.push(why);
                }
                if let ComponentItem::ComponentInstance(instance) = &item.ty {
                    let ours = functions(interface).unwrap_or_default();
                    for (function, export) in instance.exports(engine) {
                        if matches!(export.ty, ComponentItem::ComponentFunc(_))
                            && !ours.is_empty()
                            && !ours.contains(&function)
                        {
                            problems.push(format!(
                                "it calls `{interface}.{function}`, which {PACKAGE} {VERSION} of this gateway does not have (it was built for {version})"
                            ));
                        }
                    }
                }
                found.imports.push(interface.to_owned());
            }
            Some((package, _, version)) if package.starts_with("wasi:") => {
                found.wasi = true;
                if !wasi_offered(package, version) {
                    problems.push(format!(
                        "it imports `{name}`, which this gateway does not offer: of WASI there is only 0.2's cli, clocks, filesystem, io, random and sockets, and those empty"
                    ));
                }
            }
            _ => problems.push(format!("it imports `{name}`, which is not part of {PACKAGE}")),
        }
    }
    let mut others = Vec::new();
    for (name, item) in kind.exports(engine) {
        match split(name) {
            Some((PACKAGE, _, version)) if track(version) != track(VERSION) => return Err(other_version(version)),
            Some((PACKAGE, interface, _)) if EXPORTS.contains(&interface) => found.exports.push(interface.to_owned()),
            Some((PACKAGE, interface, _)) if functions(interface).is_none() => {
                problems.push(format!("it exports `{interface}`, which {PACKAGE} {VERSION} does not have"));
            }
            // A types interface that it re-exports, or an ability that is not called yet.
            Some((PACKAGE, ..)) => {}
            _ => others.push(match item.ty {
                ComponentItem::ComponentFunc(_) => format!("the function `{name}`"),
                _ => format!("`{name}`"),
            }),
        }
    }
    if !["authentication", "http-endpoint", "message-filter"].iter().any(|interface| found.exports(interface)) {
        let instead = if others.is_empty() { String::new() } else { format!(" (it exports {})", others.join(", ")) };
        problems.insert(
            0,
            format!("it is a component, but not a policy: it exports none of `{PACKAGE}/authentication`, `{PACKAGE}/http-endpoint` and `{PACKAGE}/message-filter`{instead}"),
        );
    }
    if problems.is_empty() { Ok(found) } else { Err(Fault::Contract(problems)) }
}

fn import(allow: &Allow, interface: &str, version: &str) -> Result<(), String> {
    if granted(allow, interface) {
        return Ok(());
    }
    Err(match GRANTED.iter().find(|(name, _)| *name == interface) {
        Some((_, how)) => {
            format!("it imports `{interface}`, which its entry does not grant: add `{how}`, or build it without")
        }
        None => {
            format!("it imports `{interface}` of {PACKAGE} {version}, which this gateway ({VERSION}) does not have")
        }
    })
}

fn other_version(version: &str) -> Fault {
    Fault::Contract(vec![format!(
        "it was built for {PACKAGE} {version}; this gateway speaks {VERSION}: rebuild it with this gateway's WIT package, or use a gateway that speaks {}",
        track(version)
    )])
}
