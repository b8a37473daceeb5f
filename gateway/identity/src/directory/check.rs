//! What fields may hold. Problems are gathered, so that a form can show them all at once.

use crate::error::DirectoryError;
use crate::model::Attributes;

/// Problems by field.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(String, String)>);

impl Problems {
    /// Notes that a field is wrong.
    pub(super) fn note(&mut self, field: &str, why: impl Into<String>) {
        self.0.push((field.to_owned(), why.into()));
    }

    /// Notes the problem unless this holds.
    pub(super) fn expect(&mut self, holds: bool, field: &str, why: &str) {
        if !holds {
            self.note(field, why);
        }
    }

    /// Text for people: so many octets at most, not empty, no control characters.
    pub(super) fn text(&mut self, field: &str, text: &str, longest: usize) {
        if text.is_empty() {
            self.note(field, "must not be empty");
        } else if text.len() > longest {
            self.note(field, format!("must not have more than {longest} octets"));
        } else if text.chars().any(char::is_control) {
            self.note(field, "must not contain control characters");
        }
    }

    /// A word that ends up in topics and on command lines.
    pub(super) fn word(&mut self, field: &str, word: &str, extra: &str) {
        let good =
            (1..=64).contains(&word.len()) && word.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
        if !good {
            self.note(field, format!("must be 1 to 64 letters, digits or {extra}"));
        }
    }

    /// See [`Attributes`].
    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.expect(attributes.len() <= 64, "attributes", "must not be more than 64");
        for (at, (name, value)) in attributes.iter().enumerate() {
            self.text("attributes", name, 64);
            self.expect(value.len() <= 4096, name, "must not have more than 4096 octets");
            let again = attributes[..at].iter().any(|(other, _)| other == name);
            self.expect(!again, name, "must not be given twice");
        }
    }

    /// An e-mail address: one `@` between two non-empty halves, no white space. More cannot be known without sending.
    pub(super) fn email(&mut self, email: &str) {
        let halves = email.split_once('@');
        let good = email.len() <= 254
            && halves.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
            && !email.chars().any(|c| c.is_whitespace() || c.is_control());
        self.expect(good, "email", "is not an e-mail address");
    }

    /// The problems as an error, if there are any.
    pub(super) fn result(self) -> Result<(), DirectoryError> {
        if self.0.is_empty() { Ok(()) } else { Err(DirectoryError::Invalid(self.0)) }
    }
}

/// One problem.
pub(super) fn invalid(field: &str, why: &str) -> DirectoryError {
    DirectoryError::Invalid(vec![(field.to_owned(), why.to_owned())])
}
