//! Secrets in a recorded decision, replaced by what looks like them and says nothing: equal secrets of one recording have
//! equal masks, so that what the host was asked about a token is found again by the token's mask.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Texts shorter than this are replaced only as a whole: within others they would be found by chance.
const SHORT: usize = 5;
/// Names of header fields, properties and parameters whose values are secrets.
const NAMES: [&str; 8] = ["auth", "token", "secret", "password", "key", "cookie", "session", "credential"];
/// Schemes of `Authorization`, which are no secrets.
const SCHEMES: [&str; 6] = ["Bearer", "Basic", "Token", "Layer", "ApiKey", "Digest"];
/// Beginnings that say of which scheme a token is, and nothing else.
const MARKS: [&str; 7] = ["eyJ", "gAAAAA", "sk_", "rk_", "layer_", "dt_", "pk_"];

/// The masks of one recording.
pub(crate) struct Masks {
    /// Random, and forgotten with the recording.
    key: [u8; 32],
}

impl Masks {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key })
    }

    /// Masks a decision: the values of `credentials`, and what was told of the request.
    pub(crate) fn apply(&self, decision: &mut Value) {
        let mut secrets = Vec::new();
        for name in ["password", "data"] {
            if let Some(octets) = octets(&decision["credentials"][name]) {
                secrets.push(String::from_utf8_lossy(&octets).into_owned());
            }
        }
        gather(decision, &mut secrets);
        let mut secrets: Vec<String> =
            secrets.into_iter().flat_map(|secret| within(&secret).unwrap_or_else(|| vec![secret])).collect();
        secrets.retain(|secret| !secret.is_empty());
        // The longest first: one may lie in another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let pairs: Vec<(String, String)> = secrets.into_iter().map(|secret| (self.mask(&secret), secret)).collect();
        self.replace(decision, &pairs);
    }

    fn replace(&self, value: &mut Value, pairs: &[(String, String)]) {
        if let Some(found) = octets(value) {
            // What is no text can only be a secret as a whole.
            let text = String::from_utf8_lossy(&found).into_owned();
            let masked = masked(&text, pairs);
            if masked != text {
                *value = masked.bytes().map(Value::from).collect();
            }
            return;
        }
        match value {
            Value::String(text) => *text = masked(text, pairs),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item, pairs)),
            Value::Object(members) => members.values_mut().for_each(|member| self.replace(member, pairs)),
            _ => {}
        }
    }

    /// What stands for a secret.
    fn mask(&self, secret: &str) -> String {
        if let Some((user, password)) = basic(secret) {
            return STANDARD.encode(format!("{user}:{}", self.mask(&password)));
        }
        let token = secret.len() >= 16 && secret.bytes().all(|octet| octet.is_ascii_graphic());
        if !token {
            return format!("masked-{}", self.stream(secret, 16, b"0123456789abcdef"));
        }
        let mark = MARKS.iter().find(|mark| secret.starts_with(**mark)).map_or(0, |mark| mark.len());
        let hexadecimal = secret.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        let letters: &[u8] = if hexadecimal {
            b"0123456789abcdef"
        } else {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        };
        let stream = self.stream(secret, secret.len(), letters);
        let chars = secret.chars().zip(stream.chars()).enumerate();
        chars.map(|(at, (own, other))| if at < mark || own == '.' { own } else { other }).collect()
    }

    /// Characters that follow from a secret and the key.
    fn stream(&self, secret: &str, length: usize, letters: &[u8]) -> String {
        let mut text = String::with_capacity(length);
        for number in 0_u64.. {
            let mut digest = Sha256::new();
            digest.update(self.key);
            digest.update(number.to_le_bytes());
            digest.update(secret);
            for octet in digest.finalize() {
                if text.len() == length {
                    return text;
                }
                text.push(char::from(letters[usize::from(octet) % letters.len()]));
            }
        }
        text
    }
}

/// A list of numbers that are octets. An empty one is none.
fn octets(value: &Value) -> Option<Vec<u8>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items.iter().map(|item| item.as_u64().and_then(|number| u8::try_from(number).ok())).collect()
}

fn masked(text: &str, pairs: &[(String, String)]) -> String {
    if let Some((mask, _)) = pairs.iter().find(|(_, secret)| secret == text) {
        return mask.clone();
    }
    let mut text = text.to_owned();
    for (mask, secret) in pairs {
        if secret.len() >= SHORT && text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), mask);
        }
    }
    text
}

