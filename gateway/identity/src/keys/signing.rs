//! Keys that sign. The private half lives in the memory of the cryptographic library and is never given out.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use jsonwebtoken::DecodingKey;
use zeroize::Zeroizing;

use super::pem;
use super::public::PublicKey;
use super::verification::{KeyKind, VerificationKey};
use crate::error::KeyError;

/// A key that signs.
pub(crate) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// The secret is kept beside the HMAC key, for checking.
    Secret(Box<hmac::Key>, Zeroizing<Vec<u8>>),
}

/// Octets of an HMAC secret: at least those of the hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;

impl SigningKey {
    /// RSA of 2048 bits, for RS256, and its PKCS#8.
    pub(crate) fn generate_rs256() -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Crypto("making an RSA key"))?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Crypto("writing an RSA key"))?;
        let der = Zeroizing::new(der.as_ref().to_vec());
        Ok((Self::Rsa(Box::new(pair)), der))
    }

    /// P-256, for ES256, and its PKCS#8.
    pub(crate) fn generate_es256() -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| KeyError::Crypto("making a P-256 key"))?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::Crypto("writing a P-256 key"))?;
        let der = Zeroizing::new(der.as_ref().to_vec());
        Ok((Self::P256(pair), der))
    }

    /// Reads a PKCS#8 PrivateKeyInfo (RFC 5958) of any kind that we know.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::P256(pair));
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
            return Ok(Self::P384(pair));
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::Ed25519(pair));
        }
        match RsaKeyPair::from_pkcs8(der) {
            Ok(pair) => Self::rsa(pair),
            Err(why) => Err(rejected(&why)),
        }
    }

    /// Reads a PEM text with one private key: PKCS#8, PKCS#1 or SEC 1. None: it has none.
    pub(crate) fn from_pem(text: &str) -> Result<Option<Self>, KeyError> {
        let mut found = None;
        for block in pem::blocks(text)? {
            let key = match block.label.as_str() {
                "PRIVATE KEY" => Self::from_pkcs8(&block.der)?,
                "RSA PRIVATE KEY" => Self::rsa(RsaKeyPair::from_der(&block.der).map_err(|why| rejected(&why))?)?,
                "EC PRIVATE KEY" => Self::from_sec1(&block.der)?,
                "ENCRYPTED PRIVATE KEY" => {
                    return Err(KeyError::Unsupported(
                        "the private key is encrypted; give it without a password".to_owned(),
                    ));
                }
                _ => continue,
            };
            if found.replace(key).is_some() {
                return Err(KeyError::Malformed("more than one private key in one file".to_owned()));
            }
        }
        Ok(found)
    }

    /// An HMAC secret.
    pub(crate) fn secret(octets: &[u8]) -> Result<Self, KeyError> {
        if octets.len() < MIN_SECRET {
            return Err(KeyError::Weak(format!(
                "the secret has {} octets; at least {MIN_SECRET} are needed",
                octets.len()
            )));
        }
        Ok(Self::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, octets)), Zeroizing::new(octets.to_vec())))
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::P256(pair));
        }
        match EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
            Ok(pair) => Ok(Self::P384(pair)),
            Err(why) => Err(rejected(&why)),
        }
    }

    fn rsa(pair: RsaKeyPair) -> Result<Self, KeyError> {
        let bits = pair.public_modulus_len() * 8;
        if bits < 2048 {
            return Err(KeyError::Weak(format!("the RSA key has {bits} bits; at least 2048 are needed")));
        }
        Ok(Self::Rsa(Box::new(pair)))
    }

    /// The algorithm that it signs with (RFC 7518 §3.1, RFC 8037).
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
            Self::Secret(..) => "HS256",
        }
    }

    /// The public half; none of a secret.
    pub(crate) fn public(&self) -> Result<Option<PublicKey>, KeyError> {
        Ok(Some(match self {
            // The library writes it as RSAPublicKey (RFC 8017 §A.1.1).
            Self::Rsa(pair) => PublicKey::from_pkcs1(pair.public_key().as_ref())?,
            Self::P256(pair) => PublicKey::p256(pair.public_key().as_ref())?,
            Self::P384(pair) => PublicKey::p384(pair.public_key().as_ref())?,
            Self::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref())?,
            Self::Secret(..) => return Ok(None),
        }))
    }

    /// What checks its signatures, if it is a secret.
    pub(crate) fn secret_verification(&self) -> Option<VerificationKey> {
        match self {
            Self::Secret(_, octets) => Some(VerificationKey {
                kid: None,
                kind: KeyKind::Secret,
                only: None,
                key: DecodingKey::from_secret(octets),
            }),
            _ => None,
        }
    }

    /// Signs octets in the form of RFC 7518 §3.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let failed = |_| KeyError::Crypto("signing");
        match self {
            Self::Rsa(pair) => {
                let mut octets = vec![0; pair.public_modulus_len()];
                let padding: &dyn signature::RsaEncoding = &RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message, &mut octets).map_err(failed)?;
                Ok(octets)
            }
            Self::P256(pair) | Self::P384(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Secret(key, _) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

fn rejected(why: &aws_lc_rs::error::KeyRejected) -> KeyError {
    KeyError::Malformed(format!("not a usable private key ({why}); RSA, P-256, P-384 and Ed25519 are accepted"))
}
