//! Passwords: who gets in, who is slowed, and that nobody learns who exists.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::IpAddr;
use std::thread;

use common::*;
use portcullis_identity::*;

const RIGHT: UserSelector<'static> = UserSelector::Email("ada@example.org");
const NOBODY: UserSelector<'static> = UserSelector::Email("nobody@example.org");

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

fn check(directory: &Directory, who: UserSelector<'_>, password: &[u8], from: u8) -> Result<(), PasswordError> {
    directory.verify_password(who, password, address(from)).map(drop)
}

#[test]
fn the_right_password_lets_in_by_any_name() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    for who in [RIGHT, UserSelector::Id(&made.id), UserSelector::Name { name: "ada", domain_id: DEFAULT_DOMAIN }] {
        assert_eq!(directory.verify_password(who, PASSWORD, None).unwrap(), made);
    }
    for wrong in [&b""[..], b"correct horse batter", b"Correct horse battery", &[0xFF; 9]] {
        assert_eq!(check(&directory, RIGHT, wrong, 1), Err(PasswordError::Wrong));
        directory.unlock_user(&made.id);
    }
    assert_eq!(check(&directory, RIGHT, &vec![b'x'; 1 << 20], 2), Err(PasswordError::Wrong));
}

#[test]
fn a_new_password_replaces_the_old_one() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    directory.set_password_expiry(&made.id, Some(NOW)).unwrap();
    assert_eq!(check(&directory, RIGHT, PASSWORD, 1), Err(PasswordError::Expired(NOW)));
    directory.set_password(&made.id, b"another password").unwrap();
    assert_eq!(check(&directory, RIGHT, PASSWORD, 1), Err(PasswordError::Wrong));
    assert_eq!(check(&directory, RIGHT, b"another password", 1), Ok(()));
    assert_eq!(directory.set_password("nobody", b"another password").unwrap_err(), DirectoryError::NotFound);
    directory.set_user_enabled(&made.id, false).unwrap();
    assert_eq!(check(&directory, RIGHT, b"another password", 1), Err(PasswordError::Disabled));
    assert_eq!(
        check(&directory, RIGHT, b"wrong", 1),
        Err(PasswordError::Wrong),
        "only the right password is told more"
    );
}

#[test]
fn those_who_exist_and_those_who_do_not_are_answered_and_locked_alike() {
    let Home { directory, hand, .. } = memory();
    directory.create_user(user("ada")).unwrap();
    let story = |who, from| -> Vec<_> { (0..5).map(|_| check(&directory, who, b"guess", from)).collect() };
    let known = story(RIGHT, 1);
    let unknown = story(NOBODY, 2);
    let locked = Err(PasswordError::Locked(NOW + 300));
    assert_eq!(known, [vec![Err(PasswordError::Wrong); 3], vec![locked.clone(); 2]].concat());
    assert_eq!(known, unknown);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 3), locked, "the right one is not looked at either");
    hand.advance_ms(300_000);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 3), Ok(()));
    assert_eq!(check(&directory, NOBODY, PASSWORD, 4), Err(PasswordError::Wrong));
}

#[test]
fn asking_in_two_ways_does_not_tell_who_exists() {
    let Home { directory, .. } = memory();
    // Registered as km-api does it: the name is the address.
    directory.create_user(NewUser { name: "ada@example.org".to_owned(), ..user("ada") }).unwrap();
    let story = |address: &'static str, from| -> Vec<_> {
        let named = UserSelector::Name { name: address, domain_id: DEFAULT_DOMAIN };
        let ways = [UserSelector::Email(address), named, UserSelector::Email(address), named];
        ways.into_iter().map(|who| check(&directory, who, b"guess", from)).collect()
    };
    let known = story("Ada@example.org", 1);
    assert_eq!(known, story("bob@example.org", 2));
    assert!(matches!(known[3], Err(PasswordError::Locked(_))), "{known:?}");

    // Where name and address differ each is counted, of somebody as of nobody.
    let eve = directory.create_user(user("eve")).unwrap();
    let story = |name: &'static str, address: &'static str, from| -> Vec<_> {
        let named = UserSelector::Name { name, domain_id: DEFAULT_DOMAIN };
        let ways = [named, UserSelector::Email(address), named, UserSelector::Email(address)];
        ways.into_iter().map(|who| check(&directory, who, b"guess", from)).collect()
    };
    assert_eq!(story("eve", "eve@example.org", 3), story("bob", "bob@example.com", 4));
    directory.unlock_user(&eve.id);
    assert_eq!(story("eve", "eve@example.org", 5), vec![Err(PasswordError::Wrong); 4], "all of them were forgotten");
}

