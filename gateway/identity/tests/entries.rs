//! Entries: making, finding, changing, listing, what is refused and in which words, and what a restart leaves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use portcullis_identity::*;

fn fields(result: Result<impl std::fmt::Debug, DirectoryError>) -> Vec<String> {
    match result.unwrap_err() {
        DirectoryError::Invalid(fields) => fields.into_iter().map(|(name, _)| name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_is_found_by_id_email_and_name() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    assert_eq!(made.id.len(), 32);
    assert!(made.enabled && !made.verified);
    assert_eq!((made.created_at, made.updated_at), (NOW, NOW));
    let find = |by| directory.find_user(by);
    assert_eq!(find(UserSelector::Id(&made.id)).as_ref(), Some(&made));
    assert_eq!(find(UserSelector::Email("ADA@example.ORG")).as_ref(), Some(&made));
    assert_eq!(find(UserSelector::Name { name: "ada", domain_id: DEFAULT_DOMAIN }).as_ref(), Some(&made));
    assert_eq!(find(UserSelector::Name { name: "ada", domain_id: "other" }), None);
    assert_eq!(find(UserSelector::Name { name: "Ada", domain_id: DEFAULT_DOMAIN }), None);
}

#[test]
fn names_and_addresses_are_unique_and_conflicts_say_which() {
    let Home { directory, .. } = memory();
    directory.create_user(user("ada")).unwrap();
    let other = directory.create_user(user("eve")).unwrap();
    let twice = NewUser { email: None, ..user("ada") };
    assert_eq!(directory.create_user(twice).unwrap_err(), DirectoryError::Conflict("name"));
    let twice = NewUser { email: Some("ada@EXAMPLE.org".to_owned()), ..user("bob") };
    assert_eq!(directory.create_user(twice).unwrap_err(), DirectoryError::Conflict("email"));
    let domain = directory.create_domain(None, "Second", Vec::new()).unwrap();
    let elsewhere = NewUser { domain_id: domain.id.clone(), email: None, ..user("ada") };
    directory.create_user(elsewhere).unwrap();
    assert_eq!(directory.update_user(&other.id, &[pair("name", "ada")]).unwrap_err(), DirectoryError::Conflict("name"));
    directory.update_user(&other.id, &[pair("email", "EVE@example.org")]).unwrap();
    assert_eq!(directory.create_domain(None, "Second", Vec::new()).unwrap_err(), DirectoryError::Conflict("name"));
    assert_eq!(
        directory.create_domain(Some(domain.id.clone()), "Third", Vec::new()).unwrap_err(),
        DirectoryError::Conflict("id")
    );
}

#[test]
fn no_name_is_another_users_address_or_identifier() {
    let Home { directory, .. } = memory();
    let ada = directory.create_user(user("ada")).unwrap();
    let elsewhere = directory.create_domain(None, "Second", Vec::new()).unwrap().id.clone();
    for (domain_id, name) in [(DEFAULT_DOMAIN, "ada@example.org"), (elsewhere.as_str(), "ADA@Example.org")] {
        let squatter = NewUser { domain_id: domain_id.to_owned(), email: None, ..user(name) };
        assert_eq!(directory.create_user(squatter).unwrap_err(), DirectoryError::Conflict("name"));
    }
    let squatter = NewUser { email: None, ..user(&ada.id) };
    assert_eq!(directory.create_user(squatter).unwrap_err(), DirectoryError::Conflict("name"));
    // The other way round: somebody is called like an address that nobody has registered yet.
    let called = NewUser { email: None, ..user("Eve@example.org") };
    let called = directory.create_user(NewUser { domain_id: elsewhere.clone(), ..called }).unwrap();
    assert_eq!(directory.create_user(user("eve")).unwrap_err(), DirectoryError::Conflict("email"));
    let changed = directory.update_user(&ada.id, &[pair("email", "eve@example.org")]);
    assert_eq!(changed.unwrap_err(), DirectoryError::Conflict("email"));
    let renamed = directory.update_user(&called.id, &[pair("name", "ada@example.org")]);
    assert_eq!(renamed.unwrap_err(), DirectoryError::Conflict("name"));
    // One's own address is a good name, and a name that was given up is free.
    directory.update_user(&called.id, &[pair("name", "eve")]).unwrap();
    directory.update_user(&ada.id, &[pair("email", "eve@example.org"), pair("name", "eve@example.org")]).unwrap();
}

#[test]
fn what_a_user_may_not_be_is_said_by_field() {
    let Home { directory, .. } = memory();
    let new = NewUser {
        name: String::new(),
        domain_id: "nowhere".to_owned(),
        email: Some("no address".to_owned()),
        attributes: vec![pair("a", "1"), pair("a", "2"), pair("long", &"x".repeat(4097))],
        ..user("x")
    };
    assert_eq!(fields(directory.create_user(new)), ["name", "email", "domain-id", "a", "long"]);
    for password in [&b"short"[..], &[b'x'; 1025]] {
        assert_eq!(fields(directory.create_user(NewUser { password: password.to_vec(), ..user("x") })), ["password"]);
    }
    assert_eq!(directory.list_users(None, 10).len(), 0);
}

#[test]
fn a_user_is_changed_field_by_field_or_not_at_all() {
    let Home { directory, hand, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    directory.set_user_verified(&made.id, true).unwrap();
    hand.advance_ms(5_000);
    let changed = directory
        .update_user(&made.id, &[pair("name", "countess"), pair("first-name", ""), pair("avatar-url", "https://a")])
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.updated_at, changed.verified), ("countess", NOW + 5, true));
    assert_eq!(changed.attributes, [pair("avatar-url", "https://a")]);
    assert_eq!(directory.find_user(UserSelector::Name { name: "ada", domain_id: DEFAULT_DOMAIN }), None);
    let moved = directory.update_user(&made.id, &[pair("email", "new@example.org")]).unwrap();
    assert!(!moved.verified, "another address is not verified yet");
    assert_eq!(directory.find_user(UserSelector::Email("ada@example.org")), None);
    assert_eq!(directory.update_user(&made.id, &[pair("email", "")]).unwrap().email, None);
    for name in ["verified", "id", "password", "domain-id"] {
        assert_eq!(fields(directory.update_user(&made.id, &[pair("name", "x"), pair(name, "true")])), [name]);
    }
    assert_eq!(fields(directory.update_user(&made.id, &[pair("name", "x"), pair("enabled", "maybe")])), ["enabled"]);
    assert_eq!(directory.find_user(UserSelector::Id(&made.id)).unwrap().name, "countess");
    assert_eq!(directory.update_user("nobody", &[]).unwrap_err(), DirectoryError::NotFound);
}

#[test]
fn a_disabled_domain_disables_its_users() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    let key = directory.create_key(NewKey::secret(format!("user:{}", made.id))).unwrap();
    directory.set_domain_enabled(DEFAULT_DOMAIN, false).unwrap();
    assert!(!directory.find_user(UserSelector::Id(&made.id)).unwrap().enabled);
    assert_eq!(directory.find_key(&key.secret), None);
    assert_eq!(
        directory.verify_password(UserSelector::Id(&made.id), PASSWORD, None).unwrap_err(),
        PasswordError::Disabled
    );
    directory.set_domain_enabled(DEFAULT_DOMAIN, true).unwrap();
    assert!(directory.find_key(&key.secret).is_some());
}

