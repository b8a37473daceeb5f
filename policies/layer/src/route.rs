//! Which request goes where.

use policy_support::wit::types::{Connection, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http};

use crate::config::Config;
use crate::fields::detail;
use crate::{km, layer, register};

/// Answers a request.
pub fn handle(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    request: &HttpRequest,
) -> HttpResponse {
    let answer = answer(gateway, config, connection, request).unwrap_or_else(|refused| refused);
    // Tokens, nonces and profiles: nothing here is for a cache.
    http::with(answer, "cache-control", "no-store")
}

fn answer(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    let nothing = || detail(404, "Not found.");
    let path = request.path.strip_prefix(config.prefix.as_str()).ok_or_else(nothing)?;
    let segments = http::segments(path).ok_or_else(nothing)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["auth", view @ ("register" | "login" | "profile" | "layer")] => {
            if let Some(elsewhere) = slashed(config, view, request) {
                return Ok(elsewhere);
            }
            match *view {
                "register" => register::register(gateway, config, connection, request),
                "login" => km::login(gateway, config, request),
                "profile" => km::profile(gateway, config, request),
                _ => km::layer(gateway, config, request),
            }
        }
        ["nonces"] => Ok(layer::nonces(gateway, config, connection, request)),
        ["sessions"] => Ok(layer::sessions(gateway, config, request)),
        ["sessions", token] => Ok(layer::session(gateway, request, token)),
        ["nonces" | "sessions", ..] => Err(layer::no_endpoint(request)),
        _ => Err(nothing()),
    }
}

/// Where a request without the slash at its end belongs, as Django has it. Only what is read is sent there: a client that
/// follows loses the body of anything else, so that is answered where it is.
fn slashed(config: &Config, view: &str, request: &HttpRequest) -> Option<HttpResponse> {
    if request.path.ends_with('/') || !matches!(request.method.as_str(), "GET" | "HEAD") {
        return None;
    }
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    Some(http::with(http::empty(301), "location", &format!("{}/auth/{view}/{query}", config.prefix)))
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::config::Config;
    use crate::stage::{header_of, request};
    use policy_support::fake::{Fake, http as connection};
    use policy_support::wit::types::HttpResponse;

    fn ask(config: &str, method: &str, path: &str) -> HttpResponse {
        let config = Config::parse(config).unwrap();
        handle(&Fake::default(), &config, &connection(), &request(method, path, &[], ""))
    }

    #[test]
    fn a_slash_is_added_to_what_is_read_and_not_missed_by_what_is_written() {
        let answer = ask("", "GET", "/auth/profile?a=b");
        assert_eq!((answer.status, header_of(&answer, "location")), (301, Some("/auth/profile/?a=b")));
        assert_eq!(ask("", "HEAD", "/auth/login").status, 301);
        assert_eq!(ask("", "POST", "/auth/login").status, 400);
        assert_eq!(ask("", "GET", "/auth/profile/").status, 403);
    }

    #[test]
    fn a_prefix_stands_before_every_path() {
        let prefix = r#"{"prefix":"/chat"}"#;
        let answer = ask(prefix, "GET", "/chat/auth/profile");
        assert_eq!(header_of(&answer, "location"), Some("/chat/auth/profile/"));
        assert_eq!(ask(prefix, "POST", "/chat/nonces").status, 406);
        assert_eq!(ask(prefix, "POST", "/nonces").status, 404);
        assert_eq!(ask(prefix, "GET", "/chatauth/profile/").status, 404);
    }

    #[test]
    fn what_is_not_there_is_told_in_the_words_of_its_end() {
        let body = |path| String::from_utf8(ask("", "GET", path).body).unwrap();
        for path in ["/", "/auth/", "/auth/other/", "/auth/login/x/", "/auth%2Flogin/", "/auth/%ff", "//auth/login/"] {
            assert_eq!(body(path), r#"{"detail":"Not found."}"#, "{path}");
        }
        for path in ["/nonces/x", "/sessions/a/b"] {
            assert!(body(path).contains(r#""code":106"#), "{path}");
        }
    }

    #[test]
    fn nothing_is_cached() {
        assert_eq!(header_of(&ask("", "GET", "/auth/profile/"), "cache-control"), Some("no-store"));
    }
}
