//! The desk: `portcullis policy test` and what else somebody who writes a policy does before production.

use std::path::Path;
use std::process::Output;

use portcullis_tests::binary::root;
use portcullis_tests::{gateway, policies};

const BUNDLED: [&str; 6] = ["anonymous", "api-key", "device", "jwt", "keystone", "layer"];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A directory with a file of cases, and the outcome of putting a policy to it.
fn put(policy: &str, cases: &str, more: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("cases.toml"), cases).unwrap();
    let arguments: Vec<&str> = ["policy", "test", policy, "cases.toml"].iter().chain(more).copied().collect();
    let output = gateway::run(directory.path(), &arguments);
    (output.status.code().unwrap(), said(&output))
}

#[test]
fn the_bundled_policies_do_what_their_cases_say() {
    for name in BUNDLED {
        let cases = format!("policies/{name}/cases.toml");
        assert!(root().join(&cases).exists(), "{cases} documents the policy by example");
        for more in [&[][..], &["--fresh"][..]] {
            let arguments: Vec<_> = ["policy", "test", &format!("builtin:{name}"), &cases].map(str::to_owned).to_vec();
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.extend(more);
            let output = gateway::run(root(), &arguments);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
        }
    }
}

#[test]
fn a_case_that_does_not_hold_is_shown_with_what_was_expected_and_what_came() {
    let cases = r##"
[[case]]
name = "visitors are refused"
connect = { client-id = "v" }
[case.expect]
verdict = "deny"
may-not = ["publish a/b qos 1"]

[[case]]
name = "visitors are admitted"
connect = { client-id = "v" }
expect = { verdict = "allow", rules = [{ filter = "#" }] }
"##;
    let (code, said) = put("builtin:anonymous", cases, &[]);
    assert_eq!(code, 1, "{said}");
    for part in [
        "FAIL  visitors are refused",
        "cases.toml:2",
        "expected  \"deny\"",
        "got       \"allow\"",
        "may not \"publish a/b qos 1\"",
        "ok    visitors are admitted",
        "2 cases: 1 hold, 1 do not",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let (code, said) = put("builtin:anonymous", cases, &["--filter", "admitted"]);
    assert_eq!((code, said.contains("refused")), (0, false), "{said}");
    let (code, said) = put("builtin:anonymous", cases, &["--json"]);
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &shown[0]["holds"], &shown[1]["holds"]), (1, &false.into(), &true.into()), "{said}");
    assert_eq!(shown[0]["failures"][0]["differences"][0]["at"], "verdict", "{said}");
    assert_eq!(shown[0]["failures"][0]["differences"][1]["at"], "may not \"publish a/b qos 1\"", "{said}");
}

#[test]
fn a_file_of_cases_with_a_mistake_tests_nothing_and_says_where() {
    let (code, said) = put("builtin:anonymous", "[[case]]\nname = \"a\"\nconect = { client-id = \"v\" }\n", &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("cases.toml:3:1") && said.contains("did you mean `connect`?"), "{said}");
    let (code, said) = put("builtin:nonsense", "[[case]]\nname = \"a\"\n", &[]);
    assert!(code == 4 && said.contains("builtin:nonsense") | said.contains("\"nonsense\""), "{said}");
    let impossible = "[[case]]\nname = \"a\"\nconnect.password.token = { key = \"none\", claims = {} }\n";
    let (code, said) = put("builtin:anonymous", impossible, &[]);
    assert!(code == 3 && said.contains("no token can be made with the key \"none\""), "{said}");
}

/// Messages in front of `policies::filtering`, which goes by their first octet.
const FILTERED: &str = r##"
[[case]]
name = "messages"
publish = { topic = "plant/1/raw", payload = "as it is", qos = 1 }
expect = { verdict = "pass" }
[[case.then]]
publish = { topic = "$SYS/x", payload = "move it" }
expect = { verdict = "replace", topic = "plant/clean" }
[[case.then]]
publish = { topic = "a", payload = "put another in its place", retain = true, by = { subject = "press", roles = ["x"] } }
expect = { verdict = "replace", payload = "seen" }
[[case.then]]
publish = { topic = "a", payload = "drop it", will = true, user-properties = { a = "b" } }
expect = { verdict = "drop" }
[[case.then]]
publish = { topic = "a", payload = { json = "r" }, content-type = "text/plain" }
expect = { verdict = "pass" }
[[case.then]]
publish = { topic = "a", payload = "refuse it" }
expect = { verdict = "refuse", reason = "payload-format-invalid", detail = "not today" }

[[case]]
name = "a filter that traps"
publish = { topic = "a", payload = "trap" }
expect = { verdict = "refuse", reason = "failed", detail = "unreachable" }
"##;