#[test]
fn roles_count_where_they_were_given() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    let project = directory.create_project(DEFAULT_DOMAIN, "/lamps", None, Vec::new()).unwrap();
    let child = directory.create_project(DEFAULT_DOMAIN, "/lamps/red", Some(project.id.clone()), Vec::new()).unwrap();
    assert_eq!(child.parent_id.as_deref(), Some(project.id.as_str()));
    assert_eq!(
        directory.find_project(ProjectSelector::Name { name: "/lamps", domain_id: DEFAULT_DOMAIN }).unwrap().id,
        project.id
    );
    let role = |name: &str, scope| RoleAssignment { role: name.to_owned(), scope };
    let admin = role("admin", Scope::Project(project.id.clone()));
    assert!(directory.assign_role(&made.id, admin.clone()).unwrap());
    assert!(!directory.assign_role(&made.id, admin.clone()).unwrap());
    assert!(directory.assign_role(&made.id, role("admin", Scope::System)).unwrap());
    assert_eq!(directory.list_roles(&made.id).len(), 2);
    assert!(directory.remove_role(&made.id, &admin).unwrap());
    assert!(!directory.remove_role(&made.id, &admin).unwrap());
    assert_eq!(directory.list_roles(&made.id), [role("admin", Scope::System)]);
    assert_eq!(fields(directory.assign_role(&made.id, role("x", Scope::Domain("no".to_owned())))), ["scope"]);
    assert_eq!(directory.assign_role("nobody", role("x", Scope::System)).unwrap_err(), DirectoryError::NotFound);
    directory.delete_user(&made.id).unwrap();
    assert!(directory.list_roles(&made.id).is_empty());
}

