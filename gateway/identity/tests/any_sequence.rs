//! After any sequence of changes, memory and store agree, every index leads to its entry, and unique things are unique.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use portcullis_identity::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    CreateUser(u8),
    Rename(u8, u8),
    Readdress(u8, Option<u8>),
    EnableUser(u8, bool),
    DeleteUser(u8),
    CreateDevice(u8, Option<u8>),
    Move(u8, u8),
    DeleteDevice(u8),
    CreateKey(u8, Option<u16>),
    RevokeKey(u8),
    RevokeToken(u8, u16),
    Assign(u8, u8),
    Unassign(u8, u8),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let small = || 0..4_u8;
    prop_oneof![
        small().prop_map(Step::CreateUser),
        (small(), small()).prop_map(|(a, b)| Step::Rename(a, b)),
        (small(), proptest::option::of(small())).prop_map(|(a, b)| Step::Readdress(a, b)),
        (small(), any::<bool>()).prop_map(|(a, b)| Step::EnableUser(a, b)),
        small().prop_map(Step::DeleteUser),
        (small(), proptest::option::of(small())).prop_map(|(a, b)| Step::CreateDevice(a, b)),
        (small(), small()).prop_map(|(a, b)| Step::Move(a, b)),
        small().prop_map(Step::DeleteDevice),
        (small(), proptest::option::of(1..900_u16)).prop_map(|(a, b)| Step::CreateKey(a, b)),
        small().prop_map(Step::RevokeKey),
        (small(), 0..900_u16).prop_map(|(a, b)| Step::RevokeToken(a, b)),
        (small(), small()).prop_map(|(a, b)| Step::Assign(a, b)),
        (small(), small()).prop_map(|(a, b)| Step::Unassign(a, b)),
        (0..1_000_u32).prop_map(Step::Pass),
    ]
}

fn nth<T: Clone>(all: &[T], n: u8) -> Option<T> {
    if all.is_empty() { None } else { Some(all[usize::from(n) % all.len()].clone()) }
}

/// What a step may be refused for; anything else is a mistake of ours.
fn expected(result: Result<impl Sized, DirectoryError>) {
    match result {
        Ok(_) | Err(DirectoryError::Conflict("name" | "email" | "fingerprint") | DirectoryError::NotFound) => {}
        Err(DirectoryError::Invalid(fields)) if fields[0].0 == "owner" => {}
        Err(other) => panic!("{other:?}"),
    }
}

