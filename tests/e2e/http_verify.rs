//! `/verify`: the requests that others' gateways make about their clients' requests.

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Http, policies};
use serde_json::json;

use crate::http_messages::{header, refused};

const IDENTITY: [&str; 6] =
    ["x-auth-subject", "x-auth-tenant", "x-auth-scheme", "x-auth-acting-for", "x-auth-roles", "x-auth-expires"];

async fn gateway(key: &SigningKey) -> Gateway {
    let policy = format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\n[policy.config]\nleeway = 0\n\
         rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"mine/#\", max-qos = 1 }}]\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nkeys = {{ pem = '''{}''' }}\nalgorithms = \"ES256\"",
        key.public_pem()
    );
    Gateway::start(&Config::new().http_with(&["jwt"], "").toml(&policy)).await
}

#[tokio::test]
async fn a_good_token_passes_with_who_it_is_and_a_bad_one_does_not() {
    let key = SigningKey::new("ES256");
    let gateway = gateway(&key).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let end = now() + 600;
    let subject = "ü, 100%";
    let token = format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": subject, "exp": end })));
    // As nginx's auth_request sends it: no body, the client's headers, and what `proxy_set_header` adds.
    let nginx = [
        ("authorization", token.as_str()),
        ("x-original-uri", "/things?x=1"),
        ("x-original-method", "DELETE"),
        ("x-auth-subject", "root"),
        ("origin", "https://the-clients-page.example"),
    ];
    let passed = http.send("GET", "/verify", &nginx, "").await;
    assert_eq!(passed.status, 200, "{}", passed.body);
    assert_eq!(header(&passed, "x-auth-subject"), Some("%C3%BC,%20100%25"));
    assert_eq!(header(&passed, "x-auth-scheme"), Some("jwt"));
    assert_eq!(header(&passed, "x-auth-expires"), Some(end.to_string().as_str()));
    for name in IDENTITY {
        assert!(header(&passed, name).is_some(), "{name} would be the client's own");
    }
    // As Traefik and Envoy send it; and whatever method the original request had.
    let forwarded = [("authorization", token.as_str()), ("x-forwarded-method", "POST"), ("x-forwarded-uri", "/x")];
    assert_eq!(http.send("GET", "/verify", &forwarded, "").await.status, 200);
    let bearer = [("authorization", token.as_str())];
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        assert_eq!(http.send(method, "/verify/original/path?publish=not-ours", &bearer, "").await.status, 200);
    }
    let expired = format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": "x", "exp": now() - 1 })));
    for bad in ["Bearer x", expired.as_str()] {
        let answer = http.send("GET", "/verify", &[("authorization", bad)], "").await;
        refused(&answer, 401, "0x86");
        assert!(header(&answer, "www-authenticate").is_some());
        assert!(header(&answer, "x-auth-subject").is_none());
    }
    refused(&http.get("/verify").await, 401, "0x86");
    let why = gateway.ask(&["why", subject]);
    assert!(why.contains("allowed") && why.contains("jwt"), "{why}");
}

#[tokio::test]
async fn a_client_behind_another_gateway_does_not_choose_the_answer() {
    let key = SigningKey::new("ES256");
    let gateway = gateway(&key).await;
    let mut http = Http::connect(gateway.address("http")).await;
    // As Envoy appends it, whatever its client wrote.
    for path in ["/verify/../healthz/live", "/verify/%2e%2e/healthz/live", "/verify/x/../../.well-known/jwks.json"] {
        refused(&http.get(path).await, 401, "0x86");
    }
    let token = format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": "x", "exp": now() + 600 })));
    let twice = [("authorization", token.as_str()), ("x-original-uri", "/a"), ("x-original-uri", "/b")];
    refused(&http.send("GET", "/verify", &twice, "").await, 400, "0x81");
    // As Traefik asks; a parameter that does not exist is a slip of the operator's and lets nobody in.
    let traefik = [("authorization", token.as_str()), ("x-forwarded-uri", "/x"), ("x-forwarded-method", "POST")];
    assert_eq!(http.send("GET", "/verify?original=x-forwarded", &traefik, "").await.status, 200);
    refused(&http.send("GET", "/verify?original=forwarded", &traefik, "").await, 400, "0x81");
}

