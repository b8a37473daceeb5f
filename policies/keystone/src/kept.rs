//! What is remembered of another Keystone's answer, in a form that is read without being parsed: each login with a token
//! that is remembered reads it.
//!
//! An octet of version, the time of the answer, and the token's members in a fixed order: numbers as eight octets
//! (big-endian), texts as two octets of length and theirs, lists as two octets of their number. What another version wrote
//! is a miss.

use crate::token::{Credential, Named, Scope, Token};

/// Not the first octet of anything that was ever written otherwise: JSON, or a word.
const VERSION: u8 = 1;

/// Writes a token, with the time at which the Keystone said that it is good. None: something of it is too long to be
/// remembered.
#[must_use]
pub fn write(token: &Token, at: u64) -> Option<Vec<u8>> {
    let mut out = Writer(vec![VERSION]);
    out.number(at);
    out.named(&token.user)?;
    out.named(&token.user_domain)?;
    out.optional(token.password_expires_at.as_ref(), |out, at| {
        out.number(*at);
        Some(())
    })?;
    out.texts(&token.methods)?;
    out.texts(&token.audit_ids)?;
    out.number(token.issued_at);
    out.number(token.expires_at);
    match &token.scope {
        Scope::Unscoped => out.0.push(0),
        Scope::System => out.0.push(1),
        Scope::Domain(domain) => {
            out.0.push(2);
            out.named(domain)?;
        }
        Scope::Project { project, domain } => {
            out.0.push(3);
            out.named(project)?;
            out.named(domain)?;
        }
    }
    out.texts(&token.roles)?;
    out.optional(token.credential.as_ref(), |out, credential| {
        out.named(&credential.named)?;
        out.0.push(u8::from(credential.restricted));
        Some(())
    })?;
    Some(out.0)
}

/// Reads what [`write`] wrote. None: it is something else.
#[must_use]
pub fn read(octets: &[u8]) -> Option<(Token, u64)> {
    let mut from = Reader(octets);
    if from.octet()? != VERSION {
        return None;
    }
    let at = from.number()?;
    let token = Token {
        user: from.named()?,
        user_domain: from.named()?,
        password_expires_at: from.optional(Reader::number)?,
        methods: from.texts()?,
        audit_ids: from.texts()?,
        issued_at: from.number()?,
        expires_at: from.number()?,
        scope: match from.octet()? {
            0 => Scope::Unscoped,
            1 => Scope::System,
            2 => Scope::Domain(from.named()?),
            3 => Scope::Project { project: from.named()?, domain: from.named()? },
            _ => return None,
        },
        roles: from.texts()?,
        credential: from.optional(|from| Some(Credential { named: from.named()?, restricted: from.octet()? != 0 }))?,
    };
    from.0.is_empty().then_some((token, at))
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn length(&mut self, length: usize) -> Option<()> {
        self.0.extend_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        self.length(text.len())?;
        self.0.extend_from_slice(text.as_bytes());
        Some(())
    }

    fn texts(&mut self, texts: &[String]) -> Option<()> {
        self.length(texts.len())?;
        texts.iter().try_for_each(|text| self.text(text))
    }

    fn named(&mut self, named: &Named) -> Option<()> {
        self.text(&named.id)?;
        self.text(&named.name)
    }

    fn optional<T>(&mut self, value: Option<&T>, write: impl Fn(&mut Self, &T) -> Option<()>) -> Option<()> {
        self.0.push(u8::from(value.is_some()));
        value.map_or(Some(()), |value| write(self, value))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.array().map(|length| usize::from(u16::from_be_bytes(length)))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let length = self.length()?;
        (0..length).map(|_| self.text()).collect()
    }

    fn named(&mut self) -> Option<Named> {
        Some(Named { id: self.text()?, name: self.text()? })
    }

    fn optional<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.octet()? {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::token::tests::{name, token};
    use crate::token::{Credential, Scope, Token};
    use proptest::prelude::*;

    fn all() -> Vec<Token> {
        let project = Scope::Project { project: name("p1", "gardens"), domain: name("d1", "smart") };
        let mut tokens: Vec<_> =
            [Scope::Unscoped, Scope::System, Scope::Domain(name("d1", "smart")), project].map(token).into();
        let mut rich = tokens[3].clone();
        rich.credential = Some(Credential { named: name("c1", "pump"), restricted: true });
        (rich.password_expires_at, rich.roles) = (None, vec!["a".into(), String::new(), "ü".into()]);
        tokens.push(rich);
        tokens
    }

    #[test]
    fn what_was_written_is_read_and_nothing_less() {
        for token in all() {
            let kept = write(&token, 7).unwrap();
            assert_eq!(read(&kept), Some((token, 7)));
            assert!((0..kept.len()).all(|length| read(&kept[..length]).is_none()));
            assert_eq!(read(&[&kept[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn what_is_too_long_is_not_remembered() {
        let mut long = all().remove(0);
        long.roles = vec!["x".repeat(70_000)];
        assert_eq!(write(&long, 7), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&octets);
            let _ = read(&[&[1][..], &octets].concat());
        }
    }
}
