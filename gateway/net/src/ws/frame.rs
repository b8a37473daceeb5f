//! Reading and writing frames (RFC 6455 §5), without I/O.
//!
//! The [`Decoder`] takes bytes as they come and leaves the payload of data frames in their place, moved together and
//! unmasked. Between calls it keeps no more than a header or the payload of a control frame, 125 octets at most.

/// Longest header of a server's frame: two octets and a length of eight.
pub(crate) const MAX_HEADER: usize = 10;
/// Payload of a control frame (§5.5).
const MAX_CONTROL: usize = 125;

/// Status codes of Close (§7.4.1).
pub(crate) mod close {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const PROTOCOL_ERROR: u16 = 1002;
    pub(crate) const UNSUPPORTED_DATA: u16 = 1003;
    /// What a Close without a code counts as. Never sent.
    pub(crate) const NO_STATUS: u16 = 1005;
}

mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// Why no more payload will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sent Close with this code.
    Closed(u16),
    /// The client broke the protocol: the code to close with, and the words for the log.
    Violation(u16, &'static str),
}

/// Where the decoder stands between two octets.
#[derive(Debug)]
enum State {
    /// So many octets of a header are here.
    Header { octets: [u8; 14], have: u8 },
    /// So many octets of a data frame are to come; the mask is turned to begin with the next.
    Data { left: u64, mask: [u8; 4] },
    /// A control frame.
    Control { opcode: u8, length: u8, mask: [u8; 4], payload: Vec<u8> },
}

const NEW_HEADER: State = State::Header { octets: [0; 14], have: 0 };

