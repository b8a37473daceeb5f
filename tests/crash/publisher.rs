//! A publisher: a window of messages at QoS 1 and 2 in flight, some of them retained, and after every broken connection
//! sent again what was not acknowledged (MQTT 5 §4.4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use portcullis_tests::packets::{self, Incoming, Message, Version};

use crate::chance::Chance;
use crate::wire::{Lost, Name, Wire};
use crate::world::{Moment, Over, World, client};

/// Messages in flight.
const WINDOW: usize = 24;
/// Topics of each publisher that keep their last message.
const KEPT: u64 = 4;

/// What became of a message.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) qos: u8,
    /// Counts the publisher's messages of this quality, from 1.
    pub(crate) sequence: u64,
    /// When it was sent, and sent again.
    pub(crate) sent: Vec<Moment>,
    /// When PUBACK or PUBREC came.
    pub(crate) acknowledged: Option<Moment>,
}

/// What a publisher did: its messages for the subscribers. Retained ones are accounted for in the world.
pub(crate) struct Published {
    pub(crate) messages: Vec<Sent>,
    /// Everything that was acknowledged, retained messages as well.
    pub(crate) acknowledged: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    /// QoS 2: PUBREC came.
    Received,
}

struct Flight {
    id: u16,
    message: Message,
    stage: Stage,
    /// Its place in `messages`; none: a retained one.
    place: Option<usize>,
    /// Of a retained one.
    value: u64,
}

pub(crate) struct Publisher {
    world: Arc<World>,
    number: usize,
    name: Name,
    chance: Chance,
    flights: VecDeque<Flight>,
    messages: Vec<Sent>,
    acknowledged: u64,
    sequence: [u64; 2],
    kept: u64,
    next_id: u16,
    /// Whether the last message of each quality was sent.
    ended: bool,
    /// The gateway confirmed something: the session must be there from now on.
    known: bool,
}

impl Publisher {
    pub(crate) fn new(world: &Arc<World>, number: usize, version: Version, chance: Chance) -> Self {
        Self {
            world: Arc::clone(world),
            number,
            name: Name { version, client_id: format!("publisher-{number}"), window: None, clean: false },
            chance,
            flights: VecDeque::new(),
            messages: Vec::new(),
            acknowledged: 0,
            sequence: [0; 2],
            kept: 0,
            next_id: 0,
            ended: false,
            known: false,
        }
    }

    pub(crate) fn start(mut self) -> JoinHandle<Result<Published, Over>> {
        client(&Arc::clone(&self.world), move || {
            loop {
                let (life, address) = self.world.gateway()?;
                match self.connection(life, address) {
                    Ok(true) => {
                        return Ok(Published { messages: self.messages, acknowledged: self.acknowledged });
                    }
                    // It left of its own accord.
                    Ok(false) => {}
                    Err(Lost::Broken(why)) => self.world.died(life, &self.name.client_id, &why)?,
                    Err(Lost::Wrong(why)) => {
                        return Err(self.world.fail(format!("{}: {why}{}", self.name.client_id, self.waiting())));
                    }
                }
                if self.world.failed() {
                    return Err(Over);
                }
            }
        })
    }

    fn waiting(&self) -> String {
        let list: Vec<_> = self.flights.iter().map(|f| format!("{} as {}", text(&f.message), f.id)).collect();
        format!("; in flight: {}", list.join(", "))
    }

    /// One connection. True: everything is done.
    fn connection(&mut self, life: u32, address: std::net::SocketAddr) -> Result<bool, Lost> {
        let (mut wire, present) = Wire::open(address, &self.name)?;
        if self.known && !present {
            return Err(Lost::Wrong("its session is gone, though it had been confirmed".to_owned()));
        }
        self.world.event();
        for flight in &mut self.flights {
            match flight.stage {
                Stage::Sent => {
                    flight.message.dup = present;
                    wire.put(&packets::publish(self.name.version, &flight.message));
                    if let Some(place) = flight.place {
                        self.messages[place].sent.push(self.world.moment(life));
                    }
                }
                Stage::Received => wire.put(&packets::acknowledgement(0x62, flight.id)),
            }
        }
        loop {
            self.fill(&mut wire, life);
            wire.flush()?;
            if self.flights.is_empty() {
                if self.ended {
                    return Ok(true);
                }
                if self.world.wait_for_work(life).is_err() {
                    return Ok(false);
                }
                continue;
            }
            let mut next = Some(wire.next()?);
            while let Some(packet) = next {
                self.take(packet, &mut wire, life)?;
                next = wire.here();
            }
            if self.chance.once_in(400) {
                // Away without a word, and back at once: what was on its way to it is lost.
                return Ok(false);
            }
        }
    }

