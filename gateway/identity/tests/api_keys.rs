//! Keys and revoked tokens: shown once, stored as a hash, gone when they are revoked, expire or lose their owner.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use portcullis_identity::*;

#[test]
fn a_secret_has_the_form_that_people_know() {
    let Home { directory, .. } = memory();
    let secret = directory.create_key(NewKey::secret("consumer:alice")).unwrap();
    assert_eq!(secret.secret.len(), 48);
    assert!(secret.secret.starts_with("sk_") && secret.secret[3..].bytes().all(|b| b.is_ascii_alphanumeric()));
    let reset = directory.create_key(NewKey::reset("consumer:alice")).unwrap();
    assert!(reset.secret.starts_with("rk_") && reset.key.kind == "reset");
    let hex = NewKey { prefix: String::new(), length: 40, alphabet: Alphabet::Hex, ..NewKey::secret("consumer:alice") };
    let hex = directory.create_key(hex).unwrap().secret;
    assert!(hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    assert_ne!(secret.secret, directory.create_key(NewKey::secret("consumer:alice")).unwrap().secret);
}

#[test]
fn only_the_whole_secret_finds_the_key_and_finding_counts_as_use() {
    let Home { directory, hand, .. } = memory();
    let issued = directory.create_key(NewKey::secret("consumer:alice")).unwrap();
    assert_eq!(directory.find_key(&issued.secret), Some(issued.key.clone()));
    hand.advance_ms(9_000);
    assert_eq!(directory.find_key(&issued.secret).unwrap().last_used_at, Some(NOW));
    assert_eq!(directory.list_keys(None, None, 10)[0].last_used_at, Some(NOW + 9));
    let wrong = [&issued.secret[..47], &issued.secret.to_lowercase(), "", &issued.key.id, &"s".repeat(1 << 20)];
    for secret in wrong {
        assert_eq!(directory.find_key(secret), None);
    }
    assert_eq!(directory.find_key(&format!("{}x", issued.secret)), None);
}

#[test]
fn a_key_ends_with_its_time_its_revocation_or_its_owner() {
    let Home { directory, hand, .. } = memory();
    let user = directory.create_user(user("ada")).unwrap();
    let app = directory.create_app(app("lamps")).unwrap();
    let device = directory.create_device(NewDevice { app_id: Some(app.id.clone()), ..device("a") }).unwrap();
    let make = |owner: String| directory.create_key(NewKey::secret(owner)).unwrap();

    let timed = NewKey { expires_at: Some(NOW + 60), ..NewKey::secret("consumer:alice") };
    let timed = directory.create_key(timed).unwrap();
    hand.advance_ms(59_999);
    assert!(directory.find_key(&timed.secret).is_some());
    hand.advance_ms(1);
    assert_eq!(directory.find_key(&timed.secret), None);
    assert!(!directory.revoke_key(&timed.key.id).unwrap(), "it was not valid any more");

    let revoked = make("consumer:alice".to_owned());
    assert!(directory.revoke_key(&revoked.key.id).unwrap());
    assert!(!directory.revoke_key(&revoked.key.id).unwrap());
    assert_eq!(directory.find_key(&revoked.secret), None);

    let (of_user, of_app, of_device) =
        (make(format!("user:{}", user.id)), make(format!("app:{}", app.id)), make(format!("device:{}", device.id)));
    directory.set_app_enabled(&app.id, false).unwrap();
    assert_eq!(directory.find_key(&of_app.secret), None);
    assert_eq!(directory.find_key(&of_device.secret), None, "the device's app is disabled");
    directory.set_app_enabled(&app.id, true).unwrap();
    assert!(directory.find_key(&of_app.secret).is_some() && directory.find_key(&of_device.secret).is_some());
    directory.set_device_enabled(&device.id, false).unwrap();
    assert_eq!(directory.find_key(&of_device.secret), None);
    directory.set_user_enabled(&user.id, false).unwrap();
    assert_eq!(directory.find_key(&of_user.secret), None);
    directory.delete_user(&user.id).unwrap();
    directory.delete_device(&device.id).unwrap();
    directory.delete_app(&app.id).unwrap();
    assert_eq!(directory.list_keys(None, None, 10).iter().filter(|key| !key.owner.starts_with("consumer")).count(), 0);
}

#[test]
fn what_a_key_may_not_be_is_said_by_field() {
    let Home { directory, .. } = memory();
    let bad = NewKey {
        kind: String::new(),
        owner: "nobody".to_owned(),
        prefix: "too long_".to_owned(),
        length: 31,
        expires_at: Some(NOW),
        ..NewKey::secret("")
    };
    let names = |new: NewKey| match directory.create_key(new).unwrap_err() {
        DirectoryError::Invalid(fields) => fields.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names(bad.clone()), ["prefix", "length", "expires-at"]);
    assert_eq!(names(NewKey { prefix: "sk_".to_owned(), length: 48, expires_at: None, ..bad }), ["kind", "owner"]);
    assert_eq!(names(NewKey::secret("user:nobody")), ["owner"]);
    assert_eq!(names(NewKey::secret("consumer:")), ["owner"]);
}

#[test]
fn keys_are_listed_by_owner_in_pages() {
    let Home { directory, .. } = memory();
    for _ in 0..5 {
        directory.create_key(NewKey::secret("consumer:alice")).unwrap();
        directory.create_key(NewKey::secret("consumer:bob")).unwrap();
    }
    let all = directory.list_keys(Some("consumer:alice"), None, 100);
    assert_eq!(all.len(), 5);
    let page = directory.list_keys(Some("consumer:alice"), Some(&all[1].id), 2);
    assert_eq!(page, all[2..4]);
    assert_eq!(directory.list_keys(None, None, 100).len(), 10);
}

#[test]
fn a_token_stays_revoked_until_it_would_have_expired_and_is_then_forgotten() {
    let Home { directory, store, hand, .. } = memory();
    directory.revoke_token("jti", NOW + 10).unwrap();
    directory.revoke_token("jti", NOW + 5).unwrap();
    directory.revoke_token("old", NOW).unwrap();
    assert!(directory.is_revoked("jti") && !directory.is_revoked("old"));
    assert!(matches!(directory.revoke_token("", NOW + 10), Err(DirectoryError::Invalid(_))));
    assert!(matches!(directory.revoke_token(&"x".repeat(257), NOW + 10), Err(DirectoryError::Invalid(_))));
    hand.advance_ms(9_000);
    directory.revoke_token("other", NOW + 100).unwrap();
    assert!(directory.is_revoked("jti"));
    hand.advance_ms(1_000);
    directory.revoke_token("third", NOW + 100).unwrap();
    let mut stored = Vec::new();
    store.visit_entries("revoked-token", |id, _| stored.push(id.to_owned())).unwrap();
    assert_eq!(stored, ["other", "third"], "the next change took it along");
}

#[test]
fn expired_keys_leave_after_a_week() {
    let Home { directory, hand, .. } = memory();
    let timed = NewKey { expires_at: Some(NOW + 60), ..NewKey::secret("consumer:alice") };
    directory.create_key(timed).unwrap();
    hand.advance_ms((60 + 7 * 24 * 3600 - 1) * 1000);
    directory.create_domain(None, "a", Vec::new()).unwrap();
    assert_eq!(directory.list_keys(None, None, 10).len(), 1);
    hand.advance_ms(1000);
    directory.create_domain(None, "b", Vec::new()).unwrap();
    assert_eq!(directory.list_keys(None, None, 10).len(), 0);
}

#[test]
fn no_secret_is_in_the_file() {
    let data = tempfile::tempdir().unwrap();
    let issued = {
        let Home { directory, .. } = on_disk(data.path());
        let issued = directory.create_key(NewKey::secret("consumer:alice")).unwrap();
        directory.find_key(&issued.secret).unwrap();
        issued
    };
    let file = std::fs::read(data.path().join("portcullis.redb")).unwrap();
    let holds = |needle: &str| file.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(holds(&issued.key.id), "the entry is there, so the search would find the secret");
    assert!(!holds(&issued.secret) && !holds(&issued.secret[3..]));
}

#[test]
fn a_stable_key_is_the_same_at_each_login_until_it_is_revoked() {
    let Home { directory, .. } = memory();
    let user = directory.create_user(user("ada")).unwrap();
    let token = |owner: &str| NewKey {
        kind: "token".to_owned(),
        prefix: String::new(),
        length: 40,
        alphabet: Alphabet::Hex,
        ..NewKey::secret(owner)
    };
    let own = format!("user:{}", user.id);
    let first = directory.stable_key(token(&own)).unwrap();
    assert_eq!(directory.find_key(&first.secret).unwrap().id, first.key.id);
    let again = directory.stable_key(token(&own)).unwrap();
    assert_eq!((again.secret.as_str(), again.key.id.as_str()), (first.secret.as_str(), first.key.id.as_str()));
    let other = directory.stable_key(token("consumer:alice")).unwrap();
    assert_ne!(other.secret, first.secret, "each owner has another");
    let longer = directory.stable_key(NewKey { length: 64, ..token(&own) }).unwrap();
    assert_ne!(longer.key.id, first.key.id, "another shape is another key");

    assert!(directory.revoke_key(&first.key.id).unwrap());
    let next = directory.stable_key(token(&own)).unwrap();
    assert_ne!(next.secret, first.secret);
    assert_eq!(directory.find_key(&first.secret), None);
}

#[test]
fn a_stable_key_outlives_a_restart_and_is_not_in_an_export() {
    let home = tempfile::tempdir().unwrap();
    let token = || NewKey { kind: "token".to_owned(), ..NewKey::secret("consumer:alice") };
    let open = || {
        let store = portcullis_store::Store::open(home.path(), portcullis_store::Options::default()).unwrap();
        (store.clone(), Directory::open(store, DirectoryOptions::default()).unwrap())
    };
    let (store, directory) = open();
    let first = directory.stable_key(token()).unwrap().secret;
    assert!(!directory.export(true).unwrap().contains(&first));
    store.close();
    drop((store, directory));
    let (_store, directory) = open();
    assert_eq!(directory.stable_key(token()).unwrap().secret, first);
}

#[test]
fn whoever_revokes_without_end_fills_nothing_and_loses_every_token() {
    let folder = tempfile::tempdir().unwrap();
    let ada;
    {
        let Home { directory, store, .. } = on_disk(folder.path());
        ada = directory.create_user(user("ada")).unwrap().id.clone();
        let eve = directory.create_user(user("eve")).unwrap().id.clone();
        directory.revoke_token_of(&eve, "eves", NOW + 100).unwrap();
        directory.revoke_token("nobodys", NOW + 100).unwrap();
        for n in 0..256 {
            directory.revoke_token_of(&ada, &format!("t{n}"), NOW + 100).unwrap();
        }
        directory.revoke_token_of(&ada, "t7", NOW + 200).unwrap();
        let void_from = |id: &str| directory.find_user(UserSelector::Id(id)).unwrap().tokens_valid_from;
        assert_eq!(void_from(&ada), None, "one of them again is not one more");
        directory.revoke_token_of(&ada, "the last straw", NOW + 100).unwrap();
        assert_eq!((void_from(&ada), void_from(&eve)), (Some(NOW + 1), None));
        assert!(!directory.is_revoked("t7") && directory.is_revoked("eves") && directory.is_revoked("nobodys"));
        let mut stored = 0;
        store.visit_entries("revoked-token", |_, _| stored += 1).unwrap();
        assert_eq!(stored, 2);
        directory.revoke_token_of(&ada, "another", NOW + 100).unwrap();
        let gone = directory.revoke_token_of("nobody", "token", NOW + 100);
        assert_eq!(gone.unwrap_err(), DirectoryError::NotFound);
    }
    let Home { directory, store, .. } = on_disk(folder.path());
    assert!(directory.is_revoked("another"), "whose it was is stored with it");
    directory.delete_user(&ada).unwrap();
    let mut stored = Vec::new();
    store.visit_entries("revoked-token", |id, _| stored.push(id.to_owned())).unwrap();
    assert_eq!(stored, ["eves", "nobodys"], "tokens of nobody need no name");
}