fn take(home: &Home, secrets: &mut Vec<IssuedKey>, step: Step) {
    let directory = &home.directory;
    let user = |n| nth(&directory.list_users(None, 100), n).map_or("none".to_owned(), |user| user.id.clone());
    let device =
        |n| nth(&directory.list_all_devices(None, 100), n).map_or("none".to_owned(), |device| device.id.clone());
    let role = |n: u8| RoleAssignment { role: format!("r{n}"), scope: Scope::System };
    match step {
        Step::CreateUser(n) => {
            let new = common::user(&format!("u{n}"));
            let email = new.email.clone().map(|email| email.to_lowercase());
            let taken = directory
                .list_users(None, 100)
                .iter()
                .any(|user| user.name == new.name || user.email.as_ref().map(|email| email.to_lowercase()) == email);
            let made = directory.create_user(new);
            assert_eq!(made.is_err(), taken, "{made:?}");
            expected(made);
        }
        Step::Rename(n, to) => expected(directory.update_user(&user(n), &[pair("name", &format!("u{to}"))])),
        Step::Readdress(n, to) => {
            let email = to.map_or(String::new(), |to| format!("U{to}@example.ORG"));
            expected(directory.update_user(&user(n), &[pair("email", &email)]));
        }
        Step::EnableUser(n, enabled) => expected(directory.set_user_enabled(&user(n), enabled)),
        Step::DeleteUser(n) => expected(directory.delete_user(&user(n))),
        Step::CreateDevice(owner, fingerprint) => {
            let fingerprint = fingerprint.map(|n| format!("{n:02x}").repeat(32));
            let taken = fingerprint.is_some()
                && directory.list_all_devices(None, 100).iter().any(|device| device.fingerprint == fingerprint);
            let made = directory.create_device(NewDevice {
                owner_id: Some(format!("o{owner}")),
                credential: fingerprint.as_ref().map_or(DeviceCredential::Username, |_| DeviceCredential::X509),
                fingerprint,
                ..common::device("d")
            });
            assert_eq!(made.is_err(), taken, "{made:?}");
            expected(made);
        }
        Step::Move(n, owner) => expected(directory.set_device_owner(&device(n), Some(format!("o{owner}")))),
        Step::DeleteDevice(n) => expected(directory.delete_device(&device(n))),
        Step::CreateKey(n, lasts) => {
            let expires_at = lasts.map(|seconds| home.store.clock().now() + u64::from(seconds));
            let made = directory.create_key(NewKey { expires_at, ..NewKey::secret(format!("user:{}", user(n))) });
            secrets.extend(made.as_ref().ok().cloned());
            expected(made);
        }
        Step::RevokeKey(n) => expected(directory.revoke_key(&nth(secrets, n).map_or(String::new(), |key| key.key.id))),
        Step::RevokeToken(n, lasts) => {
            expected(directory.revoke_token(&format!("t{n}"), home.store.clock().now() + u64::from(lasts)));
        }
        Step::Assign(n, r) => expected(directory.assign_role(&user(n), role(r))),
        Step::Unassign(n, r) => expected(directory.remove_role(&user(n), &role(r))),
        Step::Pass(seconds) => home.hand.advance_ms(u64::from(seconds) * 1000),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn memory_and_store_agree_and_indexes_lead_home(steps in proptest::collection::vec(step(), 1..50)) {
        let home = memory();
        let mut secrets = Vec::new();
        for step in steps {
            take(&home, &mut secrets, step);
        }
        let live = &home.directory;
        let reread = Directory::open(home.store.clone(), options(home.store.clock().clone())).unwrap();
        prop_assert_eq!(live.export(true).unwrap(), reread.export(true).unwrap());
        for n in 0..4 {
            let (name, email, fingerprint) = (format!("u{n}"), format!("u{n}@example.org"), format!("{n:02x}").repeat(32));
            let by_name = UserSelector::Name { name: &name, domain_id: DEFAULT_DOMAIN };
            for by in [by_name, UserSelector::Email(&email)] {
                prop_assert_eq!(live.find_user(by), reread.find_user(by), "an index that was left behind");
            }
            let by = DeviceSelector::Fingerprint(&fingerprint);
            prop_assert_eq!(live.find_device(by), reread.find_device(by), "an index that was left behind");
        }
        for directory in [live, &reread] {
            for user in directory.list_users(None, 100) {
                let by_name = UserSelector::Name { name: &user.name, domain_id: &user.domain_id };
                prop_assert_eq!(directory.find_user(by_name), Some(user.clone()));
                if let Some(email) = &user.email {
                    prop_assert_eq!(directory.find_user(UserSelector::Email(email)), Some(user.clone()));
                }
            }
            let mut owned = 0;
            for owner in 0..4 {
                for device in directory.list_devices(&format!("o{owner}"), None) {
                    owned += 1;
                    prop_assert_eq!(device.owner_id.clone(), Some(format!("o{owner}")));
                    let found = directory.find_device(DeviceSelector::ClientId(&device.client_id));
                    prop_assert_eq!(found.as_ref(), Some(&device));
                    if let Some(fingerprint) = &device.fingerprint {
                        let found = directory.find_device(DeviceSelector::Fingerprint(fingerprint));
                        prop_assert_eq!(found.as_ref(), Some(&device));
                    }
                }
            }
            prop_assert_eq!(owned, directory.list_all_devices(None, 100).len());
            let listed = directory.list_keys(None, None, 100);
            for issued in &secrets {
                let entry = listed.iter().find(|key| key.id == issued.key.id);
                let now = home.store.clock().now();
                let user = issued.key.owner.strip_prefix("user:").unwrap();
                let usable = entry.is_some_and(|key| key.expires_at.is_none_or(|at| at > now))
                    && directory.find_user(UserSelector::Id(user)).is_some_and(|user| user.enabled);
                prop_assert_eq!(directory.find_key(&issued.secret).is_some(), usable);
                prop_assert_eq!(directory.find_key_by_id(&issued.key.id).is_some(), usable);
            }
        }
    }
}
