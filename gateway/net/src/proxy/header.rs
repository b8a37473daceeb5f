//! Reading a PROXY header: bytes in, a verdict out. Knows neither sockets nor who may send one.
//!
//! Sections are those of the specification (haproxy.org, `proxy-protocol.txt` of 2020). Total and strict: every input is
//! the beginning of a header, a header, or malformed, and which of them never depends on how it arrived in pieces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 1 begins (§2.1).
const TEXT: &[u8] = b"PROXY ";
/// Octets of the longest line of version 1, its end included (§2.1).
const MAX_TEXT: usize = 107;
/// How version 2 begins (§2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of version 2 before addresses: the signature, version and command, family and protocol, and a length.
const PREAMBLE: usize = 16;

/// Octets of the longest header that is taken. Version 2 could announce 64 KiB; addresses take 216 at most, and
/// extensions, client certificates included, a few hundred.
pub const MAX_HEADER: usize = 4096;

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header: more is needed.
    Incomplete,
    /// A header, with or without bytes behind it.
    Done(Header),
    /// No header, whatever may follow. The sentence is for the log.
    Malformed(&'static str),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client's address, IPv4-mapped IPv6 already unmapped. None: the header names none (`LOCAL`, `UNKNOWN`, another
    /// family), and the connection is its sender's own.
    pub source: Option<SocketAddr>,
    /// Octets of the header. What follows is not its business.
    pub length: usize,
}

/// Looks at the bytes that a connection begins with.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, TEXT) {
        text(bytes)
    } else if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else {
        Parsed::Malformed("the connection does not begin with a PROXY header")
    }
}

/// Whether `bytes` begin with `mark`, as far as they go.
fn begins(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.iter().zip(mark).all(|(byte, expected)| byte == expected)
}

/// Version 1: a line of text.
fn text(bytes: &[u8]) -> Parsed {
    let seen = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() == MAX_TEXT {
            Parsed::Malformed("the PROXY line is longer than 107 octets")
        } else {
            Parsed::Incomplete
        };
    };
    let Some(line) = seen.get(TEXT.len()..end).and_then(|line| std::str::from_utf8(line).ok()) else {
        return Parsed::Malformed("the PROXY line is not text");
    };
    let length = end + 2;
    // What a sender that knows no address says besides is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Parsed::Done(Header { source: None, length });
    }
    match text_source(line) {
        Some(source) => Parsed::Done(Header { source: Some(source), length }),
        None => Parsed::Malformed("the PROXY line names no protocol, two addresses of it and two ports"),
    }
}

/// `TCP4 192.0.2.7 198.51.100.1 49152 1883`, one blank between each.
fn text_source(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let address: fn(&str) -> Option<IpAddr> = match word()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _) = (address(word()?)?, address(word()?)?);
    let (from, _) = (port(word()?)?, port(word()?)?);
    word().is_none().then(|| SocketAddr::new(source.to_canonical(), from))
}

/// Decimal, from 0 to 65535, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2: numbers in network order.
fn binary(bytes: &[u8]) -> Parsed {
    // Each octet is judged as soon as it is there, so that a stranger learns nothing by waiting.
    let command = match bytes.get(12) {
        None => return Parsed::Incomplete,
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(octet) if octet >> 4 == 2 => return Parsed::Malformed("the PROXY header has an unknown command"),
        Some(_) => return Parsed::Malformed("the PROXY header is of a version other than 1 and 2"),
    };
    let Some(&[family, high, low]) = bytes.get(13..PREAMBLE).and_then(|rest| rest.first_chunk::<3>()) else {
        return Parsed::Incomplete;
    };
    let announced = usize::from(u16::from_be_bytes([high, low]));
    let length = PREAMBLE + announced;
    if length > MAX_HEADER {
        return Parsed::Malformed("the PROXY header is longer than 4096 octets");
    }
    // The balancer speaks for itself, as in its health checks: whatever the family, it is not to be looked at.
    let needed = match (command, family >> 4, family & 0x0f) {
        (Command::Local, ..) => 0,
        (_, 0..=3, 3..) | (_, 4.., _) => return Parsed::Malformed("the PROXY header is of an unknown family"),
        (_, 1, 1 | 2) => 12,
        (_, 2, 1 | 2) => 36,
        (_, 3, 1 | 2) => 216,
        // Unspecified: the addresses are to be ignored.
        _ => 0,
    };
    if announced < needed {
        return Parsed::Malformed("the PROXY header is too short for its addresses");
    }
    let Some(body) = bytes.get(PREAMBLE..length) else { return Parsed::Incomplete };
    // What follows the addresses are extensions (§2.2.1 and on), which are not looked at.
    let source = match needed {
        12 => body.first_chunk().map(|&[a, b, c, d, _, _, _, _, high, low, _, _]| {
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
        }),
        36 => body
            .first_chunk::<16>()
            .zip(body.get(32..34).and_then(|port| port.first_chunk::<2>()))
            .map(|(address, port)| SocketAddr::new(Ipv6Addr::from(*address).to_canonical(), u16::from_be_bytes(*port))),
        _ => None,
    };
    Parsed::Done(Header { source, length })
}

