//! What a client that comes after a restart finds.

use std::collections::HashMap;
use std::net::SocketAddr;

use mqttbytes::v5::SubscribeFilter;
use portcullis_tests::packets::{self, Incoming, Version};

use crate::settler::{Settled, topic};
use crate::wire::{Lost, Name, Wire};
use crate::world::World;

/// Retained messages are there, each with the last value that was acknowledged or a later one that was sent.
pub(crate) fn retained(world: &World, address: SocketAddr) {
    let found =
        read_retained(address).unwrap_or_else(|lost| world.give_up(&format!("reading what is retained: {lost:?}")));
    let kept = world.lock().kept.clone();
    for (topic, kept) in &kept {
        let value = found.get(topic).copied();
        let least = kept.acknowledged;
        if value < least || value.is_some_and(|value| value > kept.sent) {
            world.give_up(&format!(
                "after a restart the retained message of {topic} is {value:?}; acknowledged was {least:?}, sent {}",
                kept.sent
            ));
        }
    }
    for topic in found.keys() {
        if !kept.contains_key(topic) {
            world.give_up(&format!("{topic} has a retained message that nobody sent"));
        }
    }
}

fn read_retained(address: SocketAddr) -> Result<HashMap<String, u64>, Lost> {
    let name = Name { version: Version::V5, client_id: "probe".to_owned(), window: None, clean: true };
    let (mut wire, _) = Wire::open(address, &name)?;
    wire.put(&packets::subscribe(
        name.version,
        1,
        None,
        &[SubscribeFilter::new("kept/#".into(), mqttbytes::QoS::AtMostOnce)],
    ));
    wire.put(&[0xc0, 0]);
    wire.flush()?;
    let mut found = HashMap::new();
    loop {
        match wire.next()? {
            Incoming::Publish(message) => {
                let value = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
                let value = value.ok_or_else(|| Lost::Wrong(format!("not a number: {message:?}")))?;
                // A live one counts as well: it is the newer.
                found.insert(message.topic, value);
            }
            Incoming::SubAck(..) => {}
            Incoming::PingResp => return Ok(found),
            other => return Err(Lost::Wrong(format!("{other:?}"))),
        }
    }
}

/// The session is there, and no message waits in it.
pub(crate) fn nothing_left(world: &World, address: SocketAddr, version: Version, client_id: &str) {
    let name = Name { version, client_id: client_id.to_owned(), window: None, clean: false };
    let look = || -> Result<(), Lost> {
        let (mut wire, present) = Wire::open(address, &name)?;
        if !present {
            return Err(Lost::Wrong("the session is gone".to_owned()));
        }
        wire.put(&[0xc0, 0]);
        wire.flush()?;
        match wire.next()? {
            Incoming::PingResp => Ok(()),
            other => Err(Lost::Wrong(format!("everything had been acknowledged, and there comes {other:?}"))),
        }
    };
    if let Err(lost) = look() {
        world.give_up(&format!("{client_id} after the last restart: {lost:?}"));
    }
}

/// Sessions whose SUBACK came are there, with the messages whose PUBACK came.
pub(crate) fn settled(world: &World, address: SocketAddr, all: &[Settled]) {
    for one in all {
        let who = &one.name.client_id;
        let look = || -> Result<(), Lost> {
            let (mut wire, present) = Wire::open(address, &one.name)?;
            if !present {
                return Err(Lost::Wrong("SUBACK had come, and the session is gone".to_owned()));
            }
            wire.put(&[0xc0, 0]);
            wire.flush()?;
            let mut came = false;
            loop {
                match wire.next()? {
                    Incoming::Publish(message) if message.topic == topic(&one.name) => came = true,
                    Incoming::PingResp if came || !one.published => return Ok(()),
                    Incoming::PingResp => {
                        return Err(Lost::Wrong("its message was acknowledged and is gone".to_owned()));
                    }
                    other => return Err(Lost::Wrong(format!("{other:?}"))),
                }
            }
        };
        if let Err(lost) = look() {
            world.give_up(&format!("{who} after the last restart: {lost:?}"));
        }
    }
}