#[test]
fn a_filter_is_put_to_messages() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, octets: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, octets).unwrap();
        path.to_string_lossy().into_owned()
    };
    let sieve = file("sieve.wasm", &policies::filtering(false));
    let (code, said) = put(&sieve, FILTERED, &[]);
    assert!(code == 0 && said.contains("2 cases: 2 hold"), "{said}");
    let (code, said) = put(&sieve, &FILTERED.replace("plant/clean", "plant/other"), &["--filter", "messages"]);
    assert!(
        code == 1 && said.contains("expected  \"plant/other\"") && said.contains("got       \"plant/clean\""),
        "{said}"
    );
    // What is no filter is told so, and what is no message too.
    let (code, said) = put(&file("passing.wasm", &policies::passing()), FILTERED, &["--filter", "messages"]);
    assert!(code == 1 && said.contains("does not export `message-filter`"), "{said}");
    let (code, said) = put(&sieve, "[[case]]\nname = \"a\"\npublish = { topic = \"a/#\", qos = 3 }\n", &[]);
    assert!(code == 3 && said.contains("is no topic of a message") && said.contains("0, 1 or 2"), "{said}");
    // Asked again and again, a case that does not stay the same is not one figure.
    std::fs::write(directory.path().join("cases.toml"), FILTERED).unwrap();
    let bench = ["policy", "bench", "sieve.wasm", "cases.toml", "--filter", "messages", "--seconds", "1", "--json"];
    let told = said_of_json(&gateway::run(directory.path(), &bench));
    let verdicts = told["cases"][0]["verdicts"].as_object().unwrap();
    assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["drop", "pass", "refuse", "replace"], "{told}");
    assert!(told["instantiate"]["calls"].as_u64() > Some(0), "{told}");
}

fn said_of_json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn a_component_is_told_in_all_its_parts() {
    let output = gateway::run(root(), &["policy", "inspect", "builtin:jwt", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((shown["name"].as_str(), shown["digest"].as_str().map(str::len)), (Some("jwt"), Some(64)), "{shown}");
    assert_eq!(shown["needs"][0]["grant"], "allow = { keys = [\"…\"] }", "{shown}");
    let octets = |key: &str| shown[key].as_u64().unwrap();
    assert!(octets("core_octets") < octets("octets") && octets("octets") < octets("compiled_octets"), "{shown}");
    assert!(shown["config_schema"]["properties"]["issuers"].is_object(), "{shown}");
    let output = gateway::run(root(), &["policy", "inspect", "builtin:keystone"]);
    let said = said(&output);
    assert!(said.contains("allow = { http = [\"host:port\"] } for http-client") && said.contains("config"), "{said}");
}

#[test]
fn the_contract_comes_out_of_the_binary_as_it_is_here() {
    let directory = tempfile::tempdir().unwrap();
    let output = gateway::run(directory.path(), &["policy", "wit", "contract"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut files = 0;
    for entry in std::fs::read_dir(root().join("wit")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".wit") {
            let written = std::fs::read_to_string(directory.path().join("contract").join(&name));
            assert_eq!(written.ok(), std::fs::read_to_string(entry.path()).ok(), "{name}");
            files += 1;
        }
    }
    assert!(files > 8);
    // Again is no harm; over somebody's own work it is.
    assert_eq!(gateway::run(directory.path(), &["policy", "wit", "contract"]).status.code(), Some(0));
    std::fs::write(directory.path().join("contract/types.wit"), "mine").unwrap();
    let output = gateway::run(directory.path(), &["policy", "wit", "contract"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("differs"), "{}", said(&output));
}

/// Loads a guest that misbehaves, and gives what is said of it.
fn misbehaving(component: &[u8], allow: &str, directory: &Path) -> String {
    std::fs::write(directory.join("guest.wasm"), component).unwrap();
    let cases = format!(
        "{allow}\n[[case]]\nname = \"a\"\nconnect = {{ client-id = \"v\" }}\nexpect = {{ verdict = \"allow\" }}\n"
    );
    std::fs::write(directory.join("cases.toml"), cases).unwrap();
    let output = gateway::run(directory, &["policy", "test", "guest.wasm", "cases.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn a_failure_says_what_it_was_and_which_line_of_the_configuration_helps() {
    let directory = tempfile::tempdir().unwrap();
    let said = misbehaving(&policies::hungry(), "", directory.path());
    assert!(said.contains("ran out of memory") && said.contains("limits = { memory ="), "{said}");
    let said = misbehaving(&policies::looping(), "limits = { deadline = \"100ms\" }", directory.path());
    assert!(said.contains("within 100 ms: it was computing") && said.contains("deadline ="), "{said}");
}

#[test]
fn a_project_is_made_once_and_only_with_a_name_that_a_policy_may_have() {
    let directory = tempfile::tempdir().unwrap();
    for language in ["rust", "js", "ts", "python", "c", "go"] {
        let made = gateway::run(directory.path(), &["policy", "new", "--lang", language, &format!("in-{language}")]);
        assert!(made.status.success(), "{}", said(&made));
        let project = directory.path().join(format!("in-{language}"));
        for file in [
            "README.md",
            "build",
            "cases.toml",
            "portcullis.toml",
            "wit/world.wit",
            "wit/deps/portcullis-policy/types.wit",
        ] {
            let text =
                std::fs::read_to_string(project.join(file)).unwrap_or_else(|why| panic!("{language} {file}: {why}"));
            for placeholder in ["NAME", "LANGUAGE", "LIMITS", "BUILD\n"] {
                assert!(!text.contains(placeholder), "{language}: {file} has a {placeholder}");
            }
        }
    }
    for wrong in ["", "Upper", "../up", "a b"] {
        let output = gateway::run(directory.path(), &["policy", "new", "--lang", "rust", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", said(&output));
    }
    let again = gateway::run(directory.path(), &["policy", "new", "--lang", "js", "in-js"]);
    assert!(again.status.code() == Some(1) && said(&again).contains("is there already"), "{}", said(&again));
}
