//! PEM (RFC 7468): labelled blocks of base64 in a text. What stands between the blocks is ignored, as people keep
//! comments and `openssl` output there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::KeyError;

/// One block.
pub(crate) struct Block {
    /// What stands behind `BEGIN`.
    pub(crate) label: String,
    /// The decoded contents. Wiped when dropped: it may be a private key.
    pub(crate) der: zeroize::Zeroizing<Vec<u8>>,
}

/// Blocks in one text.
const MAX_BLOCKS: usize = 64;

/// Reads all blocks of a text.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, KeyError> {
    let malformed = |why: &str| KeyError::Malformed(why.to_owned());
    let mut found = Vec::new();
    let mut open: Option<(String, zeroize::Zeroizing<String>)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(label) = boundary(line, "-----BEGIN ") {
            if open.is_some() {
                return Err(malformed("a PEM block begins within another"));
            }
            open = Some((label.to_owned(), zeroize::Zeroizing::default()));
        } else if let Some(label) = boundary(line, "-----END ") {
            let Some((begun, body)) = open.take() else {
                return Err(malformed("a PEM block ends that never began"));
            };
            if begun != label {
                return Err(KeyError::Malformed(format!("the PEM block {begun:?} ends as {label:?}")));
            }
            let der = STANDARD.decode(body.as_bytes()).map_err(|_| malformed("a PEM block is not base64"))?;
            found.push(Block { label: begun, der: der.into() });
            if found.len() > MAX_BLOCKS {
                return Err(malformed("more than 64 PEM blocks"));
            }
        } else if let Some((_, body)) = &mut open {
            // Header lines (RFC 1421) mean an encrypted key, which needs a password that nobody gave.
            if line.contains(':') {
                return Err(KeyError::Unsupported("the PEM block is encrypted; give it without a password".to_owned()));
            }
            body.push_str(line);
        }
    }
    if open.is_some() {
        return Err(malformed("a PEM block has no end"));
    }
    Ok(found)
}

fn boundary<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

/// Writes one block, 64 characters a line.
#[cfg(test)]
pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_anything_else() {
        let text = format!("subject=/CN=x\r\n{}\n# comment\n{}", write("A B", &[1; 100]), write("C", &[]));
        let found = blocks(&text).unwrap();
        let found: Vec<_> = found.iter().map(|b| (b.label.as_str(), b.der.len())).collect();
        assert_eq!(found, [("A B", 100), ("C", 0)]);
        assert!(blocks("nothing here").unwrap().is_empty());
    }

    #[test]
    fn what_is_broken_is_said() {
        for (text, word) in [
            ("-----BEGIN A-----\nAAAA", "no end"),
            ("-----END A-----", "never began"),
            ("-----BEGIN A-----\n-----END B-----", "ends as"),
            ("-----BEGIN A-----\n-----BEGIN B-----", "within"),
            ("-----BEGIN A-----\nA*==\n-----END A-----", "base64"),
            ("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n-----END A-----", "encrypted"),
        ] {
            let why = blocks(text).err().unwrap().to_string();
            assert!(why.contains(word), "{text:?}: {why}");
        }
        assert!(blocks(&write("A", &[1]).repeat(65)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(-----(BEGIN|END) [A-C]-----|[A-Za-z=:]{0,8}|\n){0,40}") {
            let _ = blocks(&text);
        }
    }
}