#[test]
fn a_device_is_found_by_what_it_shows() {
    let Home { directory, .. } = memory();
    directory.create_app(app("lamps")).unwrap();
    let lamp = directory.create_device(NewDevice { app_id: Some("lamps".to_owned()), ..device("lamp-1") }).unwrap();
    let (name, random) = lamp.client_id.rsplit_once('_').unwrap();
    assert_eq!((name, random.len(), &lamp.namespace), ("lamp-1", 6, &lamp.client_id));
    for selector in [
        DeviceSelector::Id(&lamp.id),
        DeviceSelector::ClientId(&lamp.client_id),
        DeviceSelector::Username(&lamp.client_id),
    ] {
        assert_eq!(directory.find_device(selector).as_ref(), Some(&lamp));
    }
    let digits = "AB:".repeat(31) + "AB";
    let certified = NewDevice {
        credential: DeviceCredential::X509,
        fingerprint: Some(digits.clone()),
        certificate_subject: Some("CN=lamp-2,O=Lamps".to_owned()),
        ..device("lamp-2")
    };
    let second = directory.create_device(certified.clone()).unwrap();
    assert_eq!(directory.find_device(DeviceSelector::Fingerprint(&"aB".repeat(32))).as_ref(), Some(&second));
    assert_eq!(directory.find_device(DeviceSelector::CertificateSubject("CN=lamp-2,O=Lamps")).as_ref(), Some(&second));
    assert_eq!(directory.create_device(certified.clone()).unwrap_err(), DirectoryError::Conflict("fingerprint"));
    let other = NewDevice { fingerprint: None, ..certified };
    assert_eq!(directory.create_device(other).unwrap_err(), DirectoryError::Conflict("certificate-subject"));

    directory.set_app_enabled("lamps", false).unwrap();
    assert!(!directory.find_device(DeviceSelector::Id(&lamp.id)).unwrap().enabled, "its app is disabled");
    directory.set_app_enabled("lamps", true).unwrap();
    assert!(directory.find_device(DeviceSelector::Id(&lamp.id)).unwrap().enabled);
    assert_eq!(fields(directory.delete_app("lamps")), ["devices"]);
    directory.delete_device(&lamp.id).unwrap();
    assert_eq!(directory.find_device(DeviceSelector::ClientId(&lamp.client_id)), None);
    directory.delete_app("lamps").unwrap();
    assert_eq!(directory.delete_app("lamps").unwrap_err(), DirectoryError::NotFound);
}

#[test]
fn a_device_cannot_be_called_like_a_filter_or_be_half_certified() {
    let Home { directory, .. } = memory();
    for name in ["", "a/b", "a+", "#", "$SYS", "a b", "\u{e4}", &"x".repeat(65)] {
        assert_eq!(fields(directory.create_device(device(name))), ["external-id"], "{name:?}");
    }
    let x509 = NewDevice { credential: DeviceCredential::X509, ..device("a") };
    assert_eq!(fields(directory.create_device(x509.clone())), ["fingerprint"]);
    let odd = NewDevice { fingerprint: Some("zz".to_owned()), ..x509 };
    assert_eq!(fields(directory.create_device(odd)), ["fingerprint"]);
    let both = NewDevice { fingerprint: Some("ab".repeat(32)), ..device("a") };
    assert_eq!(fields(directory.create_device(both)), ["fingerprint"]);
    assert_eq!(fields(directory.create_device(NewDevice { app_id: Some("no".to_owned()), ..device("a") })), ["app-id"]);
}

