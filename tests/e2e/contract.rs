//! The contract in `wit/`: it parses, every item is documented, and it keeps what was released.

use std::path::Path;

use portcullis_tests::binary::root;
use sha2::{Digest, Sha256};
use wit_parser::{PackageId, Resolve, WorldItem};

fn parse(directory: &Path) -> (Resolve, PackageId) {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let (package, _) = resolve.push_dir(directory).unwrap_or_else(|error| panic!("{}: {error:#}", directory.display()));
    (resolve, package)
}

#[test]
fn the_contract_parses_and_stands_alone() {
    let (resolve, package) = parse(&root().join("wit"));
    let name = &resolve.packages[package].name;
    assert_eq!((name.namespace.as_str(), name.name.as_str()), ("portcullis", "policy"));
    assert!(name.version.is_some(), "the package is versioned");
    assert_eq!(resolve.packages.len(), 1, "a generator for any language reads one folder");
    for world in ["authenticator", "scheme", "full"] {
        assert!(resolve.select_world(&[package], Some(world)).is_ok(), "there is a world `{world}`");
    }
}

#[test]
fn the_types_for_typescript_are_of_the_contract() {
    let mut files: Vec<_> = std::fs::read_dir(root().join("wit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wit"));
    files.sort();
    files.insert(0, root().join("examples/wit/badge.wit"));
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let digest: String = Sha256::digest(text).iter().map(|octet| format!("{octet:02x}")).collect();
    let made_of = std::fs::read_to_string(root().join("examples/badge-ts/types/contract.sha256")).unwrap();
    assert_eq!(made_of.trim(), digest, "the contract has changed: run examples/badge-ts/types.sh");
}

#[test]
fn every_interface_function_and_type_is_documented() {
    let (resolve, package) = parse(&root().join("wit"));
    let mut bare = Vec::new();
    for (name, id) in &resolve.packages[package].interfaces {
        let interface = &resolve.interfaces[*id];
        if interface.docs.contents.is_none() {
            bare.push(name.clone());
        }
        for (function, item) in &interface.functions {
            if item.docs.contents.is_none() {
                bare.push(format!("{name}.{function}"));
            }
        }
        for (defined, item) in &interface.types {
            let item = &resolve.types[*item];
            // `use` makes an alias that is documented where it comes from.
            let alias = matches!(item.kind, wit_parser::TypeDefKind::Type(_));
            if item.docs.contents.is_none() && !alias {
                bare.push(format!("{name}.{defined}"));
            }
        }
    }
    for (name, id) in &resolve.packages[package].worlds {
        if resolve.worlds[*id].docs.contents.is_none() {
            bare.push(name.clone());
        }
    }
    assert!(bare.is_empty(), "without documentation: {bare:?}");
}

/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_document_is_of_the_contract() {
    let (file, made) = (root().join("wit/README.md"), portcullis_tests::document::of(&root().join("wit")));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == made, "wit/README.md is not of these files: run the test with UPDATE_GOLDEN=1");
}

/// `wit/released/VERSION/` holds each release as it was. A policy that was built for one of them must still load.
#[test]
fn what_was_released_still_holds() {
    let Ok(releases) = std::fs::read_dir(root().join("wit/released")) else {
        // Before the first release there is nothing to be compatible with; the contract is compatible with itself.
        compare(&root().join("wit"));
        return;
    };
    for release in releases {
        compare(&release.unwrap().path());
    }
}

fn compare(old: &Path) {
    let (old_resolve, old_package) = parse(old);
    let worlds: Vec<String> = old_resolve.packages[old_package].worlds.keys().cloned().collect();
    assert!(!worlds.is_empty());
    for world in worlds {
        let (mut resolve, package) = parse(&root().join("wit"));
        let (old_resolve, old_package) = parse(old);
        let same = |version: &Option<_>| version.clone();
        // Versions of 0.x that differ in the second number promise nothing to each other (README, "the contract").
        let (then, now) = (&old_resolve.packages[old_package].name, &resolve.packages[package].name);
        if let (Some(then), Some(now)) = (same(&then.version), same(&now.version))
            && (then.major, then.minor) != (now.major, now.minor)
        {
            continue;
        }
        let before = old_resolve.select_world(&[old_package], Some(&world)).unwrap();
        let after = resolve
            .select_world(&[package], Some(&world))
            .unwrap_or_else(|_| panic!("the world `{world}` of {} is gone", old.display()));
        let exports = |resolve: &Resolve, world| {
            let count = |items: &[&WorldItem]| items.len();
            let world: &wit_parser::World = &resolve.worlds[world];
            count(&world.exports.values().collect::<Vec<_>>())
        };
        assert_eq!(
            exports(&old_resolve, before),
            exports(&resolve, after),
            "a policy of `{world}` exports what it did"
        );
        let remap = resolve.merge(old_resolve).unwrap();
        let before = remap.map_world(before, Default::default()).unwrap();
        // An old component runs in a new gateway if the new world can take the place of the old one.
        wit_component::semver_check(resolve, before, after)
            .unwrap_or_else(|error| panic!("the world `{world}` broke its promise of {}: {error:#}", old.display()));
    }
}