#[tokio::test]
async fn what_may_be_published_can_be_asked_for_others() {
    let key = SigningKey::new("ES256");
    let gateway = gateway(&key).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let token = format!("Bearer {}", key.token(&json!({ "iss": "tests", "sub": "x", "exp": now() + 600 })));
    let bearer = [("authorization", token.as_str())];
    for good in ["?publish=mine/a", "?subscribe=mine/%23", "?publish=mine/a&publish=mine/b&qos=1"] {
        assert_eq!(http.send("GET", &format!("/verify{good}"), &bearer, "").await.status, 200, "{good}");
    }
    for bad in ["?publish=yours/a", "?subscribe=%23", "?publish=mine/a&publish=yours", "?publish=mine/a&retain=true"] {
        refused(&http.send("GET", &format!("/verify{bad}"), &bearer, "").await, 403, "0x87");
    }
    refused(&http.send("GET", "/verify?publish=mine/a&qos=2", &bearer, "").await, 403, "0x87");
    refused(&http.send("GET", "/verify?publish=%23", &bearer, "").await, 400, "0x90");
    let headers = [("authorization", token.as_str()), ("x-verify-publish", "yours/a")];
    refused(&http.send("GET", "/verify/any", &headers, "").await, 403, "0x87");
    let why = gateway.ask(&["why", "x"]);
    assert!(why.contains("yours/a") && why.contains("jwt"), "{why}");
}

/// Each address believes the headers of its own family and no others, whichever a client adds.
#[tokio::test]
async fn headers_of_another_family_are_never_believed() {
    const ORIGINAL: &[(&str, &str)] = &[("x-original-method", "DELETE"), ("x-original-uri", "/nginx/../n?a=1")];
    const FORWARDED: &[(&str, &str)] =
        &[("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/traefik?b=2"), ("x-forwarded-host", "shop.example")];
    let policy = "[[policy]]\nname = \"telling\"\nsource = \"telling.wasm\"";
    let config = Config::new().http_with(&["telling"], "").file("telling.wasm", policies::telling()).toml(policy);
    let gateway = Gateway::start(&config).await;
    let address = gateway.address("http");
    let mut http = Http::connect(address).await;
    let (nginx, traefik, envoy) = ("/verify", "/verify?original=x-forwarded", "/verify/envoy?c=3");
    let (unsaid, envoys) = (format!("GET {address}/verify"), format!("GET {address}/envoy?c=3"));
    let nginxs = format!("DELETE {address}/n?a=1");
    let traefiks = "PUT shop.example/traefik?b=2".to_owned();
    for (to, sets, believed) in [
        (nginx, vec![ORIGINAL], &nginxs),
        (nginx, vec![FORWARDED], &unsaid),
        (nginx, vec![FORWARDED, ORIGINAL], &nginxs),
        (nginx, vec![ORIGINAL, FORWARDED], &nginxs),
        (traefik, vec![FORWARDED], &traefiks),
        (traefik, vec![ORIGINAL], &unsaid),
        (traefik, vec![ORIGINAL, FORWARDED], &traefiks),
        (traefik, vec![FORWARDED, ORIGINAL], &traefiks),
        (envoy, vec![], &envoys),
        (envoy, vec![ORIGINAL], &envoys),
        (envoy, vec![FORWARDED, ORIGINAL], &envoys),
    ] {
        let told = http.send("GET", to, &sets.concat(), "").await;
        assert_eq!((told.status, &told.json()["error"]), (403, &json!(believed)), "{to} {sets:?}");
    }
    for (to, own) in [(nginx, ORIGINAL), (traefik, FORWARDED)] {
        for twice in own {
            refused(&http.send("GET", to, &[own, &[*twice]].concat(), "").await, 400, "0x81");
        }
    }
}
