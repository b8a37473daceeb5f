//! The `limits` table that every bundled policy's configuration may have: bounds on a session, written into the grant.

use crate::config::{ConfigError, Table};
use crate::wit::types::Limit;

/// The names of the contract's `limit`.
pub const NAMES: [&str; 14] = [
    "publish-per-second",
    "publish-bytes-per-second",
    "packet-size",
    "subscriptions",
    "queued-messages",
    "queued-bytes",
    "receive-maximum",
    "keep-alive",
    "session-expiry",
    "connections",
    "topic-length",
    "topic-levels",
    "retained-messages",
    "retained-bytes",
];

/// Reads the `limits` table.
///
/// # Errors
/// A name that does not exist, or a value that is not a whole number of at most 2^53 - 1.
pub fn read(config: &Table<'_>) -> Result<Vec<Limit>, ConfigError> {
    let limits = config.table("limits", |table| {
        let mut limits = Vec::new();
        for name in NAMES {
            if let Some(value) = table.number(name, 0..=(1 << 53) - 1)? {
                limits.push(Limit { name: name.to_owned(), value });
            }
        }
        Ok(limits)
    })?;
    Ok(limits.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn limits_are_read_and_unknown_ones_refused() {
        let limits = parse(r#"{"limits":{"connections":2}}"#, super::read).unwrap();
        assert_eq!((limits[0].name.as_str(), limits[0].value, limits.len()), ("connections", 2, 1));
        let error = parse(r#"{"limits":{"conections":2}}"#, super::read).unwrap_err().to_string();
        assert!(
            error.starts_with("`limits.conections`: there is no such key; there are `publish-per-second`"),
            "{error}"
        );
    }
}
