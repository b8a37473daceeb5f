//! Whether a component is signed by somebody whom the operator trusts: detached signatures of minisign (Ed25519).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::Signature;

/// A key whose signatures count. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    text: String,
    key: minisign_verify::PublicKey,
}

impl PublicKey {
    /// Reads the line of a `.pub` file that begins with `RW`. None: it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let key = minisign_verify::PublicKey::from_base64(text).ok()?;
        Some(Self { text: text.to_owned(), key })
    }

    /// The identifier that minisign shows.
    pub(crate) fn id(&self) -> String {
        STANDARD.decode(&self.text).ok().and_then(|raw| identifier(&raw)).unwrap_or_default()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PublicKey {}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// Identifier of the key.
    pub(crate) key: String,
    /// What the signer wrote, which the signature covers.
    pub(crate) comment: String,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTrusted {
    /// There is none.
    #[error(
        "it is not signed, and [trust] names keys: sign it with `minisign -S -m FILE`, which writes FILE.minisig beside it"
    )]
    Unsigned,
    /// What is there is not one.
    #[error("its signature is not one of minisign: {0}")]
    Malformed(String),
    /// Somebody else's.
    #[error("it is signed by the key {id}, which is not among the keys of [trust]")]
    AnotherKey {
        /// The key's identifier.
        id: String,
    },
    /// Not of these bytes.
    #[error("its signature by the key {id} is wrong: the component, or the signature, was changed after it was signed")]
    Wrong {
        /// The key's identifier.
        id: String,
    },
}

/// Where the signature of a file lies by itself.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Checks a signature.
///
/// # Errors
/// [`NotTrusted`], in words for the operator.
pub(crate) fn verify(keys: &[PublicKey], component: &[u8], signature: Option<&str>) -> Result<Signed, NotTrusted> {
    let text = signature.ok_or(NotTrusted::Unsigned)?;
    let signature = Signature::decode(text).map_err(|why| NotTrusted::Malformed(why.to_string()))?;
    let id = signer(text).ok_or_else(|| NotTrusted::Malformed("it names no key".to_owned()))?;
    let mut of_this_key = keys.iter().filter(|key| key.id() == id).peekable();
    if of_this_key.peek().is_none() {
        return Err(NotTrusted::AnotherKey { id });
    }
    // Identifiers are chosen by whoever makes a key: two keys may have the same.
    if of_this_key.any(|key| key.key.verify(component, &signature, false).is_ok()) {
        return Ok(Signed { key: id, comment: signature.trusted_comment().to_owned() });
    }
    Err(NotTrusted::Wrong { id })
}

/// The identifier of the key that a signature says it was made with. Nothing is verified.
pub(crate) fn signer(signature: &str) -> Option<String> {
    identifier(&STANDARD.decode(signature.lines().nth(1)?.trim()).ok()?)
}

/// Keys and signatures begin with two octets for the algorithm and eight for the key, the least significant first.
fn identifier(raw: &[u8]) -> Option<String> {
    let id: [u8; 8] = raw.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}