#[test]
fn a_user_is_tried_no_more_often_for_having_several_names() {
    let Home { directory, hand, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    let by_name = UserSelector::Name { name: "ada", domain_id: DEFAULT_DOMAIN };
    let ways = [by_name, RIGHT, UserSelector::Id(&made.id)];
    // The same of somebody who is not there: one after the other, and the right password where the first lock is.
    let nobody = [UserSelector::Name { name: "bob", domain_id: DEFAULT_DOMAIN }, NOBODY, UserSelector::Id("0badc0de")];
    let story = |ways: [UserSelector<'_>; 3], from| -> Vec<_> {
        let tried = [&b"guess"[..], b"guess", b"guess", PASSWORD];
        let tries = ways.into_iter().flat_map(|who| tried.map(|password| (who, password)));
        tries.zip(from..).map(|((who, password), from)| check(&directory, who, password, from)).collect()
    };
    let known = story(ways, 1);
    assert_eq!(known, story(nobody, 101), "what is answered tells nothing");
    assert_eq!(known[4], Err(PasswordError::Wrong));
    hand.advance_ms(300_000);
    assert_eq!(check(&directory, by_name, b"guess", 50), Err(PasswordError::Wrong));
    for who in [RIGHT, UserSelector::Id(&made.id)] {
        assert_eq!(check(&directory, who, b"guess", 51), Err(PasswordError::Wrong));
    }
    // Three were wrong, none of a name twice: the right one is not looked at by any of them.
    for who in ways {
        assert_eq!(check(&directory, who, PASSWORD, 52), Err(PasswordError::Wrong), "{who:?}");
    }
    directory.unlock_user(&made.id);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 53), Ok(()));
}

#[test]
fn who_shares_a_name_does_not_open_the_lock_of_the_other() {
    let Home { directory, .. } = memory();
    let second = directory.create_domain(None, "Second", Vec::new()).unwrap().id.clone();
    let called = |domain_id: &str| NewUser { domain_id: domain_id.to_owned(), email: None, ..user("ops@example.org") };
    directory.create_user(called(DEFAULT_DOMAIN)).unwrap();
    directory.create_user(NewUser { password: b"another password".to_vec(), ..called(&second) }).unwrap();
    let victim = UserSelector::Name { name: "ops@example.org", domain_id: DEFAULT_DOMAIN };
    let own = UserSelector::Name { name: "ops@example.org", domain_id: &second };
    for _ in 0..2 {
        assert_eq!(check(&directory, victim, b"guess", 1), Err(PasswordError::Wrong));
    }
    assert_eq!(check(&directory, own, b"another password", 1), Ok(()));
    assert_eq!(check(&directory, victim, b"guess", 1), Err(PasswordError::Wrong));
    assert!(matches!(check(&directory, victim, b"guess", 1), Err(PasswordError::Locked(_))));
}

#[test]
fn looking_for_nobody_costs_a_hash_as_well() {
    let Home { directory, .. } = memory();
    directory.create_user(user("ada")).unwrap();
    let document = directory.export(false).unwrap();
    let without_password = memory().directory;
    without_password.import(&document).unwrap();
    for (directory, who) in [(&directory, RIGHT), (&directory, NOBODY), (&without_password, RIGHT)] {
        let before = directory.password_checks();
        assert_eq!(check(directory, who, b"guess", 1), Err(PasswordError::Wrong));
        assert_eq!(directory.password_checks(), before + 1, "{who:?}");
    }
    for _ in 0..2 {
        check(&directory, NOBODY, b"guess", 2).unwrap_err();
    }
    let before = directory.password_checks();
    assert!(matches!(check(&directory, NOBODY, b"guess", 3), Err(PasswordError::Locked(_))));
    assert_eq!(directory.password_checks(), before, "what is locked costs nothing");
}

#[test]
fn the_right_password_forgets_the_wrong_ones() {
    let Home { directory, .. } = memory();
    let made = directory.create_user(user("ada")).unwrap();
    for _ in 0..3 {
        assert_eq!(check(&directory, RIGHT, b"guess", 1), Err(PasswordError::Wrong));
        assert_eq!(check(&directory, UserSelector::Id(&made.id), PASSWORD, 1), Ok(()));
    }
    for _ in 0..3 {
        assert_eq!(check(&directory, RIGHT, b"guess", 2), Err(PasswordError::Wrong));
    }
    assert!(matches!(check(&directory, RIGHT, PASSWORD, 3), Err(PasswordError::Locked(_))));
    directory.unlock_user(&made.id);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 3), Ok(()));
}

