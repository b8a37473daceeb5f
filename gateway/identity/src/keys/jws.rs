//! JWS in compact form (RFC 7515 §7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::signing::SigningKey;
use crate::error::KeyError;

/// Octets of header and claims together.
const MAX_TOKEN: usize = 64 * 1024;

/// Signs claims. An empty `header` means `alg`, `typ: "JWT"` and the key's `kid`; a header that is given is taken as it
/// is, and `alg` added: some schemes forbid a `kid`, others have their own.
pub(crate) fn compact(key: &SigningKey, kid: Option<&str>, header: &str, claims: &str) -> Result<String, KeyError> {
    let wrong = |why: String| KeyError::BadToken(why);
    if header.len() + claims.len() > MAX_TOKEN {
        return Err(wrong(format!("header and claims have more than {MAX_TOKEN} octets")));
    }
    let mut members = if header.trim().is_empty() {
        let mut members = Map::from_iter([("typ".to_owned(), json!("JWT"))]);
        if let Some(kid) = kid {
            members.insert("kid".to_owned(), json!(kid));
        }
        members
    } else {
        object(header).map_err(|why| wrong(format!("the header is {why}")))?
    };
    // Members that would change how the token is to be checked (RFC 7515 §4.1.11, RFC 7797).
    if let Some(name) = ["crit", "b64"].into_iter().find(|name| members.contains_key(*name)) {
        return Err(wrong(format!("the header member {name:?} is not supported")));
    }
    if members.get("alg").is_some_and(|algorithm| algorithm != key.algorithm()) {
        return Err(wrong(format!("the header's \"alg\" is not the key's, {}", key.algorithm())));
    }
    members.insert("alg".to_owned(), json!(key.algorithm()));
    object(claims).map_err(|why| wrong(format!("what is to be claimed is {why}")))?;
    let mut token = URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn object(json: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