#[test]
fn devices_of_an_owner_come_in_pages() {
    let Home { directory, .. } = memory();
    let mut all: Vec<_> =
        (0..260).map(|n| directory.create_device(device(&format!("d{n}"))).unwrap().id.clone()).collect();
    all.sort();
    directory.create_device(NewDevice { owner_id: Some("alicf".to_owned()), ..device("x") }).unwrap();
    let first: Vec<_> = directory.list_devices("alice", None).iter().map(|d| d.id.clone()).collect();
    assert_eq!(first, all[..256]);
    let rest: Vec<_> =
        directory.list_devices("alice", first.last().map(String::as_str)).iter().map(|d| d.id.clone()).collect();
    assert_eq!(rest, all[256..]);
    directory.set_device_owner(&all[0], Some("bob".to_owned())).unwrap();
    assert_eq!(directory.list_devices("bob", None)[0].id, all[0]);
    assert_eq!(directory.list_devices("alice", None)[0].id, all[1]);
    assert_eq!(directory.list_all_devices(Some(&all[99]), 3).len(), 3);
}

#[test]
fn everything_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let (before, key, revoked, used);
    {
        let Home { directory, hand, .. } = on_disk(data.path());
        let made = directory.create_user(user("ada")).unwrap();
        directory.assign_role(&made.id, RoleAssignment { role: "admin".to_owned(), scope: Scope::System }).unwrap();
        directory.create_project(DEFAULT_DOMAIN, "p", None, Vec::new()).unwrap();
        directory.create_app(app("lamps")).unwrap();
        directory.create_device(NewDevice { app_id: Some("lamps".to_owned()), ..device("a") }).unwrap();
        let gone = directory.create_device(device("gone")).unwrap();
        directory.delete_device(&gone.id).unwrap();
        key = directory.create_key(NewKey::secret(format!("user:{}", made.id))).unwrap().secret;
        revoked = directory.create_key(NewKey::reset("app:lamps")).unwrap();
        assert!(directory.revoke_key(&revoked.key.id).unwrap());
        directory.revoke_token("jti-1", NOW + 100).unwrap();
        hand.advance_ms(4_000);
        used = directory.find_key(&key).unwrap();
        before = directory.export(true).unwrap();
    }
    let Home { directory, .. } = on_disk(data.path());
    assert_eq!(directory.export(true).unwrap(), before);
    assert_eq!(directory.find_key(&revoked.secret), None);
    assert!(directory.is_revoked("jti-1"));
    directory.verify_password(UserSelector::Email("ada@example.org"), PASSWORD, None).unwrap();
    assert_eq!(used.last_used_at, None);
    assert_eq!(directory.find_key(&key).unwrap().last_used_at, Some(NOW + 4), "its use was noted");
}

#[test]
fn an_entry_that_cannot_be_read_is_named() {
    let data = tempfile::tempdir().unwrap();
    let Home { store, directory, .. } = on_disk(data.path());
    let mut batch = portcullis_store::Batch::new();
    batch.put_entry("device", "d1", b"{}".to_vec());
    store.submit(batch).wait().unwrap();
    drop((store, directory));
    let store = portcullis_store::Store::open(data.path(), portcullis_store::Options::default()).unwrap();
    let refused = Directory::open(store, DirectoryOptions::default()).unwrap_err();
    assert!(matches!(&refused, DirectoryError::Unreadable { kind: "device", id, .. } if id == "d1"), "{refused:?}");
}

#[test]
fn changes_fail_when_the_store_is_closed_and_say_so() {
    let Home { store, directory, .. } = memory();
    store.close();
    assert!(matches!(directory.create_app(app("lamps")), Err(DirectoryError::Store(_))));
}