/// Whether what goes by this name is a secret.
fn secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// Values of fields and properties, parameters of queries, and what the host made, wherever they are in a decision.
fn gather(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, into)),
        Value::Object(members) => {
            // Not `attributes`: those of an entry say of which kind a key is, and hold no secret.
            for list in ["headers", "user_properties"] {
                for pair in members.get(list).and_then(Value::as_array).into_iter().flatten() {
                    if let (Some(name), Some(text)) = (pair[0].as_str(), pair[1].as_str())
                        && secret_name(name)
                    {
                        into.push(text.to_owned());
                    }
                }
            }
            let function = members.get("function").and_then(Value::as_str).unwrap_or_default();
            let answer = members.get("answer");
            match function {
                "peer.get-header" if secret_name(members["arguments"][0].as_str().unwrap_or_default()) => {
                    let values = answer.and_then(Value::as_array);
                    into.extend(values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
                }
                "jose.sign" => into.extend(answer.and_then(|made| made["Ok"].as_str()).map(str::to_owned)),
                "directory-admin.create-key" | "directory-admin.stable-key" => {
                    into.extend(answer.and_then(|made| made["Ok"]["secret"].as_str()).map(str::to_owned));
                }
                _ => {}
            }
            if let Some(query) = members.get("query").and_then(Value::as_str) {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                into.extend(pairs.filter(|(name, _)| secret_name(name)).map(|(_, value)| value.to_owned()));
            }
            members.values().for_each(|member| gather(member, into));
        }
        _ => {}
    }
}

/// The secrets in the value of a field that begins with a scheme (RFC 9110 §11.4): the scheme is none, and what is quoted is
/// one without its quotes. None: the whole value is one.
fn within(value: &str) -> Option<Vec<String>> {
    let (scheme, rest) = value.split_once(' ')?;
    if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let mut parts = Vec::new();
    for word in rest.split_whitespace() {
        let quote = ['"', '\''].into_iter().find(|quote| word.contains(*quote));
        match quote {
            Some(quote) => parts.extend(word.split(quote).skip(1).step_by(2).map(str::to_owned)),
            None => parts.push(word.to_owned()),
        }
    }
    if parts.is_empty() || parts.iter().any(|part| part.len() < SHORT) {
        return None;
    }
    if let Some((_, password)) = parts.iter().find_map(|part| basic(part)) {
        parts.push(password);
    }
    Some(parts)
}

/// The user and password of `Basic` (RFC 7617).
fn basic(text: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    pair.chars().all(|c| !c.is_control()).then(|| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_left_and_equal_ones_stay_equal() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXNvbWV0aGluZw";
        let mut decision = json!({
            "credentials": { "username": "alice", "password": "hunter2".bytes().collect::<Vec<_>>(), "data": null },
            "told": [
                { "function": "peer.get-header", "arguments": ["authorization"], "answer": [format!("Bearer {token}")] },
                { "function": "jose.verify", "arguments": [token], "answer": { "Ok": 1 } },
                { "function": "directory.verify-password", "arguments": ["hunter2".bytes().collect::<Vec<_>>()], "answer": null },
                { "function": "peer.get-http-request", "arguments": [], "answer": { "query": "a=b&session_token=layer_0123456789abcdef" } },
            ],
            "verdict": { "Deny": { "detail": "the password hunter2 is wrong", "attributes": [["key-kind", "reset-key"]] } },
        });
        Masks::new().expect("a key").apply(&mut decision);
        let text = decision.to_string();
        let octets: Vec<String> = "hunter2".bytes().map(|octet| octet.to_string()).collect();
        for secret in ["hunter2", token, "eyJzdWIiOiJhbGljZSJ9", "0123456789abcdef", &octets.join(",")] {
            assert!(!text.contains(secret), "{secret} is left in {text}");
        }
        let shown = decision["told"][0]["answer"][0].as_str().expect("a header");
        let asked = decision["told"][1]["arguments"][0].as_str().expect("a token");
        assert_eq!(shown, format!("Bearer {asked}"));
        assert!(asked.starts_with("eyJ") && asked.len() == token.len() && asked.matches('.').count() == 2);
        assert_eq!(decision["credentials"]["password"], decision["told"][2]["arguments"][0]);
        assert_eq!(decision["credentials"]["username"], "alice");
        assert_eq!(decision["verdict"]["Deny"]["attributes"][0][1], "reset-key", "what is no secret stays");
    }

    #[test]
    fn a_field_is_masked_in_its_parts_or_else_whole() {
        assert_eq!(within("Bearer abcdef"), Some(vec!["abcdef".to_owned()]));
        assert_eq!(within("Layer session-token=\"layer_1\""), Some(vec!["layer_1".to_owned()]));
        for whole in ["correct horse battery", "Bearer abc", "Bearer ", "abcdef", ""] {
            assert_eq!(within(whole), None, "{whole:?}");
        }
    }

    #[test]
    fn a_password_in_basic_is_masked_and_the_user_is_not() {
        let masks = Masks::new().expect("a key");
        let mut decision = json!({ "credentials": {}, "headers": [["authorization", format!("Basic {}", STANDARD.encode("ada:hunter22"))]] });
        masks.apply(&mut decision);
        let field = decision["headers"][0][1].as_str().expect("a field");
        let (user, password) = basic(field.strip_prefix("Basic ").expect("the scheme")).expect("a pair");
        assert_eq!((user.as_str(), password.contains("hunter")), ("ada", false), "{password}");
    }
}
