//! What is remembered of a login in `grant.state`, to look at it again: all of the token, since whatever is asked of tokens may be
//! another thing by then, and nothing but its signature says that it is one. Each client has one for as long as it is there, so that
//! what its identity says already is not said again, and a token is kept as the octets that its text stands for, with what all
//! tokens say by [number](crate::words).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy_support::state;
use policy_support::wit::types::Identity;

use crate::grant::ISSUER;
use crate::words::{self, Names};

/// Version of what is written.
const VERSION: u8 = 2;
/// The version that was three texts: grants outlive the policy that gave them.
const TEXTS: u8 = 1;

/// The app is the identity's tenant; else there is none.
const APP: u8 = 1;
/// The client identifier is the identity's subject.
const SUBJECT: u8 = 2;
/// The token is kept as octets.
const OCTETS: u8 = 4;
/// The token is kept as octets, and words of its JSON by number.
const WORDS: u8 = 8;

/// A login that was good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remembered<'a> {
    /// The app of the directory whose consumer it is.
    pub(crate) app: Option<&'a str>,
    /// The client identifier that it logged in with.
    pub(crate) client_id: &'a str,
    /// What it proved itself with.
    pub(crate) token: Cow<'a, str>,
}

impl Remembered<'_> {
    /// For a client of this identity, of which the app is the tenant. None: it is too long to be kept.
    pub(crate) fn write(&self, identity: &Identity) -> Option<Vec<u8>> {
        let mut flags = if self.app.is_some() { APP } else { 0 };
        let mut out = vec![VERSION, 0];
        if self.client_id == identity.subject {
            flags |= SUBJECT;
        } else {
            push(&mut out, self.client_id.as_bytes())?;
        }
        match pack(&self.token, names(identity)) {
            Some((form, [header, claims, signature])) => {
                flags |= form;
                push(&mut out, &header)?;
                push(&mut out, &claims)?;
                out.extend(signature);
            }
            None => out.extend_from_slice(self.token.as_bytes()),
        }
        *out.get_mut(1)? = flags;
        (out.len() <= state::LIMIT).then_some(out)
    }
}

impl<'a> Remembered<'a> {
    /// What an earlier login of this identity left. None: it is of an unknown version.
    pub(crate) fn read(octets: &'a [u8], identity: Option<&'a Identity>) -> Option<Self> {
        if let Some([app, client_id, token]) = state::read(TEXTS, octets) {
            return Some(Self { app: Some(app).filter(|app| !app.is_empty()), client_id, token: token.into() });
        }
        let (&[version, flags], mut rest) = octets.split_first_chunk::<2>()?;
        if version != VERSION || flags & !(APP | SUBJECT | OCTETS | WORDS) != 0 {
            return None;
        }
        let app = if flags & APP == 0 { None } else { Some(identity?.tenant.as_deref()?) };
        let client_id = match flags & SUBJECT {
            0 => std::str::from_utf8(take(&mut rest)?).ok()?,
            _ => identity?.subject.as_str(),
        };
        let token = match flags & (OCTETS | WORDS) {
            0 => std::str::from_utf8(rest).ok()?.into(),
            OCTETS => text([take(&mut rest)?, take(&mut rest)?, rest]).into(),
            WORDS => {
                let names = names(identity?);
                let (header, claims) = (take(&mut rest)?, take(&mut rest)?);
                text([&words::lengthen(header, names)?, &words::lengthen(claims, names)?, rest]).into()
            }
            _ => return None,
        };
        Some(Self { app, client_id, token })
    }
}

/// Octets behind their number.
fn push(out: &mut Vec<u8>, octets: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(octets.len()).ok()?.to_be_bytes());
    out.extend_from_slice(octets);
    Some(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, more) = rest.split_first_chunk::<2>()?;
    let (octets, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = more;
    Some(octets)
}

/// What the identity and the token say alike.
fn names(identity: &Identity) -> Names<'_> {
    let issuer = identity.attributes.iter().find(|(name, _)| name == ISSUER);
    [&identity.subject, issuer.map_or("", |(_, issuer)| issuer)]
}

