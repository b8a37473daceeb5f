//! What the tests of this room share: a directory whose time stands still and whose passwords are cheap.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;

use portcullis_identity::{
    DEFAULT_DOMAIN, DeviceCredential, Directory, DirectoryOptions, LockOut, NewApp, NewDevice, NewUser, PasswordCost,
};
use portcullis_store::{Clock, ClockHand, Options, Store};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const PASSWORD: &[u8] = b"correct horse battery";

pub(crate) const LOCK_OUT: LockOut = LockOut { after: 3, window: 600, lasts: 300, per_address: 5 };

pub(crate) fn options(clock: Clock) -> DirectoryOptions {
    DirectoryOptions {
        clock,
        password_cost: PasswordCost { memory_kib: 64, passes: 1 },
        lock_out: LOCK_OUT,
        ..DirectoryOptions::default()
    }
}

pub(crate) struct Home {
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) hand: ClockHand,
}

pub(crate) fn memory() -> Home {
    let (clock, hand) = Clock::manual(NOW * 1000);
    let store = Store::in_memory(Options { clock: clock.clone(), ..Options::default() }).unwrap();
    Home { directory: Directory::open(store.clone(), options(clock)).unwrap(), store, hand }
}

pub(crate) fn on_disk(data: &Path) -> Home {
    let (clock, hand) = Clock::manual(NOW * 1000);
    let store = Store::open(data, Options { clock: clock.clone(), ..Options::default() }).unwrap();
    Home { directory: Directory::open(store.clone(), options(clock)).unwrap(), store, hand }
}

pub(crate) fn user(name: &str) -> NewUser {
    NewUser {
        name: name.to_owned(),
        domain_id: DEFAULT_DOMAIN.to_owned(),
        email: Some(format!("{name}@Example.org")),
        password: PASSWORD.to_vec(),
        attributes: vec![("first-name".to_owned(), "Ada".to_owned())],
    }
}

pub(crate) fn app(id: &str) -> NewApp {
    NewApp { id: Some(id.to_owned()), name: "Lamps".to_owned(), ..NewApp::default() }
}

pub(crate) fn device(external_id: &str) -> NewDevice {
    NewDevice {
        app_id: None,
        owner_id: Some("alice".to_owned()),
        external_id: external_id.to_owned(),
        credential: DeviceCredential::Username,
        fingerprint: None,
        certificate_subject: None,
        attributes: Vec::new(),
    }
}

pub(crate) fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
