//! Every change tells who depends on it, so that live connections can be looked at again; export and import.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::{Arc, mpsc};

use common::*;
use portcullis_identity::*;
use serde_json::json;

struct Heard(mpsc::Receiver<Change>, #[allow(dead_code)] Subscription);

impl Heard {
    fn by(directory: &Directory) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self(receiver, directory.subscribe(move |change| sender.send(change.clone()).unwrap()))
    }

    /// The one change that was made since.
    fn one(&self) -> (ChangeKind, Vec<String>) {
        let change = self.0.try_recv().unwrap();
        assert!(self.0.try_recv().is_err(), "one change, one event");
        (change.kind, change.dependencies)
    }
}

#[test]
fn a_change_names_the_entry_and_what_stands_or_falls_with_it() {
    let Home { directory, .. } = memory();
    let heard = Heard::by(&directory);
    let made = directory.create_user(user("ada")).unwrap();
    let own = format!("user:{}", made.id);
    assert_eq!(heard.one(), (ChangeKind::Created, vec![own.clone()]));
    let key = directory.create_key(NewKey::secret(own.clone())).unwrap().key;
    let key_name = format!("key:{}", key.id);
    assert_eq!(heard.one(), (ChangeKind::Created, vec![key_name.clone()]));

    let with_key = vec![own.clone(), key_name.clone()];
    directory.update_user(&made.id, &[pair("enabled", "false")]).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Disabled, with_key.clone()));
    directory.set_user_enabled(&made.id, true).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Updated, with_key.clone()));
    directory.set_password(&made.id, b"another password").unwrap();
    assert_eq!(heard.one(), (ChangeKind::Updated, with_key.clone()));
    directory.assign_role(&made.id, RoleAssignment { role: "r".to_owned(), scope: Scope::System }).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Updated, with_key.clone()));
    directory.revoke_key(&key.id).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Deleted, vec![key_name]));
    directory.revoke_token("jti-7", NOW + 9).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Deleted, vec!["token:jti-7".to_owned()]));
    directory.delete_user(&made.id).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Deleted, vec![own]));
}

#[test]
fn an_app_takes_its_devices_along_and_a_device_its_owners() {
    let Home { directory, .. } = memory();
    directory.create_app(app("lamps")).unwrap();
    let heard = Heard::by(&directory);
    let lamp = directory.create_device(NewDevice { app_id: Some("lamps".to_owned()), ..device("a") }).unwrap();
    let names = vec![format!("device:{}", lamp.id), "consumer:alice".to_owned(), "user:alice".to_owned()];
    assert_eq!(heard.one(), (ChangeKind::Created, names.clone()));
    directory.set_app_enabled("lamps", false).unwrap();
    assert_eq!(heard.one(), (ChangeKind::Disabled, [vec!["app:lamps".to_owned()], names.clone()].concat()));
    directory.set_device_owner(&lamp.id, Some("bob".to_owned())).unwrap();
    let both = [names, vec!["consumer:bob".to_owned(), "user:bob".to_owned()]].concat();
    assert_eq!(heard.one(), (ChangeKind::Updated, both));
    directory.delete_device(&lamp.id).unwrap();
    let names = vec![format!("device:{}", lamp.id), "consumer:bob".to_owned(), "user:bob".to_owned()];
    assert_eq!(heard.one(), (ChangeKind::Deleted, names));
}

#[test]
fn a_change_is_visible_when_it_is_told_and_nothing_is_told_of_what_failed() {
    let Home { directory, .. } = memory();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let subscription = directory.subscribe({
        let (directory, seen) = (directory.clone(), Arc::clone(&seen));
        move |change| {
            let id = change.dependencies[0].strip_prefix("app:").unwrap().to_owned();
            seen.lock().unwrap().push((directory.find_app(&id).is_some(), change.kind));
        }
    });
    directory.create_app(app("lamps")).unwrap();
    directory.create_app(app("lamps")).unwrap_err();
    directory.set_app_enabled("no", true).unwrap_err();
    directory.delete_app("lamps").unwrap();
    assert_eq!(*seen.lock().unwrap(), [(true, ChangeKind::Created), (false, ChangeKind::Deleted)]);
    drop(subscription);
    directory.create_app(app("again")).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2, "unsubscribed");
}