/// The three parts of a JWS in as few octets as may be, and how they are kept. None: its text is not that of octets.
fn pack(token: &str, names: Names<'_>) -> Option<(u8, [Vec<u8>; 3])> {
    let mut parts = token.split('.');
    let mut octets = || BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok();
    let [header, claims, signature] = [octets()?, octets()?, octets()?];
    if parts.next().is_some() {
        return None;
    }
    Some(match (words::shorten(&header, names), words::shorten(&claims, names)) {
        (Some(header), Some(claims)) => (WORDS, [header, claims, signature]),
        _ => (OCTETS, [header, claims, signature]),
    })
}

/// The text of a JWS.
fn text([header, claims, signature]: [&[u8]; 3]) -> String {
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
    for part in [claims, signature] {
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(part, &mut token);
    }
    token
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> Identity {
        Identity {
            scheme: "jwt".into(),
            subject: "ann".into(),
            tenant: Some("shop".into()),
            acting_for: None,
            roles: vec![],
            attributes: vec![],
        }
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_read(
            app in any::<bool>(), client_id in prop_oneof![Just("ann".to_owned()), ".{0,40}"],
            token in prop_oneof![
                "[A-Za-z0-9_-]{0,9}[.][A-Za-z0-9_-]{0,9}[.][A-Za-z0-9_-]{0,9}", "[A-Z.=]{0,12}", ".{0,20}",
                ("[ -~\n]{0,20}", "[ -~\n]{0,40}").prop_map(|(header, claims)| text([header.as_bytes(), claims.as_bytes(), b"sig"])),
            ],
        ) {
            let identity = identity();
            let remembered = Remembered { app: app.then_some("shop"), client_id: &client_id, token: token.as_str().into() };
            let state = remembered.write(&identity).unwrap();
            prop_assert_eq!(Remembered::read(&state, Some(&identity)), Some(remembered));
        }

        #[test]
        fn any_octets_are_survived(mut state in prop::collection::vec(any::<u8>(), 0..40), version in 0u8..4) {
            state.insert(0, version);
            let _ = Remembered::read(&state, Some(&identity()));
            let _ = Remembered::read(&state, None);
        }
    }

    /// `{"alg":"ES256"}`, `{"sub":"ann"}`, `sig`
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln";

    #[test]
    fn a_token_takes_little_more_than_what_is_its_own() {
        let remembered = |token: &str| {
            let state = Remembered { app: None, client_id: "ann", token: token.into() }.write(&identity()).unwrap();
            (state[1] & !SUBJECT, state.len())
        };
        assert_eq!(remembered(TOKEN), (WORDS, 6 + 3 + 4 + 3));
        assert_eq!(remembered(&text([b"{\n}", b"{}", b"sig"])), (OCTETS, 6 + 3 + 2 + 3));
        let unlike = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifR.c2ln";
        assert_eq!(remembered(unlike), (0, 2 + unlike.len()), "two texts of the same octets are two tokens");
    }

    #[test]
    fn what_an_earlier_version_left_is_read() {
        let remembered = |token: &'static str| Some(Remembered { app: None, client_id: "c", token: token.into() });
        let texts = state::write(TEXTS, &["", "c", "a.b.c"]).unwrap();
        assert_eq!(Remembered::read(&texts, None), remembered("a.b.c"));
        let octets = b"\x02\x04\x00\x01c\x00\x0F{\"alg\":\"ES256\"}\x00\x0D{\"sub\":\"ann\"}sig";
        assert_eq!(Remembered::read(octets, Some(&identity())), remembered(TOKEN));
    }

    /// Later versions have to read it.
    #[test]
    fn what_this_version_writes_stays_what_it_is() {
        let remembered = Remembered { app: None, client_id: "c", token: TOKEN.into() };
        let octets = b"\x02\x08\x00\x01c\x00\x03{\x04}\x00\x04{\x0B\x00}sig";
        assert_eq!(remembered.write(&identity()).as_deref(), Some(&octets[..]));
        assert_eq!(Remembered::read(octets, Some(&identity())), Some(remembered));
        assert_eq!(Remembered::read(octets, None), None, "of nobody");
        for form in [OCTETS | WORDS, 16] {
            let mut other = octets.to_vec();
            other[1] = form;
            assert_eq!(Remembered::read(&other, Some(&identity())), None, "{form}");
        }
    }

    #[test]
    fn of_somebody_else_it_is_another_token() {
        let state = Remembered { app: None, client_id: "c", token: TOKEN.into() }.write(&identity()).unwrap();
        let bob = Identity { subject: "bob".into(), ..identity() };
        assert_ne!(Remembered::read(&state, Some(&bob)).unwrap().token, TOKEN);
    }
}