/// The reading side of a server.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// A fragmented message has begun and not ended.
    open: bool,
    /// The payload of the latest Ping that nobody has taken.
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { state: NEW_HEADER, open: false, ping: None, end: None }
    }

    /// The payload of the latest Ping. Earlier ones need no answer (§5.5.3).
    pub(crate) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Why no more payload will come; none: it may.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// Reads all of `bytes`; the payload is then in the first octets, whose number is returned. What comes before an
    /// end counts, what comes after is ignored.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        let mut kept = 0;
        while at < bytes.len() && self.end.is_none() {
            match &mut self.state {
                State::Header { octets, have } => {
                    octets[usize::from(*have)] = bytes[at];
                    *have += 1;
                    at += 1;
                    if let Some(state) = self.header() {
                        self.state = state;
                    }
                }
                State::Data { left, mask } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    unmask(&mut bytes[at..at + length], mask);
                    bytes.copy_within(at..at + length, kept);
                    at += length;
                    kept += length;
                    *left -= length as u64;
                    if *left == 0 {
                        self.state = NEW_HEADER;
                    }
                }
                State::Control { length, mask, payload, .. } => {
                    let wanted = (usize::from(*length) - payload.len()).min(bytes.len() - at);
                    unmask(&mut bytes[at..at + wanted], mask);
                    payload.extend_from_slice(&bytes[at..at + wanted]);
                    at += wanted;
                }
            }
            self.finish_control();
        }
        kept
    }

    /// Looks at the header so far. The next state once it is complete; an end if it can no longer be good.
    fn header(&mut self) -> Option<State> {
        let State::Header { octets, have } = &self.state else { return None };
        let (octets, have) = (*octets, usize::from(*have));
        let (first, second) = (octets[0], octets[1]);
        let opcode = first & 0x0f;
        let control = opcode & 0x08 != 0;
        let last = first & 0x80 != 0;
        let violation = match opcode {
            _ if first & 0x70 != 0 => Some("a reserved bit is set"),
            opcode::TEXT => {
                // MQTT 5 §6 [MQTT-6.0.0-1].
                self.end = Some(End::Violation(close::UNSUPPORTED_DATA, "a text frame, where MQTT needs binary ones"));
                return None;
            }
            opcode::CONTINUATION if !self.open => Some("a continuation of nothing"),
            opcode::BINARY if self.open => Some("a new message within another"),
            opcode::CONTINUATION | opcode::BINARY => None,
            opcode::CLOSE | opcode::PING | opcode::PONG if !last => Some("a fragmented control frame"),
            opcode::CLOSE | opcode::PING | opcode::PONG => None,
            _ => Some("an unknown opcode"),
        };
        if let Some(words) = violation {
            return self.violate(words);
        }
        if have < 2 {
            return None;
        }
        if second & 0x80 == 0 {
            return self.violate("a frame of a client that is not masked");
        }
        let short = second & 0x7f;
        if control && usize::from(short) > MAX_CONTROL {
            return self.violate("a control frame over 125 octets");
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if have < 2 + extended + 4 {
            return None;
        }
        let number = octets[2..2 + extended].iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let length = match short {
            126 if number < 126 => return self.violate("a length that is not in its shortest form"),
            127 if number <= 0xffff => return self.violate("a length that is not in its shortest form"),
            127 if number >> 63 != 0 => return self.violate("a length over 63 bits"),
            126 | 127 => number,
            _ => u64::from(short),
        };
        let mut mask = [0; 4];
        mask.copy_from_slice(&octets[2 + extended..6 + extended]);
        if control {
            return Some(State::Control { opcode, length: short, mask, payload: Vec::new() });
        }
        self.open = !last;
        Some(if length == 0 { NEW_HEADER } else { State::Data { left: length, mask } })
    }

    fn violate(&mut self, words: &'static str) -> Option<State> {
        self.end = Some(End::Violation(close::PROTOCOL_ERROR, words));
        None
    }

    /// Acts on a control frame that is whole.
    fn finish_control(&mut self) {
        let State::Control { opcode, length, payload, .. } = &mut self.state else { return };
        if payload.len() < usize::from(*length) {
            return;
        }
        let payload = std::mem::take(payload);
        match *opcode {
            opcode::PING => self.ping = Some(payload),
            opcode::CLOSE => {
                self.end = Some(match *payload {
                    [] => End::Closed(close::NO_STATUS),
                    [high, low, ref reason @ ..] => {
                        let code = u16::from_be_bytes([high, low]);
                        if !valid_close_code(code) {
                            End::Violation(close::PROTOCOL_ERROR, "a close code that may not be sent")
                        } else if std::str::from_utf8(reason).is_err() {
                            End::Violation(close::PROTOCOL_ERROR, "a close reason that is not UTF-8")
                        } else {
                            End::Closed(code)
                        }
                    }
                    _ => End::Violation(close::PROTOCOL_ERROR, "a close code of one octet"),
                });
            }
            // Pong: an answer to a question that was not asked means nothing (§5.5.3).
            _ => {}
        }
        self.state = NEW_HEADER;
    }
}

/// The codes that an endpoint may send (§7.4.2).
fn valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Removes the mask and turns it to where the next octet continues.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip([a, b, c, d].into_iter().cycle()) {
        *octet ^= key;
    }
    mask.rotate_left(rest.len() % 4);
}

/// The header of a binary frame of `length` octets, and how long it is. One frame is one message.
pub(crate) fn binary_header(length: usize) -> ([u8; MAX_HEADER], u8) {
    let mut header = [0; MAX_HEADER];
    header[0] = 0x80 | opcode::BINARY;
    let size = match length {
        0..=125 => {
            header[1] = length as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, size)
}

/// A whole Pong. The payload is a Ping's, at most 125 octets.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    control(opcode::PONG, payload)
}

/// A whole Close.
pub(crate) fn close_frame(code: u16) -> Vec<u8> {
    // A Close without a code is answered in kind (§5.5.1).
    if code == close::NO_STATUS { control(opcode::CLOSE, &[]) } else { control(opcode::CLOSE, &code.to_be_bytes()) }
}

fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..payload.len().min(MAX_CONTROL)).unwrap_or_default();
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.extend([0x80 | opcode, payload.len() as u8]);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests;
