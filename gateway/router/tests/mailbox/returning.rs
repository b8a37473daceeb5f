//! A client that comes back: nothing is lost, whatever happens in between.

use portcullis_mqtt::{Packet, ProtocolVersion, QoS, decode, frame};
use portcullis_router::{Batch, MailboxLimits, Router};
use proptest::prelude::*;

use crate::client::{Client, client, publish};

#[derive(Debug, Clone)]
enum Event {
    Publish(u8),
    Room(usize),
    Acknowledge,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..5u8).prop_map(Event::Publish),
        3 => (0..60usize).prop_map(Event::Room),
        3 => Just(Event::Acknowledge),
        1 => Just(Event::Reconnect),
    ]
}

proptest! {
    /// QoS 1 to a session that outlives its connections: whatever the socket takes and however often the client comes
    /// back, every message arrives, in order but for repetitions that are marked, and never more than the window is
    /// unacknowledged.
    #[test]
    fn nothing_is_lost_and_the_window_holds(events in prop::collection::vec(event(), 1..120), window in 1..4u16) {
        let router = Router::default();
        let c = client(&router, MailboxLimits::default(), 0, window, true);
        c.subscribe(&router, "a", QoS::AtLeastOnce);
        let mut batch = Batch::default();
        let mut published = 0u32;
        let mut received: Vec<u32> = Vec::new();
        let mut acknowledged = 0usize;
        let mut unacknowledged: Vec<u16> = Vec::new();
        // Takes in what arrived on this connection so far.
        let take = |c: &Client, at: &mut usize, received: &mut Vec<u32>, unacknowledged: &mut Vec<u16>| {
            let got = c.socket.got.lock();
            while let Some(f) = frame(&got, *at, u32::MAX).unwrap() {
                if let Packet::Publish(p) = decode(ProtocolVersion::V311, f.first, &got[f.body..f.end]).unwrap() {
                    let n = u32::from_be_bytes(p.payload.try_into().unwrap());
                    let again = received.contains(&n);
                    assert!(p.dup || !again, "{n} came twice without DUP");
                    if !again {
                        assert_eq!(n as usize, received.len(), "in order");
                        received.push(n);
                    }
                    unacknowledged.push(p.packet_id.unwrap().get());
                }
                *at = f.end;
            }
        };
        let mut at = 0;
        for event in events.into_iter().chain((0..400).flat_map(|_| [Event::Room(1000), Event::Acknowledge])) {
            match event {
                Event::Publish(n) => {
                    let payloads: Vec<Vec<u8>> = (0..u32::from(n)).map(|i| (published + i).to_be_bytes().to_vec()).collect();
                    published += u32::from(n);
                    publish(&router, "a", QoS::AtLeastOnce, &payloads, &mut batch);
                    batch.flush();
                }
                Event::Room(n) => {
                    *c.socket.room.lock() = n;
                    c.mailbox.unblock();
                    c.mailbox.flush();
                }
                Event::Acknowledge => {
                    if let Some(id) = unacknowledged.first().copied() {
                        unacknowledged.remove(0);
                        c.mailbox.puback(id, &mut batch).unwrap();
                        acknowledged += 1;
                        batch.flush();
                    }
                }
                Event::Reconnect => {
                    c.mailbox.detach(true).unwrap();
                    c.socket.got.lock().clear();
                    at = 0;
                    unacknowledged.clear();
                    c.attach(window);
                }
            }
            take(&c, &mut at, &mut received, &mut unacknowledged);
            prop_assert!(unacknowledged.len() <= usize::from(window));
        }
        prop_assert_eq!(received.len(), published as usize);
        prop_assert!(acknowledged >= published as usize);
    }
}
