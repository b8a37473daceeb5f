//! The list of statements, the tests and the README agree: no statement of a server without a test, no test named that
//! is not there, and no test that proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use toml::Table;

/// Title, file, and how many statements the source has.
const LISTS: [(&str, &str, usize); 3] =
    [("MQTT 5.0", "v5.toml", 251), ("MQTT 3.1.1", "v3.1.1.toml", 141), ("Without a number", "further.toml", 37)];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conformance"))
}

/// Where a statement stands.
enum Standing {
    /// These tests prove it.
    Tests(Vec<String>),
    /// It is the client's duty.
    Client(String),
    /// It does not arise.
    Moot(String),
    /// Not there yet.
    Open(String),
}

struct Statement {
    id: String,
    says: String,
    standing: Standing,
}

/// A list in the order of its source.
fn read(file: &str) -> Vec<Statement> {
    let text = std::fs::read_to_string(folder().join("statements").join(file)).expect("a list");
    let table: Table = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut statements: Vec<Statement> = table
        .into_iter()
        .map(|(id, entry)| {
            let entry = entry.as_table().unwrap_or_else(|| panic!("{id}: a table"));
            let words = |key: &str| entry.get(key).map(|text| text.as_str().expect("text").to_owned());
            let tests = entry.get("tests").map(|tests| {
                let tests = tests.as_array().expect("a list of tests");
                assert!(!tests.is_empty(), "{id}: no test");
                tests.iter().map(|test| test.as_str().expect("a test's name").to_owned()).collect()
            });
            let mut standings: Vec<Standing> = tests.map(Standing::Tests).into_iter().collect();
            standings.extend(words("client").map(Standing::Client));
            standings.extend(words("moot").map(Standing::Moot));
            standings.extend(words("open").map(Standing::Open));
            assert_eq!((standings.len(), entry.len()), (1, 2), "{id}: `says`, and one of tests, client, moot, open");
            let says = words("says").unwrap_or_else(|| panic!("{id}: `says`"));
            Statement { id, says, standing: standings.remove(0) }
        })
        .collect();
    // TOML's tables have no order: lines have.
    let place = |id: &str| text.find(&format!("\n\"{id}\"")).expect("its line");
    statements.sort_by_key(|statement| place(&statement.id));
    statements
}

/// The tests of this program, as it lists them itself.
fn tests() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(["--list", "--format", "terse"]).output().expect("a list of tests");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| !name.starts_with("table::"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_statement_of_a_server_has_a_test_and_every_test_a_statement() {
    let tests = tests();
    let mut unused = tests.clone();
    for (title, file, count) in LISTS {
        let statements = read(file);
        assert_eq!(statements.len(), count, "{title}: statements");
        for Statement { id, standing, .. } in statements {
            if let Standing::Tests(named) = standing {
                for test in named {
                    assert!(tests.contains(&test), "{id} names {test}, which does not exist");
                    unused.remove(&test);
                }
            }
        }
    }
    assert!(unused.is_empty(), "these tests prove no statement: {unused:#?}");
}

#[test]
fn numbers_leave_no_gap() {
    for (_, file, _) in &LISTS[..2] {
        let mut sections: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for Statement { id, .. } in read(file) {
            let (section, number) = id.rsplit_once('-').expect("a number");
            sections.entry(section.into()).or_default().insert(number.parse().expect("a number"));
        }
        for (section, numbers) in sections {
            // MQTT 5 has no 2.2.1-1.
            let first = if *file == "v5.toml" && section == "MQTT-2.2.1" { 2 } else { 1 };
            let last = *numbers.last().expect("one");
            assert_eq!(numbers, (first..=last).collect(), "{file} {section}");
        }
    }
}

/// The page for people.
fn page() -> String {
    let mut page = String::from(
        "# Conformance\n\n\
         Made from `statements/*.toml` by `PORTCULLIS_BLESS=1 cargo test -p portcullis-tests --test conformance table`; a test fails \
         when it is stale.\n\n\
         Every normative statement of MQTT 5.0 and 3.1.1 is listed, in our words, with the tests that prove it: exchanges of packets \
         with the real binary, octet by octet, with a codec that shares no code with the gateway's. The same tests run for MQTT \
         3.1 wherever it has the same rule.\n\n",
    );
    let mut open = String::new();
    let mut lists = String::new();
    let _ = writeln!(
        page,
        "| | statements | tested | of clients | do not arise | open |\n| --- | --- | --- | --- | --- | --- |"
    );
    for (title, file, _) in LISTS {
        let statements = read(file);
        let mut counts = [0; 4];
        let _ = writeln!(lists, "\n## {title}\n\n| statement | says | proof |\n| --- | --- | --- |");
        for Statement { id, says, standing } in &statements {
            let (at, proof) = match standing {
                Standing::Tests(tests) => {
                    let named: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
                    (0, named.join(", "))
                }
                Standing::Client(why) => (1, format!("The client's duty. {why}")),
                Standing::Moot(why) => (2, format!("Does not arise. {why}")),
                Standing::Open(why) => {
                    let _ = writeln!(open, "- {id}: {says} {why}");
                    (3, format!("**Open.** {why}"))
                }
            };
            counts[at] += 1;
            let _ = writeln!(lists, "| {id} | {says} | {proof} |");
        }
        let [tested, client, moot, still] = counts;
        let _ = writeln!(page, "| {title} | {} | {tested} | {client} | {moot} | {still} |", statements.len());
    }
    let open = if open.is_empty() { "Nothing is open.\n".to_owned() } else { format!("Open:\n\n{open}") };
    let _ = write!(page, "\n{open}{lists}");
    page
}

#[test]
fn the_readme_says_what_the_lists_say() {
    let path = folder().join("README.md");
    let page = page();
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        std::fs::write(&path, &page).expect("README.md");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "README.md is stale: run with PORTCULLIS_BLESS=1");
}
