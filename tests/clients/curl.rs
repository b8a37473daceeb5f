//! curl for each documented call of every interface, good and bad.

use portcullis_tests::people::{EMAIL, PASSWORD, Stand};
use serde_json::json;
use tokio::process::Command;

use crate::succeed;

/// What a call gave.
struct Said {
    status: u16,
    /// Head and body.
    text: String,
}

/// Calls, one after another, against one gateway.
struct Curl {
    root: String,
}

impl Curl {
    async fn call(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Said {
        let mut command = Command::new("curl");
        command.args(["-s", "-i", "--path-as-is", "--max-time", "110", "-w", "\n%{http_code}"]);
        if method == "HEAD" {
            command.arg("-I")
        } else {
            command.args(["-X", method])
        };
        for header in headers {
            command.args(["-H", header]);
        }
        if let Some(body) = body {
            command.args(["--data", body]);
            if body.starts_with(['{', '[']) {
                command.args(["-H", "Content-Type: application/json"]);
            }
        }
        let said = succeed({
            command.arg(format!("{}{path}", self.root));
            command
        })
        .await;
        let (text, status) = said.rsplit_once('\n').expect("the status is on the last line");
        Said { status: status.parse().unwrap(), text: text.to_owned() }
    }

    /// A call with its expected status, and something that the answer must contain.
    async fn expect(
        &self,
        (method, path): (&str, &str),
        headers: &[&str],
        body: Option<&str>,
        status: u16,
        part: &str,
    ) -> String {
        let said = self.call(method, path, headers, body).await;
        assert_eq!(said.status, status, "{method} {path} {headers:?} {body:?}: {}", said.text);
        assert!(said.text.contains(part), "{method} {path} {headers:?}: {part:?} is not in {}", said.text);
        said.text
    }
}

/// The value of a member of a flat JSON body.
fn member(text: &str, name: &str) -> String {
    let body = text.rsplit("\r\n\r\n").next().unwrap();
    let value: serde_json::Value = serde_json::from_str(body.trim()).unwrap_or_else(|why| panic!("{why}: {text}"));
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

async fn start() -> (Stand, Curl) {
    let stand = Stand::new().await;
    let root = format!("http://{}", stand.gateway.address("http"));
    (stand, Curl { root })
}

#[tokio::test]
async fn every_call_of_km_api_and_layer() {
    let (_stand, curl) = start().await;
    let register = ("POST", "/auth/register/");
    let bob = r#"{"email":"bob@example.com","password":"staple battery 9","first_name":"Bob","last_name":"Ray"}"#;
    curl.expect(register, &[], Some(bob), 201, r#""first_name":"Bob""#).await;
    curl.expect(register, &[], Some(bob), 400, "user with this email already exists.").await;
    curl.expect(register, &[], Some("{}"), 400, "This field is required.").await;
    curl.expect(register, &[], Some(r#"{"email":7}"#), 400, "email").await;
    curl.expect(register, &[], Some("{"), 400, "detail").await;
    curl.expect(("GET", "/auth/register/"), &[], None, 405, "").await;
    let login = ("POST", "/auth/login/");
    let good = json!({ "username": EMAIL, "password": PASSWORD }).to_string();
    let token = member(&curl.expect(login, &[], Some(&good), 200, "token").await, "token");
    let form = "username=bob%40example.com&password=staple+battery+9";
    curl.expect(login, &[], Some(form), 200, "token").await;
    let bad = json!({ "username": EMAIL, "password": "guess guess" }).to_string();
    curl.expect(login, &[], Some(&bad), 400, "Unable to log in with provided credentials.").await;
    let token = format!("Authorization: Token {token}");
    curl.expect(register, &[&token], Some(bob), 403, "NOT be authenticated").await;
    let profile = "/auth/profile/";
    curl.expect(("GET", profile), &[&token], None, 200, EMAIL).await;
    curl.expect(("PATCH", profile), &[&token], Some(r#"{"first_name":"Anna"}"#), 200, "Anna").await;
    curl.expect(("GET", profile), &[], None, 403, "Authentication credentials were not provided.").await;
    let unknown = format!("Authorization: Token {}", "0".repeat(40));
    curl.expect(("GET", profile), &[&unknown], None, 403, "Invalid token.").await;

    let accept = "Accept: application/vnd.layer+json; version=1.0";
    let nonce = member(&curl.expect(("POST", "/nonces"), &[accept], None, 201, "nonce").await, "nonce");
    curl.expect(("POST", "/nonces"), &[], None, 406, "107").await;
    let identity = json!({ "nonce": nonce }).to_string();
    curl.expect(("POST", "/auth/layer/"), &[&token], Some("{}"), 400, "This field is required.").await;
    curl.expect(("POST", "/auth/layer/"), &[], Some(&identity), 403, "not provided").await;
    let identity = curl.expect(("POST", "/auth/layer/"), &[&token], Some(&identity), 201, "identity_token").await;
    let app = "layer:///apps/staging/e49e50aa-ffda-453f-adc8-404f68de84ae";
    let opened = json!({ "identity_token": member(&identity, "identity_token"), "app_id": app }).to_string();
    let sessions = ("POST", "/sessions");
    let session = curl.expect(sessions, &[accept], Some(&opened), 201, "session_token").await;
    curl.expect(sessions, &[accept], Some(&opened), 422, "invalid_property").await;
    curl.expect(sessions, &[accept], Some("{}"), 422, "missing_property").await;
    let path = format!("/sessions/{}", member(&session, "session_token"));
    curl.expect(("DELETE", &path), &[accept], None, 204, "").await;
    curl.expect(("DELETE", &path), &[accept], None, 404, "102").await;
}

#[tokio::test]
async fn every_call_of_the_open_iot_platform() {
    let (stand, curl) = start().await;
    let token = ("POST", "/v1/api/auth/token");
    let good = json!({ "username": EMAIL, "password": PASSWORD }).to_string();
    let first = member(&curl.expect(token, &[], Some(&good), 200, "token").await, "token");
    let wrong = json!({ "username": EMAIL, "password": "guess" }).to_string();
    curl.expect(token, &[], Some(&wrong), 401, r#""code":401"#).await;
    curl.expect(token, &[], Some(r#"{"username":1}"#), 400, "Invalid request").await;
    curl.expect(token, &[], Some("[]"), 400, "Invalid request").await;
    let bearer = format!("Authorization: Bearer {first}");
    curl.expect(("GET", "/v1/api/auth/tokenInfo"), &[&bearer], None, 200, r#""accounts""#).await;
    for bad in ["Authorization: Bearer x.y.z", "Authorization: Basic eDp5", "X-Nothing: 1"] {
        for (method, path) in
            [("GET", "/v1/api/auth/tokenInfo"), ("GET", "/v1/api/auth/me"), ("PUT", "/v1/api/auth/me")]
        {
            curl.expect((method, path), &[bad], None, 401, "Not Authorized").await;
        }
    }
    let me = "/v1/api/auth/me";
    curl.expect(("GET", me), &[&bearer], None, 200, EMAIL).await;
    let second = member(&curl.expect(("PUT", me), &[&bearer], None, 200, "token").await, "token");
    curl.expect(("DELETE", me), &[&bearer], None, 204, "").await;
    curl.expect(("GET", me), &[&bearer], None, 401, "Not Authorized").await;
    curl.expect(("GET", me), &[&format!("Authorization: Bearer {second}")], None, 200, EMAIL).await;
    let project = portcullis_tests::directory::tenant(&stand.gateway, "project", &["plant"]);
    let (id, _, code) = portcullis_tests::directory::activated(&stand.gateway, "pump", &project);
    let path = format!("/v1/api/devices/{id}/activation");
    curl.expect(("PUT", &path), &[], Some(r#"{"activationCode":"guess"}"#), 401, "Not Authorized").await;
    curl.expect(("PUT", &path), &[], Some("{}"), 400, "activationCode is required").await;
    let code = json!({ "activationCode": code }).to_string();
    curl.expect(("PUT", &path), &[], Some(&code), 200, "deviceToken").await;
    curl.expect(("PUT", &path), &[], Some(&code), 401, "Not Authorized").await;
}

#[tokio::test]
async fn every_call_of_keystone() {
    let (_stand, curl) = start().await;
    let tokens = "/v3/auth/tokens";
    let by = |password: &str| {
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": EMAIL, "domain": { "id": "default" }, "password": password,
            } } },
            "scope": { "project": { "name": "home", "domain": { "id": "default" } } },
        } })
        .to_string()
    };
    let issued = curl.expect(("POST", tokens), &[], Some(&by(PASSWORD)), 201, "catalog").await;
    let of = |text: &str| {
        let line =
            text.lines().find(|line| line.to_ascii_lowercase().starts_with("x-subject-token:")).expect("a token");
        line.split_once(": ").unwrap().1.trim().to_owned()
    };
    let (own, subject) = (format!("X-Auth-Token: {}", of(&issued)), format!("X-Subject-Token: {}", of(&issued)));
    let short = curl.call("POST", &format!("{tokens}?nocatalog"), &[], Some(&by(PASSWORD))).await;
    assert!(short.status == 201 && !short.text.contains("catalog"), "{}", short.text);
    curl.expect(("POST", tokens), &[], Some(&by("guess")), 401, "Unauthorized").await;
    curl.expect(("POST", tokens), &[], Some("{"), 400, "Bad Request").await;
    curl.expect(("POST", tokens), &[], Some(r#"{"auth":{}}"#), 400, "Bad Request").await;
    let exchange =
        json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": of(&issued) } } } }).to_string();
    curl.expect(("POST", tokens), &[], Some(&exchange), 201, "audit_ids").await;
    curl.expect(("GET", tokens), &[&own, &subject], None, 200, "expires_at").await;
    curl.expect(("HEAD", tokens), &[&own, &subject], None, 200, "").await;
    curl.expect(("GET", tokens), &[&own], None, 404, "No token in the request").await;
    curl.expect(("GET", tokens), &[&subject], None, 401, "Keystone uri=").await;
    curl.expect(("GET", tokens), &[&own, "X-Subject-Token: nonsense"], None, 404, "Not Found").await;
    curl.expect(("GET", "/v3"), &[], None, 200, "version").await;
    for path in ["/v3/auth/projects", "/v3/auth/catalog"] {
        curl.expect(("GET", path), &[&own], None, 200, "").await;
        curl.expect(("GET", path), &[], None, 401, "").await;
    }
    curl.expect(("DELETE", tokens), &[&own, &subject], None, 204, "").await;
    curl.expect(("GET", tokens), &[&own, &subject], None, 401, "Unauthorized").await;
}

#[tokio::test]
async fn every_call_for_messages() {
    let (stand, curl) = start().await;
    let credential = stand.credentials.iter().find(|credential| credential.name == "km-api token").unwrap();
    let (name, value) = &credential.headers[0];
    let header = format!("{name}: {value}");
    let topic = &credential.own;
    curl.expect(("POST", &format!("/publish/{topic}?qos=1&retain=true")), &[&header], Some("kept"), 200, "0x").await;
    curl.expect(("GET", &format!("/retained/{topic}")), &[&header], None, 200, "kept").await;
    curl.expect(("GET", "/retained/users/nobody/x"), &[&header], None, 403, "0x87").await;
    curl.expect(("POST", "/publish/users/nobody/x"), &[&header], Some("x"), 403, "0x87").await;
    curl.expect(("POST", &format!("/publish/{topic}?qos=3")), &[&header], Some("x"), 400, "qos").await;
    curl.expect(("POST", &format!("/publish/{topic}/%23")), &[&header], Some("x"), 400, "0x90").await;
    curl.expect(("GET", "/subscribe/users/nobody/%23"), &[&header], None, 403, "0x87").await;
    for path in [format!("/retained/{topic}"), format!("/subscribe/{topic}"), "/verify".to_owned()] {
        curl.expect(("GET", &path), &[], None, 401, "").await;
    }
    curl.expect(("GET", "/verify"), &[&header], None, 200, "x-auth-subject").await;
    curl.expect(("GET", &format!("/verify?publish={topic}")), &[&header], None, 200, "x-auth-subject").await;
    curl.expect(("GET", "/verify?publish=users/nobody/x"), &[&header], None, 403, "0x87").await;
    curl.expect(("GET", "/verify/../healthz/live"), &[], None, 401, "").await;
    curl.expect(("GET", "/.well-known/jwks.json"), &[], None, 200, "keys").await;
}
