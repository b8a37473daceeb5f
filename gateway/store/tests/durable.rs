//! What a restart, a second process, a newer version and a damaged disk do to a store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Duration;

use portcullis_store::{Batch, Durability, OpenError, Options, SCHEMA_VERSION, Store, StoreError};
use redb::{Database, TableDefinition};

const QUOTA: u64 = 1 << 20;

fn open(data: &std::path::Path) -> Result<Store, OpenError> {
    Store::open(data, Options::default())
}

fn entries(store: &Store, kind: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    store.visit_entries(kind, |id, bytes| all.push((id.to_owned(), bytes.to_vec()))).unwrap();
    all
}

fn fill(store: &Store, count: u32) {
    let mut batch = Batch::new();
    for n in 0..count {
        batch.put_entry("user", &format!("{n:06}"), vec![n as u8; 300]);
    }
    store.submit(batch).wait().unwrap();
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    {
        let store = open(data.path()).unwrap();
        let mut batch = Batch::new();
        batch.put_entry("user", "b", b"2".to_vec()).put_entry("user", "a", b"1".to_vec());
        batch.put_entry("users", "x", b"another kind".to_vec()).put_entry("app", "z", b"3".to_vec());
        batch.put_meta("starts", b"7".to_vec());
        store.submit(batch).wait().unwrap();
        let mut batch = Batch::new();
        batch.delete_entry("app", "z").delete_entry("app", "was never there");
        store.submit(batch).wait().unwrap();
        store.key_value("policy:jwt", QUOTA).unwrap().set("nonce", b"1", None).wait().unwrap();
    }
    let store = open(data.path()).unwrap();
    assert_eq!(entries(&store, "user"), [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
    assert_eq!(entries(&store, "app"), []);
    assert_eq!(store.meta("starts").unwrap(), Some(b"7".to_vec()));
    assert_eq!(store.key_value("policy:jwt", QUOTA).unwrap().get("nonce").unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.key_value("policy:api-key", QUOTA).unwrap().get("nonce").unwrap(), None);
}

#[test]
fn closing_writes_what_was_not_synced_yet_and_takes_no_more() {
    for durability in [Durability::None, Durability::Interval(Duration::from_secs(3600))] {
        let data = tempfile::tempdir().unwrap();
        let options = Options { durability, ..Options::default() };
        let store = Store::open(data.path(), options).unwrap();
        for n in 0..20 {
            let mut batch = Batch::new();
            batch.put_entry("user", &n.to_string(), vec![1]);
            store.submit(batch).wait().unwrap();
        }
        assert_eq!(store.statistics().syncs, 0, "nothing was to be synced yet");
        store.close();
        assert_eq!(store.statistics().syncs, 1);
        assert_eq!(store.submit(Batch::new()).wait(), Err(StoreError::Closed));
        assert_eq!(entries(&store, "user").len(), 20, "reading goes on");
        drop(store);
        assert_eq!(entries(&open(data.path()).unwrap(), "user").len(), 20);
    }
}

#[test]
fn a_data_directory_has_one_user_at_a_time() {
    let data = tempfile::tempdir().unwrap();
    let first = open(data.path()).unwrap();
    let second = open(data.path()).unwrap_err();
    assert!(matches!(&second, OpenError::InUse(path) if path == data.path()), "{second:?}");
    assert!(second.to_string().contains("in use by another Portcullis"), "{second}");
    let clone = first.clone();
    drop(first);
    assert!(matches!(open(data.path()), Err(OpenError::InUse(_))), "a clone still holds it");
    drop(clone);
    open(data.path()).unwrap();
}

#[test]
fn a_newer_file_is_refused_and_not_touched() {
    let data = tempfile::tempdir().unwrap();
    drop(open(data.path()).unwrap());
    let path = data.path().join("portcullis.redb");
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let newer = SCHEMA_VERSION + 1;
    transaction
        .open_table(TableDefinition::<&str, &[u8]>::new("meta"))
        .unwrap()
        .insert("schema-version", newer.to_le_bytes().as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(data.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found, .. } if found == newer), "{refused:?}");
    let database = Database::open(&path).unwrap();
    use redb::ReadableDatabase;
    let table = database.begin_read().unwrap().open_table(TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
    assert_eq!(table.get("schema-version").unwrap().unwrap().value(), newer.to_le_bytes());
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("portcullis.redb");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(open(data.path()), Err(OpenError::Foreign(_))));
}

#[test]
fn damage_is_reported_and_the_file_is_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).unwrap();
    fill(&store, 500);
    drop(store);
    let path = data.path().join("portcullis.redb");
    let whole = fs::read(&path).unwrap();

    let mut damaged: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"this is not a database".to_vec()),
        ("cut", whole[..whole.len() / 2].to_vec()),
    ];
    let mut head = whole.clone();
    head[..4096].fill(0xA5);
    damaged.push(("head", head));
    // Entries lie all over the file: a flipped bit in one of them must not be taken for data.
    let at = whole.windows(200).position(|w| w.iter().all(|b| *b == 77)).unwrap();
    let mut bit = whole.clone();
    bit[at + 100] ^= 1;
    damaged.push(("bit", bit));

    for (name, bytes) in damaged {
        fs::write(&path, &bytes).unwrap();
        let refused = open(data.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{name}: {refused:?}");
        assert!(refused.to_string().contains("left as it is"), "{name}: {refused}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}: the evidence is untouched");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(entries(&open(data.path()).unwrap(), "user").len(), 500, "and what is whole opens");
}

#[test]
fn an_octet_changed_anywhere_is_reported_or_does_not_matter() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).unwrap();
    fill(&store, 500);
    drop(store);
    let path = data.path().join("portcullis.redb");
    let whole = fs::read(&path).unwrap();
    let intact = entries(&open(data.path()).unwrap(), "user");
    let mut reported = 0;
    // Through the header closely, then here and there across the pages.
    let places = (0..320).step_by(3).chain((320..whole.len()).step_by((whole.len() / 80) | 1));
    for at in places {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(&path, &changed).unwrap();
        match open(data.path()) {
            Ok(store) => assert_eq!(entries(&store, "user"), intact, "octet {at}"),
            Err(OpenError::Damaged { .. } | OpenError::Engine { .. }) => reported += 1,
            Err(other) => panic!("octet {at}: {other:?}"),
        }
    }
    assert!(reported > 10, "only {reported} were noticed");
}

#[test]
fn an_interrupted_first_start_leaves_nothing_that_looks_damaged() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("portcullis.redb.new"), b"half").unwrap();
    let store = open(data.path()).unwrap();
    fill(&store, 3);
    drop(store);
    assert_eq!(entries(&open(data.path()).unwrap(), "user").len(), 3);
    assert!(!data.path().join("portcullis.redb.new").exists());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("new");
    let _store = open(&data).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("portcullis.redb")), 0o600);
}

#[test]
fn what_cannot_be_made_is_said_with_its_path() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("file");
    fs::write(&data, b"").unwrap();
    let refused = open(&data).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains("file"), "{refused}");
}
