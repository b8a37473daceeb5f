//! When a client was last heard of, and how much of a packet had come then: in one word, since every idle connection has it.

/// A kibibyte of a packet is a sign of life before it is whole: what a line of a kilobit a second carries in eight seconds.
const FAIR_PART: u32 = 10;
/// Bits for fair parts of the largest packet there is, header and all (MQTT 5 §2.1.4). The others are room for 1,000 years.
const BITS: u32 = 29 - FAIR_PART;
const MOST: u64 = (1 << BITS) - 1;

/// The last time that something whole came, or a fair part of a packet, in [`portcullis_router::now_ms`]; and how many fair parts
/// had come then of a packet that is not whole yet.
#[derive(Clone, Copy)]
pub(super) struct Heard(u64);

impl Heard {
    /// `of_packet`: octets.
    pub(super) fn new(at: u64, of_packet: usize) -> Self {
        Self(at << BITS | ((of_packet >> FAIR_PART) as u64).min(MOST))
    }

    /// The same at another time.
    pub(super) fn again(self, at: u64) -> Self {
        Self(at << BITS | self.0 & MOST)
    }

    pub(super) fn at(self) -> u64 {
        self.0 >> BITS
    }

    /// Whether another fair part has come where there are so many octets of the packet now. Not more often than there are fair parts in it.
    pub(super) fn has_fair_part(self, of_packet: usize) -> bool {
        (of_packet >> FAIR_PART) as u64 > self.0 & MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = 1 << FAIR_PART;

    #[test]
    fn a_packet_that_comes_octet_by_octet_is_a_sign_of_life_once_a_fair_part() {
        for size in [1000, 10 * PART, 10 * PART + 1023] {
            let mut heard = Heard::new(0, 0);
            let mut signs = Vec::new();
            for octets in 1..=size {
                if heard.has_fair_part(octets) {
                    heard = Heard::new(octets as u64, octets);
                    signs.push(heard.at());
                }
            }
            let wanted: Vec<_> = (1..=size / PART).map(|part| (part * PART) as u64).collect();
            assert_eq!(signs, wanted);
        }
    }

    #[test]
    fn the_time_is_kept_beside_the_largest_packet() {
        let largest = 268_435_455 + 5;
        for at in [0, 1, 1000 * 60 * 60 * 24 * 365 * 1000] {
            for octets in [0, 1, PART, largest - PART, largest] {
                let heard = Heard::new(at, octets);
                assert_eq!(heard.at(), at);
                assert!(!heard.has_fair_part(octets));
            }
        }
    }
}
