//! What a policy keeps in `grant.state`: a version and some texts, so that a later version of the policy can read what
//! an earlier one wrote.

/// The most octets that the contract lets a grant carry.
pub const LIMIT: usize = 4096;

/// Writes a version number and texts: each text is two octets of length (big-endian) and its octets. None if the
/// result would be longer than [`LIMIT`].
#[must_use]
pub fn write(version: u8, fields: &[&str]) -> Option<Vec<u8>> {
    let size = fields.iter().map(|field| field.len() + 2).sum::<usize>() + 1;
    if size > LIMIT {
        return None;
    }
    let mut out = Vec::with_capacity(size);
    out.push(version);
    for field in fields {
        let length = u16::try_from(field.len()).ok()?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(field.as_bytes());
    }
    Some(out)
}

/// Reads what [`write`] wrote with this version and so many texts. None: it is something else.
#[must_use]
pub fn read<const N: usize>(version: u8, state: &[u8]) -> Option<[&str; N]> {
    let (&first, mut rest) = state.split_first()?;
    if first != version {
        return None;
    }
    let mut fields = [""; N];
    for field in &mut fields {
        let (length, more) = rest.split_first_chunk::<2>()?;
        let (text, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *field = std::str::from_utf8(text).ok()?;
        rest = more;
    }
    rest.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(version: u8, a in ".{0,60}", b in ".{0,60}") {
            let state = write(version, &[&a, &b]).unwrap();
            prop_assert_eq!(read::<2>(version, &state), Some([a.as_str(), b.as_str()]));
            prop_assert_eq!(read::<1>(version, &state), None);
            prop_assert_eq!(read::<3>(version, &state), None);
            prop_assert_eq!(read::<2>(version.wrapping_add(1), &state), None);
        }

        #[test]
        fn any_octets_are_survived(state in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read::<3>(1, &state);
        }
    }

    #[test]
    fn too_long_is_refused() {
        assert!(write(1, &[&"a".repeat(4093)]).is_some());
        assert!(write(1, &[&"a".repeat(4094)]).is_none());
    }
}