fn furnished() -> Home {
    let home = memory();
    let directory = &home.directory;
    let made = directory.create_user(user("ada")).unwrap();
    let parent = directory.create_project(DEFAULT_DOMAIN, "p", None, Vec::new()).unwrap();
    directory.create_project(DEFAULT_DOMAIN, "c", Some(parent.id.clone()), Vec::new()).unwrap();
    directory
        .assign_role(&made.id, RoleAssignment { role: "admin".to_owned(), scope: Scope::Project(parent.id.clone()) })
        .unwrap();
    directory.create_app(NewApp { owner_id: Some(made.id.clone()), ..app("lamps") }).unwrap();
    directory.create_device(NewDevice { app_id: Some("lamps".to_owned()), ..device("a") }).unwrap();
    directory.create_key(NewKey::secret("app:lamps")).unwrap();
    directory.revoke_token("jti", NOW + 100).unwrap();
    home
}

#[test]
fn an_export_with_secrets_is_the_whole_directory() {
    let from = furnished();
    let to = memory();
    let document = from.directory.export(true).unwrap();
    let heard = Heard::by(&to.directory);
    let imported = to.directory.import(&document).unwrap();
    assert_eq!(imported, Imported { tenants: 3, users: 1, without_password: 0, apps: 1, devices: 1, keys: 1 });
    assert!(heard.one().1.contains(&"app:lamps".to_owned()));
    assert_eq!(to.directory.export(true).unwrap(), document);
    to.directory.verify_password(UserSelector::Email("ada@example.org"), PASSWORD, None).unwrap();
    to.directory.import(&document).unwrap();
    assert_eq!(to.directory.export(true).unwrap(), document, "twice is as once");
}

#[test]
fn an_export_without_secrets_keeps_the_passwords_that_are_there() {
    let from = furnished();
    let document = from.directory.export(false).unwrap();
    assert!(!document.contains("hash") && !document.contains("password\""), "{document}");
    let imported = from.directory.import(&document).unwrap();
    assert_eq!((imported.without_password, imported.keys), (0, 0));
    from.directory.verify_password(UserSelector::Email("ada@example.org"), PASSWORD, None).unwrap();
    let to = memory();
    assert_eq!(to.directory.import(&document).unwrap().without_password, 1);
    assert_eq!(
        to.directory.verify_password(UserSelector::Email("ada@example.org"), PASSWORD, None).unwrap_err(),
        PasswordError::Wrong
    );
}

#[test]
fn a_bad_import_changes_nothing_and_says_what_is_wrong() {
    let from = furnished();
    let good = from.directory.export(true).unwrap();
    let broken = [
        ("not json".to_owned(), "not an export"),
        (good.replacen("\"version\": 1", "\"version\": 2", 1), "version"),
        (good.replacen("\"devices\"", "\"toys\"", 1), "toys"),
        (good.replace("$argon2id$", "$argon2d$"), "argon2id"),
        (good.replace("m=64,", "m=4194304,"), "argon2id"),
        (good.replace("ada@Example.org", "ada"), "e-mail"),
        (good.replace("\"app:lamps\"", "\"lamps\""), "owner"),
    ];
    for (document, word) in broken {
        assert_ne!(document, good, "{word}: the document was to be broken");
        let to = memory();
        let before = to.directory.export(true).unwrap();
        let why = to.directory.import(&document).unwrap_err();
        assert!(why.to_string().contains(word), "{word}: {why}");
        assert_eq!(to.directory.export(true).unwrap(), before);
    }
    let to = memory();
    to.directory.create_user(user("ada")).unwrap();
    let why = to.directory.import(&good).unwrap_err().to_string();
    assert!(why.contains("email is another entry's already;"), "{why}");
    assert!(why.contains("name is another entry's already"), "{why}");
}

