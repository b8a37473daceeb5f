//! The audit stream: who came, from where, what was decided by whom, and who changed what; on every place that is
//! configured, whole or with the number of what is missing, and without a secret.

use portcullis_tests::{Config, Dial, Gateway, Message, Transport, Version, within};
use serde_json::{Value, json};

const AUDIT: &str = "[audit]\nfile = \"audit.jsonl\"\nstdout = true\ntopic = \"$SYS/portcullis/audit\"";

/// Listener `tcp` for everybody, and `auditors` for those who may read the stream.
fn config() -> Config {
    Config::new()
        .mqtt("tcp", Transport::Tcp, &["people", "anonymous"])
        .mqtt("auditors", Transport::Tcp, &["auditor"])
        .toml(AUDIT)
        .toml("[[policy]]\nname = \"people\"\nsource = \"builtin:api-key\"")
        .toml(
            "[[policy]]\nname = \"anonymous\"\nsource = \"builtin:anonymous\"\n[policy.config]\ncredentials = \"pass\"\n\
             rules = [{ actions = [\"publish\", \"subscribe\"], filter = \"open/#\" }]",
        )
        .toml(
            "[[policy]]\nname = \"auditor\"\nsource = \"builtin:anonymous\"\n[policy.config]\n\
             rules = [{ actions = \"subscribe\", filter = \"$SYS/portcullis/audit\" }]",
        )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits for an entry of the file, and gives all entries up to then.
pub(crate) async fn entries(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let file = gateway.directory().join("audit.jsonl");
    within("an entry of the audit", async {
        loop {
            let all = lines(&std::fs::read_to_string(&file).unwrap_or_default());
            if all.iter().any(&wanted) {
                return all;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn is(what: &'static str, verdict: &'static str, client: &'static str) -> impl Fn(&Value) -> bool {
    move |entry| entry["what"] == what && entry["verdict"] == verdict && entry["client-id"] == client
}

#[tokio::test]
async fn who_when_from_where_by_whom_and_why() {
    let mut gateway = Gateway::start(&config()).await;
    let auditors = gateway.route_to("auditors", Transport::Tcp);
    let mut auditor = Dial::new(auditors, Version::V5, "auditor").connect().await;
    assert_eq!(auditor.subscribe("$SYS/portcullis/audit", 1).await, 1);
    assert_eq!(gateway.tcp(Version::V5, "spy").connect().await.subscribe("$SYS/#", 1).await, 0x87, "by grant only");

    let mut client = gateway.tcp(Version::V5, "pump").connect().await;
    assert_eq!(client.publish(Message::new("secret/x", "no").qos(1)).await, 0x87);
    client.disconnect().await;
    let all = entries(&gateway, is("end", "ended", "pump")).await;
    let digest = gateway.admin().get("/api/v1/policies").await.good()["items"][0]["digest"].clone();

    let login = all.iter().find(|entry| is("login", "allowed", "pump")(entry)).expect("the login");
    assert_eq!(login["policy"], "anonymous");
    assert_eq!(login["digest"], digest);
    assert_eq!((&login["scheme"], &login["subject"]), (&json!("anonymous"), &json!("anonymous")));
    assert_eq!(
        (&login["listener"], &login["transport"], &login["protocol"]),
        (&json!("tcp"), &json!("tcp"), &json!("mqtt"))
    );
    assert_eq!(login["freshness"], "fresh");
    assert!(login["micros"].as_u64().is_some_and(|micros| micros > 0), "{login}");
    assert!(login["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{login}");
    let at = login["at"].as_str().expect("a time");
    assert!(at.len() == 27 && at.ends_with('Z'), "RFC 3339 with microseconds: {at}");
    let publish = all.iter().find(|entry| is("publish", "refused", "pump")(entry)).expect("the publication");
    assert_eq!((&publish["target"], &publish["reason"]), (&json!("secret/x"), &json!("not-authorized")));

    // The same on standard output and on the topic, as soon as it happens.
    let said = gateway.said("\"end\",\"verdict\":\"ended\"").await;
    assert!(lines(&said).iter().any(|entry| is("login", "allowed", "pump")(entry)), "{said}");
    let mut published = Vec::new();
    while !published.iter().any(is("end", "ended", "pump")) {
        published.push(serde_json::from_slice::<Value>(&auditor.message().await.payload).expect("JSON"));
    }
    assert!(published.iter().any(is("login", "allowed", "pump")));
    assert!(published.iter().any(is("subscribe", "refused", "spy")));
    // Publishing an entry makes none: what comes next is about the next client.
    gateway.tcp(Version::V5, "last").connect().await.disconnect().await;
    let next: Value = serde_json::from_slice(&auditor.message().await.payload).expect("JSON");
    assert!(next["client-id"] == "spy" || next["client-id"] == "last", "{next}");
    assert_eq!(gateway.metric("portcullis_audit_entries_total{place=\"topic\",outcome=\"lost\"}").await, 0);
}

#[tokio::test]
async fn operators_and_what_they_change_are_in_it() {
    let gateway = Gateway::start(&config()).await;
    let _ = gateway.ask(&["app", "add", "plant"]);
    let _ = gateway.ask(&["policy", "reload", "anonymous"]);
    gateway.signal(libc::SIGHUP);
    let all = entries(&gateway, |entry| entry["what"] == "reload").await;
    let one = |what: &str| all.iter().find(|entry| entry["what"] == what).unwrap_or_else(|| panic!("{what}: {all:?}"));
    let by = |entry: &Value| entry["by"].as_str().expect("somebody").to_owned();
    assert_eq!(one("directory")["verdict"], "created");
    assert!(one("directory")["target"].as_str().is_some_and(|target| target.starts_with("app:")));
    assert!(by(one("directory")).starts_with("administrator at 127.0.0.1:"), "{}", by(one("directory")));
    let request = all.iter().find(|entry| entry["target"] == "POST /api/v1/policies/anonymous/reload");
    assert_eq!(request.map(|entry| &entry["verdict"]), Some(&json!("done")));
    assert_eq!(one("policy")["target"], "anonymous");
    assert!(by(one("policy")).starts_with("administrator at"));
    assert_eq!(by(one("reload")), "SIGHUP came");
}

#[tokio::test]
async fn no_secret_is_in_it() {
    let mut gateway = Gateway::start(&config().mqtt("devices", Transport::Tcp, &["device", "jwt"])).await;
    let _ = gateway.ask(&["app", "add", "plant", "--id", "plant"]);
    let (_, key) = portcullis_tests::directory::key(&gateway, "app:plant");
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ0ZXN0cyIsInN1YiI6ImEifQ.c2VjcmV0c2VjcmV0";
    let secrets = [key.as_str(), token, "hunter2hunter2", "device-token-4711"];
    for (number, secret) in secrets.iter().enumerate() {
        for listener in ["tcp", "devices"] {
            let dial = |id: &str| Dial::new(gateway.route_to(listener, Transport::Tcp), Version::V5, id);
            let _ = dial(&format!("a{number}")).login("somebody", secret).attempt().await;
            // Some schemes have the credential stand as the user name.
            let _ = dial(&format!("b{number}")).login(secret, "").attempt().await;
        }
    }
    gateway.tcp(Version::V5, "last").connect().await.disconnect().await;
    let all = entries(&gateway, is("end", "ended", "last")).await;
    let said = gateway.said("\"last\"").await;
    let why = gateway.ask(&["why", "a0", "--json"]);
    let decisions = gateway.admin().get("/api/v1/decisions?limit=1000").await.body;
    let metrics = gateway.admin().get("/metrics").await.body;
    let file = all.iter().map(Value::to_string).collect::<String>();
    for secret in secrets {
        for (place, text) in [
            ("the file", &file),
            ("standard output", &said),
            ("why", &why),
            ("decisions", &decisions),
            ("metrics", &metrics),
            ("the log", &gateway.log()),
        ] {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
    }
}

#[tokio::test]
async fn what_commands_change_while_no_gateway_runs_is_told_by_the_next() {
    let mut gateway = Gateway::start(&config()).await;
    gateway.stop().await;
    let directory = gateway.into_directory();
    let run = |arguments: &[&str]| {
        let output = portcullis_tests::gateway::run(directory.path(), &[arguments, &["--data", "data"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["domain", "add", "plant", "--id", "plant"]);
    run(&["domain", "set", "plant", "enabled=false"]);
    run(&["domain", "remove", "plant"]);
    let noted = std::fs::read_to_string(directory.path().join("data/audit.pending")).expect("a file");
    let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
    let gateway = Gateway::spawn(directory, &serve).await.expect("it starts");
    let gone = |entry: &Value| entry["verdict"] == "deleted" && entry["target"] == "domain:plant";
    let all = entries(&gateway, gone).await;
    for verdict in ["created", "disabled", "deleted"] {
        let told = all.iter().find(|entry| entry["what"] == "directory" && entry["verdict"] == verdict);
        let told = told.unwrap_or_else(|| panic!("no {verdict} in {all:?}"));
        assert_eq!(told["target"], "domain:plant");
        assert_eq!(told["by"], "the command line, while no gateway ran");
        assert!(noted.contains(told["at"].as_str().expect("a time")), "the time at which it was changed");
    }
    assert!(!gateway.data().join("audit.pending").exists(), "it is told once");
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_begun_anew_on_sighup() {
    let mut gateway = Gateway::start(&config()).await;
    gateway.tcp(Version::V5, "before").connect().await.disconnect().await;
    entries(&gateway, is("end", "ended", "before")).await;
    let file = gateway.directory().join("audit.jsonl");
    std::fs::rename(&file, gateway.directory().join("audit.old")).expect("a rename");
    gateway.reload().await;
    gateway.tcp(Version::V5, "after").connect().await.disconnect().await;
    let all = entries(&gateway, is("end", "ended", "after")).await;
    assert!(!all.iter().any(is("login", "allowed", "before")), "that is in the other file");
}

#[tokio::test]
async fn a_full_disk_stops_nobody_and_what_is_missing_is_said() {
    let mut gateway = Gateway::start(&config()).await;
    gateway.tcp(Version::V5, "before").connect().await.disconnect().await;
    entries(&gateway, is("end", "ended", "before")).await;
    let from = gateway.log().len();
    gateway.limit_files(Some(16));
    gateway.tcp(Version::V5, "meanwhile").connect().await.disconnect().await;
    gateway.logged(from, "the audit stream cannot be written").await;
    let lost = "portcullis_audit_entries_total{place=\"file\",outcome=\"lost\"}";
    gateway.until_metric(lost, |lost| lost >= 2).await;
    gateway.limit_files(None);
    gateway.tcp(Version::V5, "after").connect().await.disconnect().await;
    let all = entries(&gateway, is("end", "ended", "after")).await;
    let missing = all.iter().find(|entry| entry["what"] == "lost").expect("a word about what is missing");
    assert!(missing["times"].as_u64().is_some_and(|times| times >= 2), "{missing}");
    assert!(!all.iter().any(is("login", "allowed", "meanwhile")));
}

#[tokio::test]
async fn why_goes_on_with_what_comes() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let gateway = Gateway::start(&config()).await;
    gateway.tcp(Version::V5, "pump").connect().await.disconnect().await;
    entries(&gateway, is("end", "ended", "pump")).await;
    let arguments = ["why", "pump", "--follow", "--json", "--data", "data"];
    let mut command =
        tokio::process::Command::from(portcullis_tests::gateway::command(gateway.directory(), &arguments));
    let mut following = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("a command");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let mut next = async || {
        let line = within("a decision", lines.next_line()).await.expect("a pipe").expect("a line");
        let entry: Value = serde_json::from_str(&line).expect("JSON");
        (entry["what"].as_str().expect("a word").to_owned(), entry["micros"].is_u64())
    };
    assert_eq!(next().await, ("login".to_owned(), true));
    assert_eq!(next().await, ("end".to_owned(), false));
    gateway.tcp(Version::V5, "other").connect().await.disconnect().await;
    let client = gateway.tcp(Version::V5, "pump").connect().await;
    assert_eq!(next().await, ("login".to_owned(), true), "as soon as it happens");
    client.disconnect().await;
    assert_eq!(next().await, ("end".to_owned(), false));
}
