//! `examples/plausible-js`: a filter, which passes its own cases and stands between clients.

use portcullis_tests::binary::root;
use portcullis_tests::{Config, Gateway, Message, Transport, Version, gateway};

use crate::compiled;
use crate::language::build;

#[tokio::test]
async fn a_filter_passes_its_cases_and_stands_between_clients() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("plausible.wasm");
    build("plausible-js", &component);
    let cases = root().join("examples/plausible-js/cases.toml");
    let tested = gateway::run(folder.path(), &["policy", "test", "plausible.wasm", &cases.to_string_lossy()]);
    let said = format!("{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    assert!(tested.status.success(), "{said}");

    let filters = "filters = [{ policy = \"plausible\", topics = [\"plant/+/raw\"] }]";
    let config = Config::new()
        .mqtt_with("tcp", Transport::Tcp, &["anonymous"], filters)
        .file("plausible.wasm", std::fs::read(&component).unwrap())
        // A busy machine is slow to begin.
        .toml("[[policy]]\nname = \"plausible\"\nsource = \"plausible.wasm\"\nlimits = { deadline = \"20s\" }\nconfig = { most = 85 }");
    config.write(folder.path());
    compiled::load(folder.path());
    let gateway = Gateway::spawn(folder, &["serve", "--config", "portcullis.toml", "--data", "data"]).await.unwrap();
    let mut listener = gateway.tcp(Version::V5, "listener").connect().await;
    listener.subscribe("plant/#", 1).await;
    let mut publisher = gateway.tcp(Version::V5, "thermometer").connect().await;
    for (payload, code) in
        [("warm", 0x99), ("{\"fahrenheit\": 212}", 0x99), ("{\"test\": true}", 0), ("{\"fahrenheit\": 68}", 0)]
    {
        assert_eq!(publisher.publish(Message::new("plant/hall/raw", payload).qos(1)).await, code, "{payload}");
    }
    // Only the last came through, in another form.
    let message = listener.message().await;
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("plant/hall/raw", &br#"{"celsius":20}"#[..]));
}
