//! Sessions that are made while the gateway is being killed: each subscribes, has a message published to itself, and
//! leaves. What was acknowledged to it must be there in the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use mqttbytes::v5::SubscribeFilter;
use portcullis_tests::packets::{self, Incoming, Message, Version};

use crate::wire::{Lost, Name, Wire};
use crate::world::{Over, World, client};

/// A session whose SUBACK came.
pub(crate) struct Settled {
    pub(crate) name: Name,
    /// Whether the PUBACK of its message came as well.
    pub(crate) published: bool,
}

pub(crate) fn topic(name: &Name) -> String {
    format!("home/{}", name.client_id)
}

/// Makes sessions until no more messages are wanted.
pub(crate) fn start(world: &Arc<World>) -> JoinHandle<Result<Vec<Settled>, Over>> {
    let world = Arc::clone(world);
    client(&Arc::clone(&world), move || {
        let mut settled = Vec::new();
        for number in 0u32.. {
            if world.finishing() {
                break;
            }
            let version = if number % 2 == 0 { Version::V5 } else { Version::V311 };
            let name = Name { version, client_id: format!("settler-{number}"), window: None, clean: false };
            let (life, address) = world.gateway()?;
            let (mut subscribed, mut published) = (false, false);
            let outcome = settle(address, &name, &mut subscribed, &mut published);
            if subscribed {
                settled.push(Settled { name, published });
            }
            match outcome {
                Ok(()) => world.event(),
                Err(Lost::Broken(why)) => world.died(life, &format!("settler-{number}"), &why)?,
                Err(Lost::Wrong(why)) => return Err(world.fail(format!("settler-{number}: {why}"))),
            }
            // A few dozen in each life are enough.
            world.stay_away(40)?;
        }
        Ok(settled)
    })
}

fn settle(address: SocketAddr, name: &Name, subscribed: &mut bool, published: &mut bool) -> Result<(), Lost> {
    let (mut wire, _) = Wire::open(address, name)?;
    let filter = SubscribeFilter::new(topic(name), mqttbytes::QoS::ExactlyOnce);
    wire.put(&packets::subscribe(name.version, 1, None, &[filter]));
    wire.flush()?;
    match wire.next()? {
        Incoming::SubAck(1, codes) if codes == [2] => *subscribed = true,
        other => return Err(Lost::Wrong(format!("{other:?} instead of SUBACK"))),
    }
    let mut message = Message::new(topic(name), "hello").qos(1);
    message.id = 2;
    wire.put(&packets::publish(name.version, &message));
    wire.flush()?;
    // Its own message may come first. It is not acknowledged: it has to come again.
    loop {
        match wire.next()? {
            Incoming::PubAck(2, code) if code < 0x80 => {
                *published = true;
                return Ok(());
            }
            Incoming::Publish(_) => {}
            other => return Err(Lost::Wrong(format!("{other:?} instead of PUBACK"))),
        }
    }
}
