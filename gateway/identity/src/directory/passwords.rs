//! argon2id (RFC 9106): hashing and checking, so many at a time as the machine can bear beside its other work. Where that is
//! computed: [`hashing`](super::hashing).

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::{Output, PasswordHash, Salt, SaltString};
use argon2::{Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::{Condvar, Mutex};
use subtle::ConstantTimeEq;

use super::check::invalid;
use super::hashing::{Hash, Hasher, Work};
use super::random;
use crate::error::DirectoryError;

/// What a password's hash costs, for us and for whoever steals the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// KiB of memory; at least 8.
    pub memory_kib: u32,
    /// Passes over it; at least 1.
    pub passes: u32,
}

impl Default for PasswordCost {
    /// 19 MiB and two passes: the least that OWASP's password storage cheat sheet recommends for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

/// Checks that may wait for their turn; more are refused.
const WAITING: usize = 64;

/// Hashes and checks passwords.
pub(super) struct Passwords {
    params: Params,
    hasher: Hasher,
    length: std::ops::RangeInclusive<usize>,
    /// What is checked when there is no such user, so that it takes as long.
    nobody: String,
    gate: Mutex<Gate>,
    freed: Condvar,
    at_once: usize,
    checked: AtomicU64,
}

#[derive(Default)]
struct Gate {
    running: usize,
    waiting: usize,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("at_once", &self.at_once).finish_non_exhaustive()
    }
}

/// A turn at the gate.
pub(super) struct Turn<'g>(&'g Passwords);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.gate.lock().running -= 1;
        self.0.freed.notify_one();
    }
}

impl Passwords {
    pub(super) fn new(cost: PasswordCost, length: std::ops::RangeInclusive<usize>) -> Result<Self, DirectoryError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None)
            .map_err(|error| invalid("password-cost", &format!("cannot be used: {error}")))?;
        // Memory is what hashes compete for, also with messages: few at a time are as quick as many.
        let at_once = std::thread::available_parallelism().map_or(1, |count| (count.get() / 4).max(1));
        Ok(Self {
            params,
            hasher: Hasher::new(at_once),
            length,
            nobody: nobody(cost)?,
            gate: Mutex::default(),
            freed: Condvar::new(),
            at_once,
            checked: AtomicU64::new(0),
        })
    }

    /// How many are hashed at one time.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a turn. None: too many wait already.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let mut gate = self.gate.lock();
        if gate.running >= self.at_once {
            if gate.waiting >= WAITING {
                return None;
            }
            gate.waiting += 1;
            while gate.running >= self.at_once {
                self.freed.wait(&mut gate);
            }
            gate.waiting -= 1;
        }
        gate.running += 1;
        Some(Turn(self))
    }

    /// Hashes a password that somebody chose, in the PHC string format.
    pub(super) fn hash(&self, password: &[u8]) -> Result<String, DirectoryError> {
        if password.len() < *self.length.start() {
            return Err(invalid("password", &format!("must have at least {} octets", self.length.start())));
        }
        if password.len() > *self.length.end() {
            return Err(invalid("password", &format!("must not have more than {} octets", self.length.end())));
        }
        let _turn = self.turn().ok_or(DirectoryError::RateLimited(1))?;
        self.hash_now(password)
    }

    /// Whether this is a hash that [`Passwords::check`] can read: for imports.
    pub(super) fn is_hash(hash: &str) -> bool {
        PasswordHash::new(hash)
            .is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && Params::try_from(&hash).is_ok_and(affordable))
    }

    /// Whether the password is the one that was hashed. Without a hash it takes as long and says no.
    pub(super) fn check(&self, _turn: &Turn<'_>, password: &[u8], hash: Option<&str>) -> bool {
        self.check_with(password, hash, |work| self.hasher.hash(work))
    }

    /// The same without a turn and on this thread, for whoever bounds how many are checked at one time.
    pub(super) fn check_aside(&self, password: &[u8], hash: Option<&str>) -> bool {
        self.check_with(password, hash, |work| work.hash_here())
    }

    fn check_with(
        &self,
        password: &[u8],
        hash: Option<&str>,
        compute: impl FnOnce(Work) -> Result<Hash, argon2::Error>,
    ) -> bool {
        let known = hash.is_some();
        // Nobody may choose a longer one, so looking would only spend time that the sender decides about.
        let fits = password.len() <= *self.length.end();
        let password = if fits { password } else { &[] };
        let Some((work, expected)) = read(password, hash.unwrap_or(&self.nobody)) else { return false };
        self.checked.fetch_add(1, Ordering::Relaxed);
        let right = compute(work).is_ok_and(|hash| bool::from(hash.as_slice().ct_eq(expected.as_bytes())));
        right && known && fits
    }

    /// Hashes that were computed to check a password.
    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    fn hash_now(&self, password: &[u8]) -> Result<String, DirectoryError> {
        let mut salt = [0; 16];
        random::fill(&mut salt)?;
        let failed = |error: argon2::password_hash::Error| invalid("password", &format!("cannot be hashed: {error}"));
        let work = Work {
            params: self.params.clone(),
            version: Version::V0x13,
            password: password.to_vec().into(),
            salt: salt.to_vec(),
        };
        let hash = self.hasher.hash(work).map_err(|error| failed(error.into()))?;
        let salt = SaltString::encode_b64(&salt).map_err(failed)?;
        let whole = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(u32::from(Version::V0x13)),
            params: (&self.params).try_into().map_err(failed)?,
            salt: Some(salt.as_salt()),
            hash: Some(Output::new(&hash).map_err(failed)?),
        };
        Ok(whole.to_string())
    }
}

