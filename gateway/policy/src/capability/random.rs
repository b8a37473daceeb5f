//! `random`: octets from the operating system's generator.

use wasmtime::{Result, bail, format_err};

use crate::bindings::portcullis::policy::random::Host;
use crate::digest::hex;
use crate::state::State;

const MOST: u32 = 4096;

impl Host for State {
    fn bytes(&mut self, length: u32) -> Result<Vec<u8>> {
        if length > MOST {
            bail!("`random.bytes` was asked for {length} octets, more than {MOST}");
        }
        let mut bytes = vec![0; length as usize];
        self.with
            .shared
            .outside
            .randomness
            .fill(&mut bytes)
            .map_err(|why| format_err!("the operating system gave no random octets: {why}"))?;
        Ok(bytes)
    }

    fn uuid(&mut self) -> Result<String> {
        let mut bytes = [0; 16];
        self.with
            .shared
            .outside
            .randomness
            .fill(&mut bytes)
            .map_err(|why| format_err!("the operating system gave no random octets: {why}"))?;
        Ok(uuid(bytes))
    }
}

/// A version 4 UUID (RFC 9562 §5.4) of random octets.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let all = hex(&bytes);
    [&all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
