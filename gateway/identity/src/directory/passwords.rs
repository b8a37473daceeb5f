//! argon2id (RFC 9106): hashing and checking, so many at a time as the machine can bear beside its other work.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::{Condvar, Mutex};

use super::check::invalid;
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
    argon2: Argon2<'static>,
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
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            length,
            nobody: nobody(cost)?,
            gate: Mutex::default(),
            freed: Condvar::new(),
            // Half the processors: the other half keeps moving messages.
            at_once: std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1)),
            checked: AtomicU64::new(0),
        })
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
        self.check_aside(password, hash)
    }

    /// The same without a turn, for whoever bounds how many are checked at one time.
    pub(super) fn check_aside(&self, password: &[u8], hash: Option<&str>) -> bool {
        let known = hash.is_some();
        // Nobody may choose a longer one, so looking would only spend time that the sender decides about.
        let fits = password.len() <= *self.length.end();
        let password = if fits { password } else { &[] };
        let Ok(hash) = PasswordHash::new(hash.unwrap_or(&self.nobody)) else { return false };
        self.checked.fetch_add(1, Ordering::Relaxed);
        let right = self.argon2.verify_password(password, &hash).is_ok();
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
        let salt = SaltString::encode_b64(&salt).map_err(failed)?;
        Ok(self.argon2.hash_password(password, &salt).map_err(failed)?.to_string())
    }
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