/// How to come by the hash that this text has, and that hash.
fn read(password: &[u8], text: &str) -> Option<(Work, Output)> {
    let text = PasswordHash::new(text).ok()?;
    let mut salt = [0; Salt::MAX_LENGTH];
    let salt = text.salt?.decode_b64(&mut salt).ok()?.to_vec();
    let version = text.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&text).ok()?;
    Some((Work { params, version, password: password.to_vec().into(), salt }, text.hash?))
}

/// The hash of no password that anybody knows: random octets in the place of a hash cost as much to compare with, and
/// nothing to make, so that the gateway starts at once.
fn nobody(cost: PasswordCost) -> Result<String, DirectoryError> {
    let (mut salt, mut hash) = ([0; 16], [0; 32]);
    random::fill(&mut salt)?;
    random::fill(&mut hash)?;
    let PasswordCost { memory_kib, passes } = cost;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${hash}"))
}

/// An imported hash must not cost more memory or time than we would choose ourselves: at most 256 MiB, 16 passes.
fn affordable(params: Params) -> bool {
    params.m_cost() <= 256 * 1024 && params.t_cost() <= 16 && params.p_cost() <= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_costs_what_the_hash_of_somebody_does() {
        let passwords = Passwords::new(PasswordCost { memory_kib: 96, passes: 3 }, 8..=64).unwrap();
        let somebody = passwords.hash(b"a password").unwrap();
        let cost = |text: &str| {
            let hash = PasswordHash::new(text).unwrap();
            let output = hash.hash.map(|output| output.len());
            let salt = hash.salt.map(|salt| salt.as_str().len());
            (hash.algorithm.to_string(), hash.version, Params::try_from(&hash).unwrap(), output, salt)
        };
        assert_eq!(cost(&passwords.nobody), cost(&somebody));
        let turn = passwords.turn().unwrap();
        assert!(passwords.check(&turn, b"a password", Some(&somebody)));
        assert!(!passwords.check(&turn, b"a password", None));
    }

    #[test]
    fn no_more_wait_than_may() {
        let passwords = Passwords::new(PasswordCost { memory_kib: 8, passes: 1 }, 8..=64).unwrap();
        let turns: Vec<_> = (0..passwords.at_once).map(|_| passwords.turn().unwrap()).collect();
        passwords.gate.lock().waiting = WAITING;
        assert!(passwords.turn().is_none());
        assert_eq!(passwords.hash(b"a password").unwrap_err(), DirectoryError::RateLimited(1));
        passwords.gate.lock().waiting = 0;
        drop(turns);
        assert!(passwords.turn().is_some());
    }
}
