//! A subscriber with a session that lasts, and the receiving side of QoS 2: what was received and not released is
//! remembered over connections (MQTT 5 §4.3.3).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;

use mqttbytes::v5::SubscribeFilter;
use portcullis_tests::packets::{self, Incoming, Message, Version};

use crate::PUBLISHERS;
use crate::chance::Chance;
use crate::wire::{Lost, Name, Wire};
use crate::world::{Moment, Over, World, client};

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Always there, and quick.
    Steady,
    /// There, with a receive maximum of 5.
    Narrow,
    /// Breaks its connection now and then, before it has acknowledged what it got.
    Hasty,
    /// Leaves, and comes back when much has happened.
    Away,
}

/// Publisher, quality of service it was published at, number.
pub(crate) type Key = (usize, u8, u64);

/// A message that came, other than one whose identifier was not released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) key: Key,
    pub(crate) dup: bool,
    pub(crate) moment: Moment,
}

/// What a subscriber got, in order.
pub(crate) struct Received {
    pub(crate) deliveries: Vec<Delivery>,
    /// Repetitions that the identifiers of QoS 2 told.
    pub(crate) repeated: u64,
}

pub(crate) struct Subscriber {
    world: Arc<World>,
    number: usize,
    name: Name,
    qos: u8,
    manner: Manner,
    chance: Chance,
    deliveries: Vec<Delivery>,
    repeated: u64,
    seen: HashSet<Key>,
    /// QoS 2 messages that were received and not released.
    unreleased: HashMap<u16, Key>,
    /// Last messages that came.
    ended: HashSet<(usize, u8)>,
    subscribed: bool,
}

pub(crate) fn client_id(number: usize) -> String {
    format!("subscriber-{number}")
}

impl Subscriber {
    pub(crate) fn new(
        world: &Arc<World>,
        number: usize,
        version: Version,
        qos: u8,
        manner: Manner,
        chance: Chance,
    ) -> Self {
        let window = (manner == Manner::Narrow).then_some(5);
        Self {
            world: Arc::clone(world),
            number,
            name: Name { version, client_id: client_id(number), window, clean: false },
            qos,
            manner,
            chance,
            deliveries: Vec::new(),
            repeated: 0,
            seen: HashSet::new(),
            unreleased: HashMap::new(),
            ended: HashSet::new(),
            subscribed: false,
        }
    }

    pub(crate) fn start(mut self) -> JoinHandle<Result<Received, Over>> {
        client(&Arc::clone(&self.world), move || {
            loop {
                let (life, address) = self.world.gateway()?;
                match self.connection(life, address) {
                    Ok(true) => return Ok(Received { deliveries: self.deliveries, repeated: self.repeated }),
                    Ok(false) if self.manner == Manner::Away => self.world.stay_away(self.chance.below(1_500))?,
                    Ok(false) => {}
                    Err(Lost::Broken(why)) => self.world.died(life, &self.name.client_id, &why)?,
                    Err(Lost::Wrong(why)) => {
                        let missing = 2 * PUBLISHERS - self.ended.len();
                        return Err(self.world.fail(format!(
                            "{}: {why}; {} messages came, {missing} last ones did not, unreleased: {:?}",
                            self.name.client_id,
                            self.deliveries.len(),
                            self.unreleased
                        )));
                    }
                }
                if self.world.failed() {
                    return Err(Over);
                }
            }
        })
    }

    /// One connection. True: the last message of every publisher came, and everything is acknowledged.
    fn connection(&mut self, life: u32, address: std::net::SocketAddr) -> Result<bool, Lost> {
        let (mut wire, present) = Wire::open(address, &self.name)?;
        self.world.event();
        if self.subscribed && !present {
            return Err(Lost::Wrong("its session is gone, though SUBACK had come".to_owned()));
        }
        if !self.subscribed {
            let filter =
                SubscribeFilter::new("load/#".to_owned(), mqttbytes::qos(self.qos).expect("a quality of service"));
            wire.put(&packets::subscribe(self.name.version, 1, None, &[filter]));
        }
        let mut pinged = false;
        let mut left = match self.manner {
            Manner::Steady | Manner::Narrow => u64::MAX,
            Manner::Hasty => 1 + self.chance.below(600),
            Manner::Away => 1 + self.chance.below(1_200),
        };
        loop {
            wire.flush()?;
            let mut next = Some(wire.next()?);
            while let Some(packet) = next {
                match packet {
                    Incoming::SubAck(1, codes) if codes == [self.qos] => {
                        if !std::mem::replace(&mut self.subscribed, true) {
                            self.world.lock().subscribed += 1;
                            self.world.event();
                        }
                    }
                    Incoming::Publish(message) => {
                        self.take(&message, &mut wire, life)?;
                        left -= 1;
                        if left == 0 && !self.world.finishing() {
                            return Ok(false);
                        }
                        left = left.max(1);
                    }
                    Incoming::PubRel(id, _) => {
                        self.unreleased.remove(&id);
                        wire.put(&packets::acknowledgement(0x70, id));
                    }
                    Incoming::PingResp if pinged => {
                        wire.put(&[0xe0, 0]);
                        wire.flush()?;
                        return Ok(true);
                    }
                    other => return Err(Lost::Wrong(format!("a subscriber got {other:?}"))),
                }
                next = wire.here();
            }
            if self.ended.len() == 2 * PUBLISHERS && self.unreleased.is_empty() && !pinged {
                // Its answer tells that the acknowledgements before it were read.
                pinged = true;
                wire.put(&[0xc0, 0]);
            }
        }
    }

    fn take(&mut self, message: &Message, wire: &mut Wire, life: u32) -> Result<(), Lost> {
        let (key, last) = key(message)?;
        if message.qos != self.qos.min(key.1) {
            return Err(Lost::Wrong(format!("{key:?} came at QoS {} instead of {}", message.qos, self.qos.min(key.1))));
        }
        let answer = if message.qos == 2 { 0x50 } else { 0x40 };
        wire.put(&packets::acknowledgement(answer, message.id));
        if message.qos == 2
            && let Some(known) = self.unreleased.get(&message.id)
        {
            if *known != key || !message.dup {
                return Err(Lost::Wrong(format!(
                    "identifier {} named {known:?}, was not released, and now names {key:?} (DUP: {})",
                    message.id, message.dup
                )));
            }
            self.repeated += 1;
            return Ok(());
        }
        if message.qos == 2 {
            self.unreleased.insert(message.id, key);
        }
        self.deliveries.push(Delivery { key, dup: message.dup, moment: self.world.moment(life) });
        if last {
            self.ended.insert((key.0, key.1));
        }
        if self.seen.insert(key) {
            self.world.received(self.number);
        }
        Ok(())
    }
}

/// What the payload says, and whether it is the publisher's last of its quality.
fn key(message: &Message) -> Result<(Key, bool), Lost> {
    let text = std::str::from_utf8(&message.payload).unwrap_or_default();
    let mut parts = text.split('/');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    match (number(), number(), number()) {
        (Some(publisher), Some(qos), Some(sequence)) => {
            let last = parts.next() == Some("last");
            Ok(((publisher as usize, qos as u8, sequence), last))
        }
        _ => Err(Lost::Wrong(format!("a message of nobody came: {message:?}"))),
    }
}
