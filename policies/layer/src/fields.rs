//! Reading forms as the Django REST framework does: JSON or an HTML form, field by field, with all that is wrong at once.

use policy_support::http;
use policy_support::wit::types::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

/// A response with one sentence.
pub fn detail(status: u16, sentence: &str) -> HttpResponse {
    http::json(status, &json!({ "detail": sentence }))
}

/// Problems that belong to no field.
pub const NO_FIELD: &str = "non_field_errors";

/// A response with problems of fields.
pub fn problems(field: &str, sentences: &[&str]) -> HttpResponse {
    http::json(400, &json!({ field: sentences }))
}

/// The fields of a request, and what is wrong with those that were asked for.
#[derive(Debug, Default)]
pub struct Form {
    fields: Map<String, Value>,
    wrong: Map<String, Value>,
}

/// How a field is read.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub needed: bool,
    /// Whether surrounding blanks are cut off, and control characters refused.
    pub tidy: bool,
    /// The most characters.
    pub longest: usize,
}

impl Form {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// What to answer: it is of another media type, not well-formed, or no object.
    pub fn read(request: &HttpRequest) -> Result<Self, HttpResponse> {
        if request.body.is_empty() {
            return Ok(Self::default());
        }
        let named = http::header(request, "content-type").unwrap_or_default();
        let media = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let fields = match media.as_str() {
            "application/json" => match serde_json::from_slice(&request.body) {
                Ok(Value::Object(fields)) => fields,
                Ok(Value::Null) => return Err(problems(NO_FIELD, &["No data provided"])),
                Ok(other) => {
                    let sentence = format!("Invalid data. Expected a dictionary, but got {}.", kind(&other));
                    return Err(problems(NO_FIELD, &[&sentence]));
                }
                Err(error) => return Err(detail(400, &format!("JSON parse error - {error}"))),
            },
            "application/x-www-form-urlencoded" => {
                let text = std::str::from_utf8(&request.body).unwrap_or_default();
                http::pairs(text).into_iter().map(|(name, value)| (name, value.into())).collect()
            }
            _ => {
                // What the client wrote comes back to it alone, as JSON.
                let media: String = named.chars().take(100).collect();
                return Err(detail(415, &format!("Unsupported media type \"{media}\" in request.")));
            }
        };
        Ok(Self { fields, wrong: Map::new() })
    }

    /// The text of a field. None: it is not there and need not be, or something is wrong with it.
    pub fn text(&mut self, field: Field) -> Option<String> {
        let read = match self.fields.get(field.name) {
            None if field.needed => Err("This field is required.".to_owned()),
            None => return None,
            Some(Value::Null) => Err("This field may not be null.".to_owned()),
            Some(Value::String(text)) => check(text, field),
            Some(Value::Number(number)) => check(&number.to_string(), field),
            Some(_) => Err("Not a valid string.".to_owned()),
        };
        read.map_err(|problem| self.note(field.name, &problem)).ok()
    }

    /// Notes a problem of a field.
    pub fn note(&mut self, name: &str, problem: &str) {
        let list = self.wrong.entry(name).or_insert_with(|| Value::Array(vec![]));
        if let Value::Array(list) = list {
            list.push(problem.into());
        }
    }

    /// Whether something is wrong with a field that was asked for.
    pub fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// The response with all that is wrong.
    pub fn refusal(self) -> HttpResponse {
        http::json(400, &Value::Object(self.wrong))
    }
}

fn check(text: &str, field: Field) -> Result<String, String> {
    let text = if field.tidy { text.trim() } else { text };
    if text.is_empty() {
        return Err("This field may not be blank.".into());
    }
    if text.contains('\0') {
        return Err("Null characters are not allowed.".into());
    }
    if field.tidy && text.chars().any(char::is_control) {
        return Err("Control characters are not allowed.".into());
    }
    if text.chars().count() > field.longest {
        return Err(format!("Ensure this field has no more than {} characters.", field.longest));
    }
    Ok(text.to_owned())
}

/// The words of Python, which clients of the original know.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Form};
    use crate::stage::request;
    use policy_support::wit::types::HttpRequest;
    use proptest::prelude::*;

    const NAME: Field = Field { name: "name", needed: true, tidy: true, longest: 5 };

    fn sent(media: &str, body: &str) -> HttpRequest {
        request("POST", "/", &[("content-type", media)], body)
    }

    fn refused(media: &str, body: &str) -> (u16, String) {
        let response = Form::read(&sent(media, body)).unwrap_err();
        (response.status, String::from_utf8(response.body).unwrap())
    }

    fn read(body: &str) -> Result<Option<String>, String> {
        let mut form = Form::read(&sent("application/json; charset=utf-8", body)).unwrap();
        let text = form.text(NAME);
        if form.is_wrong() { Err(String::from_utf8(form.refusal().body).unwrap()) } else { Ok(text) }
    }

    #[test]
    fn fields_are_checked_with_the_words_of_the_framework() {
        assert_eq!(read(r#"{"name":" ann "}"#), Ok(Some("ann".into())));
        assert_eq!(read(r#"{"name":12}"#), Ok(Some("12".into())));
        for (body, problem) in [
            ("{}", "This field is required."),
            (r#"{"name":null}"#, "This field may not be null."),
            (r#"{"name":"  "}"#, "This field may not be blank."),
            (r#"{"name":true}"#, "Not a valid string."),
            (r#"{"name":["a"]}"#, "Not a valid string."),
            (r#"{"name":"a\u0000"}"#, "Null characters are not allowed."),
            (r#"{"name":"a\nb"}"#, "Control characters are not allowed."),
            (r#"{"name":"abcdef"}"#, "Ensure this field has no more than 5 characters."),
        ] {
            assert_eq!(read(body), Err(format!(r#"{{"name":["{problem}"]}}"#)), "{body}");
        }
    }

    #[test]
    fn bodies_that_are_no_forms_are_refused() {
        let (status, body) = refused("application/json", "{");
        assert_eq!(status, 400);
        assert!(body.starts_with(r#"{"detail":"JSON parse error - "#), "{body}");
        let nothing = r#"{"non_field_errors":["No data provided"]}"#;
        assert_eq!(refused("application/json", "null"), (400, nothing.into()));
        let list = r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#;
        assert_eq!(refused("application/json", "[1]"), (400, list.into()));
        let media = r#"{"detail":"Unsupported media type \"text/plain\" in request."}"#;
        assert_eq!(refused("text/plain", "a"), (415, media.into()));
        assert_eq!(refused("", "a"), (415, r#"{"detail":"Unsupported media type \"\" in request."}"#.into()));
        assert!(Form::read(&sent("text/plain", "")).is_ok(), "no body is of no type");
    }

    #[test]
    fn html_forms_are_read() {
        let mut form = Form::read(&sent("application/x-www-form-urlencoded", "name=a%26b&other=c")).unwrap();
        assert_eq!(form.text(NAME).as_deref(), Some("a&b"));
        assert!(!form.is_wrong());
    }

    proptest! {
        #[test]
        fn any_body_is_survived(body in ".{0,80}", json: bool) {
            let media = if json { "application/json" } else { "application/x-www-form-urlencoded" };
            if let Ok(mut form) = Form::read(&sent(media, &body)) {
                let _ = form.text(NAME);
            }
        }
    }
}