    fn fill(&mut self, wire: &mut Wire, life: u32) {
        while self.flights.len() < WINDOW && !self.ended {
            if self.world.finishing() {
                self.ended = true;
                self.send(wire, life, 1, true);
                self.send(wire, life, 2, true);
            } else if !self.world.wants_more() {
                return;
            } else if self.chance.once_in(6) {
                self.retain(wire);
            } else {
                let qos = 1 + self.chance.below(2) as u8;
                self.send(wire, life, qos, false);
            }
        }
    }

    fn id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 65_535 + 1;
            if self.flights.iter().all(|flight| flight.id != self.next_id) {
                return self.next_id;
            }
        }
    }

    fn send(&mut self, wire: &mut Wire, life: u32, qos: u8, last: bool) {
        let sequence = &mut self.sequence[usize::from(qos) - 1];
        *sequence += 1;
        // Most are small; some take more than a page of the store.
        let padding = if self.chance.once_in(8) { self.chance.magnitude(6_000) as usize } else { 0 };
        let end = if last { "last" } else { "more" };
        let body = format!("{}/{qos}/{sequence}/{end}/{}", self.number, "x".repeat(padding));
        let sent = vec![self.world.moment(life)];
        self.messages.push(Sent { qos, sequence: *sequence, sent, acknowledged: None });
        let place = Some(self.messages.len() - 1);
        self.world.published(self.number);
        self.put(wire, Message::new(format!("load/{}/{qos}", self.number), body).qos(qos), place, 0);
    }

    fn retain(&mut self, wire: &mut Wire) {
        self.kept += 1;
        let slot = self.chance.below(KEPT);
        let topic = format!("kept/{}/{slot}", self.number);
        let message = Message::new(topic.as_str(), self.kept.to_string()).qos(1 + (slot % 2) as u8).retained();
        self.world.lock().kept.entry(topic).or_default().sent = self.kept;
        self.put(wire, message, None, self.kept);
    }

    fn put(&mut self, wire: &mut Wire, mut message: Message, place: Option<usize>, value: u64) {
        message.id = self.id();
        wire.put(&packets::publish(self.name.version, &message));
        self.flights.push_back(Flight { id: message.id, message, stage: Stage::Sent, place, value });
    }

    fn take(&mut self, packet: Incoming, wire: &mut Wire, life: u32) -> Result<(), Lost> {
        self.world.event();
        let (id, first) = match packet {
            Incoming::PubAck(id, code) => (id, Some((1, code))),
            Incoming::PubRec(id, code) => (id, Some((2, code))),
            Incoming::PubComp(id, _) => (id, None),
            other => return Err(Lost::Wrong(format!("a publisher got {other:?}"))),
        };
        let Some(place) = self.flights.iter().position(|flight| flight.id == id) else {
            return Err(Lost::Wrong(format!("{packet:?} answers nothing")));
        };
        let flight = &mut self.flights[place];
        let Some((qos, code)) = first else {
            if flight.stage != Stage::Received {
                return Err(Lost::Wrong(format!("PUBCOMP for {}, which was not released", text(&flight.message))));
            }
            self.flights.remove(place);
            return Ok(());
        };
        if flight.message.qos != qos || code >= 0x80 {
            return Err(Lost::Wrong(format!("{packet:?} for {}", text(&flight.message))));
        }
        self.known = true;
        if flight.stage == Stage::Sent {
            self.acknowledged += 1;
            if let Some(place) = flight.place {
                self.messages[place].acknowledged = Some(self.world.moment(life));
            } else if let Some(kept) = self.world.lock().kept.get_mut(&flight.message.topic) {
                kept.acknowledged = Some(flight.value);
            }
        }
        if qos == 1 {
            self.flights.remove(place);
        } else {
            flight.stage = Stage::Received;
            wire.put(&packets::acknowledgement(0x62, id));
        }
        Ok(())
    }
}

fn text(message: &Message) -> String {
    let payload = String::from_utf8_lossy(&message.payload);
    format!("{}={}", message.topic, payload.trim_end_matches('x'))
}