#[test]
fn an_address_that_guesses_at_many_is_slowed() {
    let Home { directory, hand, .. } = memory();
    directory.create_user(user("ada")).unwrap();
    for n in 0..5 {
        let who = format!("user{n}@example.org");
        assert_eq!(check(&directory, UserSelector::Email(&who), b"guess", 1), Err(PasswordError::Wrong));
    }
    hand.advance_ms(20_000);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 1), Err(PasswordError::RateLimited(40)));
    assert_eq!(check(&directory, RIGHT, PASSWORD, 2), Ok(()), "others are not");
    hand.advance_ms(40_000);
    assert_eq!(check(&directory, RIGHT, PASSWORD, 1), Ok(()));
}

#[test]
fn guessing_in_parallel_gains_no_guesses_beyond_those_already_running() {
    let Home { directory, .. } = memory();
    directory.create_user(user("ada")).unwrap();
    let threads: Vec<_> = (0..40)
        .map(|n| {
            let directory = directory.clone();
            thread::spawn(move || check(&directory, RIGHT, b"guess", n))
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let looked_at = answers.iter().filter(|answer| **answer == Err(PasswordError::Wrong)).count();
    let at_once = directory.passwords_at_once();
    assert!((3..3 + at_once).contains(&looked_at), "{looked_at} of {answers:?}");
}

#[test]
fn no_password_is_in_the_file() {
    let data = tempfile::tempdir().unwrap();
    {
        let Home { directory, .. } = on_disk(data.path());
        directory.create_user(user("ada")).unwrap();
        assert!(!directory.export(true).unwrap().contains("correct horse"));
        assert!(directory.export(true).unwrap().contains("$argon2id$"));
        assert!(!directory.export(false).unwrap().contains("argon2"));
    }
    let file = std::fs::read(data.path().join("portcullis.redb")).unwrap();
    assert!(file.windows(10).any(|w| w == b"$argon2id$"), "the hash is there, so the search would find the password");
    assert!(!file.windows(PASSWORD.len()).any(|w| w == PASSWORD));
}

#[test]
fn another_password_or_a_revocation_makes_older_tokens_void() {
    let Home { directory, hand, .. } = memory();
    let ada = directory.create_user(user("ada")).unwrap();
    assert_eq!(ada.tokens_valid_from, None);
    hand.advance_ms(5_000);
    directory.set_password(&ada.id, b"another password").unwrap();
    assert_eq!(directory.find_user(UserSelector::Id(&ada.id)).unwrap().tokens_valid_from, Some(NOW + 6));
    hand.advance_ms(5_000);
    assert_eq!(directory.revoke_tokens(&ada.id).unwrap().tokens_valid_from, Some(NOW + 11));
    let claim = [("tokens-valid-from".to_owned(), "0".to_owned())];
    assert!(
        matches!(directory.update_user(&ada.id, &claim), Err(DirectoryError::Invalid(_))),
        "nobody may take it back"
    );
}

#[test]
fn an_old_export_does_not_make_void_tokens_good_again() {
    let Home { directory, hand, .. } = memory();
    let ada = directory.create_user(user("ada")).unwrap();
    let old = directory.export(false).unwrap();
    hand.advance_ms(5_000);
    directory.set_password(&ada.id, b"another password").unwrap();
    directory.import(&old).unwrap();
    assert_eq!(directory.find_user(UserSelector::Id(&ada.id)).unwrap().tokens_valid_from, Some(NOW + 6));
}

#[test]
fn whoever_has_a_role_in_a_domain_that_is_disabled_is_looked_at_again() {
    let Home { directory, .. } = memory();
    let ada = directory.create_user(user("ada")).unwrap();
    let domain = directory.create_domain(None, "plant", vec![]).unwrap();
    let project = directory.create_project(&domain.id, "line", None, vec![]).unwrap();
    let role = RoleAssignment { role: "operator".into(), scope: Scope::Project(project.id.clone()) };
    directory.assign_role(&ada.id, role).unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = std::sync::Arc::clone(&told);
    let _listening = directory.subscribe(move |change| hears.lock().unwrap().extend(change.dependencies.clone()));
    directory.set_domain_enabled(&domain.id, false).unwrap();
    assert!(told.lock().unwrap().contains(&format!("user:{}", ada.id)), "a user of another domain");
    told.lock().unwrap().clear();
    let mut whole: serde_json::Value = serde_json::from_str(&directory.export(true).unwrap()).unwrap();
    whole["roles"] = serde_json::json!([{ "user": ada.id, "roles": [] }]);
    directory.import(&whole.to_string()).unwrap();
    assert!(told.lock().unwrap().contains(&format!("user:{}", ada.id)), "an import takes a role away");
}
