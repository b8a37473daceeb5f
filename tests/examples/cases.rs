//! Every language answers every case of `examples/cases.toml` alike, and says of a wrong configuration what is wrong.

use portcullis_tests::binary::root;
use portcullis_tests::{Refused, config};
use toml::Value;

use crate::language::Language;
use crate::plant::{Plant, configuration};

async fn logins(language: Language) {
    let plant = Plant::start(language).await;
    let text = std::fs::read_to_string(root().join("examples/cases.toml")).unwrap();
    let cases: toml::Table = text.parse().unwrap();
    let cases = cases["case"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let text = |key: &str| case.get(key).and_then(Value::as_str);
        let (name, client_id) = (text("name").unwrap(), text("client-id").unwrap());
        let mut dial = plant.dial("mqtt", client_id);
        dial.hello.username = text("username").map(Into::into);
        dial.hello.password = text("password").map(Into::into);
        let (code, message) = match dial.attempt().await {
            Ok(client) => {
                client.disconnect().await;
                (0, None)
            }
            Err(Refused::Code(code, message)) => (code, message),
            Err(other) => panic!("{language:?}: {name}: {other:?}"),
        };
        let detail = plant.detail(client_id);
        assert_eq!(i64::from(code), case["code"].as_integer().unwrap(), "{language:?}: {name}: {detail}");
        assert_eq!(detail, text("detail").unwrap_or_default(), "{language:?}: {name}");
        if let Some(expected) = text("message") {
            assert_eq!(message.as_deref(), Some(expected), "{language:?}: {name}");
        }
    }
}

#[tokio::test]
async fn rust_answers_every_case() {
    logins(Language::Rust).await;
}

#[tokio::test]
async fn javascript_answers_every_case() {
    logins(Language::JavaScript).await;
}

#[tokio::test]
async fn python_answers_every_case() {
    logins(Language::Python).await;
}

#[tokio::test]
async fn c_answers_every_case() {
    logins(Language::C).await;
}

#[tokio::test]
async fn go_answers_every_case() {
    logins(Language::Go).await;
}

/// What is written into the configuration, and what the self-test says of it.
const WRONG: [(&str, &str); 9] = [
    ("lookup-url = \"ftp://badges/\"", "lookup-url: not an http or https URL that ends with /"),
    ("lookup-url = 7", "lookup-url: not a text"),
    ("fresh = 86401", "fresh: not a whole number from 0 to 86400"),
    ("fresh = \"soon\"", "fresh: not a whole number from 0 to 86400"),
    ("logins-per-hour = 1.5", "logins-per-hour: not a whole number from 1 to 1000000"),
    ("colour = \"red\"", "colour: there is no such key"),
    ("filter = \"{plant}/#\"", "rules.0.filter: empty, or with a placeholder that is not {tenant}, {site} or {badge}"),
    ("actions = [\"publish\", \"fly\"]", "rules.0.actions: not a list of publish, subscribe, retain and will"),
    ("effect = \"perhaps\"", "rules.0.effect: neither allow nor deny"),
];

#[tokio::test]
async fn a_wrong_configuration_never_goes_live_and_the_self_test_names_the_key() {
    for language in Language::ALL {
        let mut plant = Plant::start(language).await;
        let file = plant.gateway.directory().join("portcullis.toml");
        let good = std::fs::read_to_string(&file).unwrap();
        for (wrong, said) in WRONG {
            let key = wrong.split(" = ").next().unwrap();
            let text = if ["filter", "actions", "effect"].contains(&key) {
                in_first_rule(&good, key, wrong)
            } else {
                configuration(language, &plant.service.address(), wrong).write(plant.gateway.directory());
                std::fs::read_to_string(&file).unwrap()
            };
            let from = plant.gateway.log().len();
            config::replace(&file, text.as_bytes());
            plant.gateway.signal(libc::SIGHUP);
            plant.gateway.logged(from, said).await;
        }
        plant.holder("mqtt", "1001").connect().await.disconnect().await;
    }
}

fn in_first_rule(text: &str, key: &str, line: &str) -> String {
    let at = text.find("[[policy.config.rules]]\n").unwrap() + "[[policy.config.rules]]\n".len();
    let end = at + text[at..].find("\n\n").unwrap();
    let kept = text[at..end].lines().filter(|old| !old.starts_with(&format!("{key} = ")));
    let rule: Vec<_> = kept.chain([line]).collect();
    format!("{}{}{}", &text[..at], rule.join("\n"), &text[end..])
}
