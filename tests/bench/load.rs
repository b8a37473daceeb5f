//! MQTT 3.1.1 load at QoS 1 from blocking threads: cheap enough that the broker is what is measured. The packets are put
//! together by the harness once and patched after that.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_tests::packets::{self, Version};
use portcullis_tests::{Hello, Message};

/// A connection in a state in which only one kind of packet comes.
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects; `stored`: with a session that outlives the connection.
    pub(crate) fn open(address: SocketAddr, client_id: &str, stored: bool) -> Self {
        let stream = TcpStream::connect(address).expect("the port accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(portcullis_tests::PATIENCE)).expect("a socket");
        let mut hello = Hello::plain(Version::V311, client_id);
        hello.clean = !stored;
        let mut wire = Self { stream };
        wire.send(&packets::connect(&hello));
        assert_eq!(wire.answer::<4>()[3], 0, "CONNACK accepts");
        wire
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("the broker reads");
    }

    pub(crate) fn answer<const N: usize>(&mut self) -> [u8; N] {
        let mut answer = [0; N];
        self.stream.read_exact(&mut answer).expect("the broker answers");
        answer
    }

    pub(crate) fn subscribe(&mut self, filter: &str) {
        let length = u8::try_from(filter.len() + 5).expect("a short filter");
        let mut packet = vec![0x82, length, 0, 1, 0, filter.len() as u8];
        packet.extend_from_slice(filter.as_bytes());
        packet.push(1);
        self.send(&packet);
        assert_eq!(self.answer::<5>(), [0x90, 3, 0, 1, 1], "SUBACK grants QoS 1");
    }

    pub(crate) fn leave(mut self) {
        self.send(&[0xE0, 0]);
        let _ = self.stream.read(&mut [0; 1]);
    }
}

/// A PUBLISH at QoS 1 and where its identifier lies.
pub(crate) struct Template {
    octets: Vec<u8>,
    id_at: usize,
}

impl Template {
    pub(crate) fn new(topic: &str, payload: usize, retain: bool) -> Self {
        let mut message = Message::new(topic, vec![b'.'; payload]).qos(1);
        (message.id, message.retain) = (1, retain);
        let octets = packets::publish(Version::V311, &message).to_vec();
        let id_at = octets.len() - payload - 2;
        Self { octets, id_at }
    }

    pub(crate) fn put(&self, id: u16, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.octets);
        out[at + self.id_at..at + self.id_at + 2].copy_from_slice(&id.to_be_bytes());
    }
}

/// Publishes through a window until it is told to stop, counting acknowledgements.
pub(crate) fn publisher(
    address: SocketAddr,
    name: String,
    template: Template,
    window: u16,
    acknowledged: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<()> {
    let (acknowledged, stop) = (Arc::clone(acknowledged), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut wire = Wire::open(address, &name, false);
        let mut next = 1u16;
        let mut out = Vec::new();
        let mut room = window;
        let mut came = vec![0; 4 * usize::from(window)];
        let mut rest = 0;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..room {
                template.put(next, &mut out);
                next = next.checked_add(1).unwrap_or(1);
            }
            wire.send(&out);
            out.clear();
            let count = wire.stream.read(&mut came[rest..]).expect("the broker acknowledges");
            assert!(count > 0, "the broker closed");
            assert_eq!(came[0], 0x40, "PUBACK");
            room = ((rest + count) / 4) as u16;
            // Half an acknowledgement waits for its other half.
            let whole = usize::from(room) * 4;
            came.copy_within(whole..rest + count, 0);
            rest = rest + count - whole;
            acknowledged.fetch_add(u64::from(room), Ordering::Relaxed);
        }
    })
}

/// Receives and acknowledges until the connection is told to stop and nothing comes any more.
pub(crate) fn subscriber(mut wire: Wire, received: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (received, stop) = (Arc::clone(received), Arc::clone(stop));
    std::thread::spawn(move || {
        wire.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        let mut buffer = vec![0; 256 * 1024];
        let mut filled = 0;
        let mut acknowledgements = Vec::new();
        loop {
            match wire.stream.read(&mut buffer[filled..]) {
                Ok(0) => return,
                Ok(count) => filled += count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    continue;
                }
                Err(_) => return,
            }
            let mut at = 0;
            let mut count = 0;
            while let Some((id, next)) = publish_at(&buffer[..filled], at) {
                acknowledgements.extend_from_slice(&[0x40, 2, id[0], id[1]]);
                (at, count) = (next, count + 1);
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            received.fetch_add(count, Ordering::Relaxed);
            if wire.stream.write_all(&acknowledgements).is_err() {
                return;
            }
            acknowledgements.clear();
        }
    })
}

/// The identifier of the PUBLISH at this place, and where the next packet begins; none when it is not whole.
fn publish_at(buffer: &[u8], at: usize) -> Option<([u8; 2], usize)> {
    let (mut length, mut shift, mut body) = (0usize, 0, at + 1);
    loop {
        let octet = *buffer.get(body)?;
        body += 1;
        length |= usize::from(octet & 0x7F) << shift;
        shift += 7;
        if octet & 0x80 == 0 {
            break;
        }
    }
    let end = body + length;
    let topic = usize::from(u16::from_be_bytes([*buffer.get(body)?, *buffer.get(body + 1)?]));
    let id = [*buffer.get(body + 2 + topic)?, *buffer.get(body + 3 + topic)?];
    assert_eq!(buffer[at] & 0xF6, 0x32, "a PUBLISH at QoS 1");
    (end <= buffer.len()).then_some((id, end))
}

/// Counts over a span of time, after one that is not counted.
pub(crate) fn rate(counter: &AtomicU64, warm: Duration, span: Duration, mut around: impl FnMut()) -> f64 {
    std::thread::sleep(warm);
    around();
    let (before, begun) = (counter.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(span);
    let rate = (counter.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    around();
    rate
}
