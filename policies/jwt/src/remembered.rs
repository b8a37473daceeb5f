//! What is remembered of a login in `grant.state`, to look at it again. Each client has one for as long as it is there, so that what
//! its identity says already is not said again, and a token is kept as the octets that its text stands for.

use std::borrow::Cow;

use policy_support::wit::types::Identity;
use policy_support::{base64url, state};

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
    pub(crate) fn write(&self, subject: &str) -> Option<Vec<u8>> {
        let packed = pack(&self.token);
        let mut flags = if self.app.is_some() { APP } else { 0 };
        let mut out = vec![VERSION, 0];
        if self.client_id == subject {
            flags |= SUBJECT;
        } else {
            push(&mut out, self.client_id.as_bytes())?;
        }
        match packed {
            Some(parts) => {
                flags |= OCTETS;
                let [header, claims, signature] = parts;
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
        if version != VERSION || flags & !(APP | SUBJECT | OCTETS) != 0 {
            return None;
        }
        let app = if flags & APP == 0 { None } else { Some(identity?.tenant.as_deref()?) };
        let client_id = match flags & SUBJECT {
            0 => std::str::from_utf8(take(&mut rest)?).ok()?,
            _ => identity?.subject.as_str(),
        };
        let token = if flags & OCTETS == 0 {
            std::str::from_utf8(rest).ok()?.into()
        } else {
            let (header, claims) = (take(&mut rest)?, take(&mut rest)?);
            let mut token = base64url::encode(header);
            for part in [claims, rest] {
                token.push('.');
                token.push_str(&base64url::encode(part));
            }
            token.into()
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

/// The octets of the three parts of a JWS, if they make the same text again.
fn pack(token: &str) -> Option<[Vec<u8>; 3]> {
    let mut parts = token.split('.');
    let mut octets = || base64url::decode(parts.next()?.as_bytes());
    let three = [octets()?, octets()?, octets()?];
    parts.next().is_none().then_some(three)
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
            token in prop_oneof!["[A-Za-z0-9_-]{0,9}[.][A-Za-z0-9_-]{0,9}[.][A-Za-z0-9_-]{0,9}", "[A-Z.=]{0,12}", ".{0,20}"],
        ) {
            let identity = identity();
            let remembered = Remembered { app: app.then_some("shop"), client_id: &client_id, token: token.as_str().into() };
            let state = remembered.write("ann").unwrap();
            prop_assert_eq!(Remembered::read(&state, Some(&identity)), Some(remembered));
        }

        #[test]
        fn any_octets_are_survived(mut state in prop::collection::vec(any::<u8>(), 0..40), version in 0u8..4) {
            state.insert(0, version);
            let _ = Remembered::read(&state, Some(&identity()));
            let _ = Remembered::read(&state, None);
        }
    }

    #[test]
    fn a_token_takes_three_quarters_of_its_text() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln";
        let state = Remembered { app: None, client_id: "ann", token: token.into() }.write("ann").unwrap();
        assert_eq!(state.len(), 6 + 15 + 13 + 3);
        let alike = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lo";
        let unlike = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifR.c2ln";
        assert!(pack(alike).is_some() && pack(unlike).is_none(), "two texts of the same octets are two tokens");
    }

    #[test]
    fn what_an_earlier_version_left_is_read() {
        let state = state::write(TEXTS, &["", "c", "a.b.c"]).unwrap();
        let read = Remembered::read(&state, None).unwrap();
        assert_eq!(read, Remembered { app: None, client_id: "c", token: "a.b.c".into() });
    }
}
