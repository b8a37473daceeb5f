//! The dependencies keep the rules of `deny.toml`: licences, bans, sources. What cargo-deny checks, without a tool that
//! must be installed and without the network; advisories need a database that is elsewhere.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::Command;

use portcullis_tests::binary::root;
use toml::Table;

/// A package that is compiled.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// A path or an address; none for the registry.
    origin: Option<String>,
    licence: String,
}

/// Every package that is compiled, for the gateway and for the policies that it carries.
fn packages() -> BTreeSet<Package> {
    let mut found = BTreeSet::new();
    for manifest in ["Cargo.toml", "policies/Cargo.toml"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // `cargo metadata` also lists optional dependencies that nothing switches on.
        let output = Command::new(cargo)
            .args(["tree", "--workspace", "--all-features", "--locked", "--prefix", "none"])
            .args(["--edges", "normal,build,dev", "--format", "{p}|{l}", "--manifest-path", manifest])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()) {
            let (package, licence) = line.trim_end_matches(" (*)").split_once('|').expect("package|licence");
            // `name v1.2.3`, `name v1.2.3 (proc-macro)`, `name v1.2.3 (/path)`, `name v1.2.3 (https://…)`.
            let mut words = package.splitn(3, ' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap());
            let origin = words.next().unwrap_or_default().replace("(proc-macro)", "");
            let origin = origin.trim().trim_matches(['(', ')']);
            found.insert(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                origin: (!origin.is_empty()).then(|| origin.to_owned()),
                licence: licence.to_owned(),
            });
        }
    }
    assert!(found.len() > 100, "the whole graph is looked at, not {} packages", found.len());
    found
}

fn rules() -> Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

#[test]
fn licences_are_allowed_ones() {
    let rules = rules();
    let allowed: HashSet<&str> =
        rules["licenses"]["allow"].as_array().unwrap().iter().map(|licence| licence.as_str().unwrap()).collect();
    let packages = packages();
    let refused: Vec<&Package> = packages.iter().filter(|package| !permits(&package.licence, &allowed)).collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn nothing_is_banned_and_everything_comes_from_the_registry() {
    let rules = rules();
    let banned: HashMap<&str, &str> = rules["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| (ban["crate"].as_str().unwrap(), ban["reason"].as_str().unwrap()))
        .collect();
    for package in packages() {
        let Package { name, origin, .. } = &package;
        assert!(!banned.contains_key(name.as_str()), "{name} is banned: {}", banned[name.as_str()]);
        let own = origin.as_ref().is_none_or(|origin| origin.starts_with(root().to_str().unwrap()));
        assert!(own, "{package:?} comes neither from the registry nor from this repository");
    }
}

/// Whether an SPDX expression can be satisfied with these licences. The old `/` means OR.
fn permits(expression: &str, allowed: &HashSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = any(&mut words, allowed);
    permitted && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &HashSet<&str>) -> bool {
    let mut permitted = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        permitted |= all(words, allowed);
    }
    permitted
}

fn all(words: &mut Words<'_>, allowed: &HashSet<&str>) -> bool {
    let mut permitted = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed);
    }
    permitted
}

fn one(words: &mut Words<'_>, allowed: &HashSet<&str>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let permitted = any(words, allowed);
        return words.next() == Some(")") && permitted;
    }
    let Some(mut licence) = words.next().map(str::to_owned) else { return false };
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(licence.as_str())
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = HashSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for good in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR MIT", "ISC AND (GPL-3.0 OR MIT)", "Apache-2.0 WITH LLVM-exception"] {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT", "MIT)", "", "MIT AND (GPL-3.0)"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}

/// The README says of each dependency why it is there.
#[test]
fn the_readme_gives_a_reason_for_each() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("\n## Dependencies\n").expect("a table of dependencies");
    let (table, _) = table.split_once("\n## ").expect("the end of the table");
    let manifest: Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let dependencies = manifest["workspace"]["dependencies"].as_table().unwrap();
    let unexplained: Vec<&String> = dependencies
        .iter()
        .filter(|(name, what)| what.get("path").is_none() && !table.contains(&format!("`{name}`")))
        .map(|(name, _)| name)
        .collect();
    assert!(unexplained.is_empty(), "no reason is given for {unexplained:?}");
}