#[test]
fn an_import_says_everything_that_is_wrong_at_once() {
    let to = memory();
    let before = to.directory.export(true).unwrap();
    let (user, project) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let person = |id: &str, name: &str, email: &str| {
        json!({ "id": id, "name": name, "domain_id": "default", "email": email, "verified": true, "enabled": true,
                "created_at": 1, "updated_at": 1, "password_expires_at": null, "attributes": [] })
    };
    let place = |id: &str, name: &str, parent: &str| json!({ "id": id, "name": name, "domain_id": "default", "parent_id": parent, "enabled": true, "attributes": [] });
    let other = "0".repeat(32);
    let document = json!({
        "version": 1,
        "domains": [{ "id": "a/b", "name": "Slashed", "enabled": true, "attributes": [] }],
        "projects": [place(project, "One", &other), place(&other, "Two", project)],
        "users": [
            person("../admin", "ada", "ada@example.org"),
            person(user, "eve@example.org", "eve@example.com"),
            person(user, "eve@example.org", "eve@example.com"),
            person(&"f".repeat(32), "mallory", "EVE@example.org"),
        ],
        "roles": [{ "user": "nobody", "roles": [{ "role": "admin", "scope": { "project": "nowhere" } }] }],
        "apps": [{ "id": "+", "name": "", "owner_id": null, "enabled": true, "created_at": 1, "attributes": [], "keys": [] }],
        "devices": [{ "id": "#", "app_id": null, "owner_id": null, "client_id": "a/b", "namespace": "#",
                      "credential": "username", "fingerprint": null, "certificate_subject": null, "enabled": true,
                      "created_at": 1, "attributes": [] }],
        "keys": [{ "id": "k", "kind": "secret", "owner": "user:gone", "created_at": 1, "expires_at": null,
                   "attributes": [], "hash": "00".repeat(32) }],
        "revoked-tokens": [["", NOW + 100], ["x".repeat(257), NOW + 100, user]],
    });
    let DirectoryError::Invalid(problems) = to.directory.import(&document.to_string()).unwrap_err() else { panic!() };
    let said: Vec<String> = problems.iter().map(|(field, why)| format!("{field} {why}")).collect();
    for wanted in [
        "domain a/b: id must be",
        &format!("project {project}: parent-id is the project itself or below it"),
        "user ../admin: id must be 32 hexadecimal digits",
        &format!("user {user}: id is in the document twice"),
        &format!("user {}: email is another entry's already", "f".repeat(32)),
        "roles of user nobody: user is not in the directory",
        "roles of user nobody: scope is not a project",
        "app +: id must be",
        "app +: name must not be empty",
        "device #: id must be 32",
        "device #: client-id must be",
        "device #: namespace must be",
        "key k: id must be 32",
        "key k: owner is not in the directory",
        "revoked token : token-id must not be empty",
        &format!("revoked token {}: token-id must not have more", "x".repeat(64)),
    ] {
        assert!(said.iter().any(|line| line.starts_with(wanted)), "{wanted:?} is not in {said:#?}");
    }
    assert_eq!(to.directory.export(true).unwrap(), before, "nothing was written");
}

#[test]
fn a_report_is_not_longer_than_anybody_reads() {
    let key = json!({ "id": "k", "kind": "", "owner": "?", "created_at": 1, "expires_at": null, "attributes": [],
                      "hash": "00".repeat(32) });
    let document = json!({ "version": 1, "keys": vec![key; 100] });
    let DirectoryError::Invalid(problems) = memory().directory.import(&document.to_string()).unwrap_err() else {
        panic!()
    };
    assert_eq!(problems.len(), 101);
    assert!(problems[100].1.ends_with("more problems"), "{:?}", problems[100]);
}

#[test]
fn an_import_that_disables_a_domain_tells_whoever_is_in_it() {
    let from = furnished();
    let user = from.directory.list_users(None, 1).remove(0);
    let mut parts: serde_json::Value = serde_json::from_str(&from.directory.export(true).unwrap()).unwrap();
    parts["domains"].as_array_mut().unwrap().iter_mut().for_each(|domain| domain["enabled"] = false.into());
    let only = json!({ "version": 1, "domains": parts["domains"] });
    let heard = Heard::by(&from.directory);
    from.directory.import(&only.to_string()).unwrap();
    assert!(heard.one().1.contains(&format!("user:{}", user.id)));
}

#[test]
fn an_imported_revocation_stays_its_users_and_never_shortens_one() {
    let from = furnished();
    let user = from.directory.list_users(None, 1).remove(0);
    from.directory.revoke_token_of(&user.id, "own", NOW + 100).unwrap();
    let document = from.directory.export(true).unwrap();
    let to = memory();
    to.directory.revoke_token("own", NOW + 200).unwrap();
    to.directory.import(&document).unwrap();
    to.hand.advance_ms(150_000);
    assert!(to.directory.is_revoked("own"));
    let again = memory();
    again.directory.import(&document).unwrap();
    assert_eq!(again.directory.export(true).unwrap(), document);
}