#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(bytes: &[u8]) -> Header {
        match parse(bytes) {
            Parsed::Done(header) => header,
            other => panic!("{other:?} of {bytes:x?}"),
        }
    }

    fn malformed(bytes: &[u8]) -> &'static str {
        match parse(bytes) {
            Parsed::Malformed(why) => why,
            other => panic!("{other:?} of {bytes:x?}"),
        }
    }

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn addresses(source: SocketAddr) -> (u8, Vec<u8>) {
        let port = source.port().to_be_bytes();
        match source.ip() {
            IpAddr::V4(v4) => (0x11, [&v4.octets()[..], &[198, 51, 100, 1], &port, &[7, 91]].concat()),
            IpAddr::V6(v6) => (0x21, [&v6.octets()[..], &[0xfe; 16], &port, &[7, 91]].concat()),
        }
    }

    #[test]
    fn lines_of_version_1() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 198.51.100.1 49152 1883\r\n", Some("192.0.2.7:49152")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", Some("[2001:db8::7]:0")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 49152 1883\r\n", Some("192.0.2.7:49152")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 of any kind \r\r\n", None),
        ] {
            let header = done(format!("{line}\x10\x0c").as_bytes());
            assert_eq!(header.source, source.map(|text| text.parse().unwrap()), "{line}");
            assert_eq!(header.length, line.len(), "{line}");
        }
        // The longest that there is (§2.1).
        let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
        assert_eq!(longest.len(), MAX_TEXT);
        assert_eq!(done(longest.as_bytes()).length, MAX_TEXT);
        assert!(malformed(longest.replace("65535\r", "655350\r").as_bytes()).contains("107"));
    }

    #[test]
    fn lines_that_are_none() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        ] {
            malformed(line.as_bytes());
        }
        assert_eq!(parse(b""), Parsed::Incomplete);
        assert_eq!(parse(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n"), Parsed::Incomplete, "a line ends with CR LF");
    }

    #[test]
    fn headers_of_version_2() {
        for text in ["192.0.2.7:49152", "[2001:db8::7]:1"] {
            let source = text.parse().unwrap();
            let (family, body) = addresses(source);
            for family in [family, family + 1] {
                assert_eq!(done(&version_2(0x21, family, &body)).source, Some(source), "{text}");
            }
            let extended = [&body[..], &[0x04, 0, 3, 0, 0, 0]].concat();
            let header = done(&[&version_2(0x21, family, &extended)[..], b"\x10\x0c"].concat());
            assert_eq!(header, Header { source: Some(source), length: 16 + extended.len() });
            assert_eq!(done(&version_2(0x20, family, &body)).source, None, "a health check is the balancer's own");
        }
        let (family, body) = addresses("[::ffff:192.0.2.7]:5".parse().unwrap());
        assert_eq!(done(&version_2(0x21, family, &body)).source, Some("192.0.2.7:5".parse().unwrap()));
        for (command, family, length) in
            [(0x20, 0, 0), (0x20, 0xff, 40), (0x21, 0, 0), (0x21, 0x01, 9), (0x21, 0x10, 3), (0x21, 0x31, 216)]
        {
            let header = done(&version_2(command, family, &vec![7; length]));
            assert_eq!(header, Header { source: None, length: 16 + length }, "{command:x} {family:x}");
        }
    }

    #[test]
    fn headers_of_version_2_that_are_none() {
        let (_, v4) = addresses("192.0.2.7:1".parse().unwrap());
        for (command, family, body, word) in [
            (0x11, 0x11, &v4[..], "version"),
            (0x31, 0x11, &v4, "version"),
            (0x22, 0x11, &v4, "command"),
            (0x21, 0x41, &v4, "family"),
            (0x21, 0x13, &v4, "family"),
            (0x21, 0x11, &v4[..11], "short"),
            (0x21, 0x21, &v4, "short"),
            (0x21, 0x32, &[0; 215], "short"),
            (0x20, 0x00, &[0; MAX_HEADER - 15], "4096"),
        ] {
            let why = malformed(&version_2(command, family, body));
            assert!(why.contains(word), "{why} of {command:x} {family:x}");
        }
        assert_eq!(done(&version_2(0x20, 0, &[0; MAX_HEADER - 16])).length, MAX_HEADER);
    }

    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let binary = (any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(command, family, body)| version_2(command, family, &body));
        let near = (0x20..0x22u8, 0..0x40u8, proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(command, family, body)| version_2(command, family, &body));
        let text = "PROXY (TCP4|TCP6|UNKNOWN)( [0-9a-f.:]{1,9}){0,5}\r?\n?.{0,4}".prop_map(String::into_bytes);
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), binary, near, text]
    }

    proptest! {
        /// What a balancer writes is read back, in both versions, with bytes of the client behind it.
        #[test]
        fn what_is_written_is_read(source: SocketAddr, behind: Vec<u8>) {
            let meant = SocketAddr::new(source.ip().to_canonical(), source.port());
            let (family, body) = addresses(source);
            let kind = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {kind} {0} {0} {1} 1883\r\n", source.ip(), source.port());
            for header in [version_2(0x21, family, &body), line.into_bytes()] {
                let expected = Header { source: Some(meant), length: header.len() };
                prop_assert_eq!(parse(&[&header[..], &behind].concat()), Parsed::Done(expected));
            }
        }

        /// The verdict does not depend on the pieces that a header comes in, and a header says how long it is.
        #[test]
        fn pieces_do_not_matter(bytes in anything()) {
            let whole = parse(&bytes);
            for end in 0..bytes.len() {
                match (parse(&bytes[..end]), whole) {
                    (Parsed::Incomplete, Parsed::Done(header)) => prop_assert!(end < header.length),
                    (Parsed::Incomplete, _) => {}
                    (Parsed::Done(header), whole) => {
                        prop_assert!(header.length <= end);
                        prop_assert_eq!(whole, Parsed::Done(header));
                    }
                    (Parsed::Malformed(_), whole) => prop_assert!(matches!(whole, Parsed::Malformed(_))),
                }
            }
            if bytes.len() >= MAX_HEADER {
                prop_assert_ne!(whole, Parsed::Incomplete);
            }
        }
    }
}
