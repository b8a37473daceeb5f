//! Events, as octets say them, played to the gateway and to the model.

use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

use portcullis_grant::{Actions, Outcome, Renewal};
use portcullis_mqtt::{
    Connect, ConnectProperties, Disconnect, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, Will, WillProperties,
    decode, frame,
};

use super::client::{Owed, Published, WillModel, connection};
use super::topics::{Role, SHORT, TOPICS};
use super::world::{LONGEST_EXPIRY, World};
use crate::desk::{compile, everything};

pub(crate) const ROOM: usize = 1 << 30;
/// Seconds that a restart takes: more than the delays of wills, and unlike any expiry that passes by the second.
const DOWN: u64 = 10;
pub(crate) const NAMES: [&str; 4] = ["c0", "c1", "c2", "c3"];
/// A connection that sends anything at all has this identity and may only use topics of its own.
pub(crate) const STRANGER: &str = "stranger";

/// Decisions, taken from octets; zeros when there are none left.
pub(crate) struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    pub(crate) fn below(&mut self, n: u8) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                first % n
            }
            None => 0,
        }
    }

    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.below(list.len() as u8))]
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    pub(crate) fn qos(&mut self) -> QoS {
        self.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }
}

/// Plays the events that `octets` say, ends everything, and looks at what is left.
pub(crate) fn play(octets: &[u8]) {
    play_on(false, octets);
}

/// As [`play`], with sessions in a store, and a gateway that is restarted now and then.
pub(crate) fn play_stored(octets: &[u8]) {
    play_on(true, octets);
}

fn play_on(stored: bool, octets: &[u8]) {
    let mut world = World::new(stored);
    let strange = Rc::clone(&world.strange);
    world.desk.on_login = Box::new(move |login| {
        let username = login.credentials.username.as_deref().filter(|_| !strange.get()).unwrap_or_default();
        let id = &login.credentials.client_id;
        let role = match username {
            "full" => Role::Full,
            "limited" => Role::Limited,
            "short" => Role::Short,
            _ => {
                let mut draft = everything(STRANGER);
                draft.client_id = Some(STRANGER.to_owned());
                draft.rules.truncate(1);
                draft.rules[0].filter = format!("{STRANGER}/#");
                draft.rules[0].actions = Actions::PUBLISH | Actions::SUBSCRIBE | Actions::WILL;
                return Some(Outcome::allow(compile(draft)));
            }
        };
        Some(Outcome::allow(compile(role.draft(id))))
    });
    let mut dice = Dice(octets);
    while !dice.0.is_empty() {
        world.event(&mut dice);
        world.check();
    }
    world.finish();
}

pub(crate) fn id(n: u16) -> PacketId {
    PacketId::new(n).expect("not zero")
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Full => "full",
        Role::Limited => "limited",
        Role::Short => "short",
    }
}

impl World {
    fn event(&mut self, dice: &mut Dice<'_>) {
        let client = usize::from(dice.below(4));
        let connected = self.clients[client].connection.is_some();
        match dice.below(20) {
            0 | 1 => self.connect(client, dice),
            2..=4 if connected => self.on_subscribe(client, dice),
            5 if connected => self.on_unsubscribe(client, dice),
            6..=9 if connected => self.on_publish(client, dice),
            10..=12 if connected => self.on_acknowledge(client, dice),
            13 if connected => self.on_wrong_acknowledgement(client, dice),
            14 if connected => self.on_release(client, dice),
            15 if connected && dice.coin() => self.on_disconnect(client, dice),
            15 if connected => self.on_loss(client),
            16 if connected => self.on_room(client, dice),
            17 if self.stored && dice.coin() => self.on_restart(),
            17 => self.on_time(dice),
            18 if connected => self.on_renewal(client, dice),
            19 if connected && dice.coin() => {
                self.send(client, &Packet::PingReq);
                self.owe(client, Owed::Pong);
            }
            19 => self.on_stranger(dice),
            _ if !connected => self.connect(client, dice),
            _ => {}
        }
    }

    /// Gives the packet to the gateway.
    pub(crate) fn send(&mut self, client: usize, packet: &Packet<'_>) {
        self.send_all(client, std::slice::from_ref(packet));
    }

    pub(crate) fn send_all(&mut self, client: usize, packets: &[Packet<'_>]) {
        self.tell(|| format!("client {client}: {packets:?}"));
        let now = self.now;
        let Some(c) = self.connection(client) else { return };
        c.heard = now;
        let (line, version) = (c.line, c.version);
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(version, &mut bytes).expect("it can be written");
        }
        self.desk.feed(line, &bytes);
    }

    pub(crate) fn owe(&mut self, client: usize, owed: Owed) {
        if let Some(c) = self.connection(client) {
            c.owed.push_back(owed);
        }
    }

    /// What everybody was sent, and who was disconnected.
    pub(crate) fn check(&mut self) {
        let mut ended: Vec<(usize, usize)> = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            let Some(c) = &client.connection else { continue };
            let end = self.desk.lines[c.line].end();
            assert_eq!(end.is_some(), c.doomed.is_some(), "client {at}: {end:?}, expected {:?}", c.doomed);
            ended.extend(end.map(|_| (c.line, at)));
        }
        // As the desk closes them: the will of one may still reach the next.
        ended.sort_unstable();
        for (_, client) in ended {
            self.hear(client);
            self.leave(client, true);
        }
        self.hear_all();
    }

    fn connect(&mut self, client: usize, dice: &mut Dice<'_>) {
        let version = dice.of(&[ProtocolVersion::V5, ProtocolVersion::V311, ProtocolVersion::V5, ProtocolVersion::V31]);
        let v5 = version == ProtocolVersion::V5;
        let clean = dice.coin();
        let asked = dice.of(&[Some(0), Some(7), Some(3001), Some(u32::MAX), None]);
        let expiry = match (v5, clean) {
            (true, _) => u64::from(asked.unwrap_or(0)),
            (false, true) => 0,
            (false, false) => LONGEST_EXPIRY,
        };
        let role = dice.of(&[Role::Full, Role::Full, Role::Limited, Role::Short]);
        let will = dice.coin().then(|| (dice.of(&TOPICS), dice.qos(), dice.coin(), dice.of(&[0, 3, 9])));
        let keep_alive = dice.of(&[0, 0, 5]);
        let receive_maximum = dice.of(&[None, Some(1), Some(2), Some(5)]).filter(|_| v5);
        let small = dice.below(4) == 3 && v5;
        self.connect_as(
            client,
            &Plan {
                version,
                clean,
                asked: asked.filter(|_| v5),
                expiry: expiry.min(LONGEST_EXPIRY),
                role,
                will,
                keep_alive,
                receive_maximum,
                small,
                room: if dice.below(4) == 3 { 40 } else { ROOM },
            },
        );
    }

    pub(crate) fn connect_as(&mut self, client: usize, plan: &Plan) {
        let v5 = plan.version == ProtocolVersion::V5;
        self.tell(|| format!("client {client}: {plan:?}"));
        let line = self.desk.accept(plan.room.max(64));
        let topic_alias_maximum = if v5 { plan.receive_maximum.map_or(2, |most| most - 1) } else { 0 };
        let mut will_model = None;
        let payload;
        let mut will = None;
        if let Some((topic, qos, retain, delay)) = plan.will {
            let delay = if v5 { delay } else { 0 };
            let number =
                self.number(Published { topic, publisher: None, qos, described: false, big: false, expires: None });
            will_model = Some(WillModel { number, topic, qos, retain, delay });
            payload = number.to_be_bytes();
            let properties = WillProperties { delay: delay as u32, ..WillProperties::default() };
            will = Some(Will { topic, payload: &payload, qos, retain, properties });
        }
        let connect = Connect {
            version: plan.version,
            clean_start: plan.clean,
            keep_alive: plan.keep_alive,
            client_id: NAMES[client],
            username: Some(name(plan.role)),
            password: None,
            will,
            properties: ConnectProperties {
                session_expiry: plan.asked,
                receive_maximum: plan.receive_maximum.and_then(NonZeroU16::new),
                maximum_packet_size: if plan.small { NonZeroU32::new(100) } else { None },
                topic_alias_maximum,
                ..ConnectProperties::default()
            },
        };
        let mut bytes = Vec::new();
        Packet::Connect(connect).encode(plan.version, &mut bytes).expect("it can be written");
        // With a packet right behind it, as impatient clients do.
        bytes.extend_from_slice(&[0xC0, 0]);
        self.desk.feed(line, &bytes);
        if will_model.as_ref().is_some_and(|w| !plan.role.may_publish(w.topic, w.qos)) {
            assert!(self.desk.lines[line].end().is_some(), "a will that is not permitted");
            return;
        }
        // The old connection is ended for it, with its will.
        if let Some(c) = self.connection(client) {
            c.doomed = Some("taken over");
        }
        // What the old one was still sent; then it is gone.
        self.hear(client);
        if let Some(c) = &self.clients[client].connection {
            assert!(self.desk.lines[c.line].end().is_some(), "the old connection of client {client} stays");
            self.leave(client, true);
        }
        let present = self.open(client, plan.clean);
        let mut c = connection(line, plan.version, plan.role, self.now);
        c.topic_alias_maximum = topic_alias_maximum;
        c.receive_maximum = plan.receive_maximum.map_or(c.receive_maximum, usize::from);
        c.max_packet = if plan.small { 100 } else { usize::MAX };
        // One and a half times, rounded up to whole seconds.
        c.silence = (plan.keep_alive > 0).then(|| (u64::from(plan.keep_alive) * 3).div_ceil(2));
        c.grant_ends = (plan.role == Role::Short).then_some(self.now + SHORT);
        c.expiry = plan.expiry;
        c.asked_zero = v5 && plan.asked.unwrap_or(0) == 0;
        c.will = will_model;
        c.prompt = plan.room == ROOM;
        // CONNACK comes first and whole: a socket has that much room.
        let got = self.desk.take_output(line);
        let f = frame(&got, 0, u32::MAX).expect("well formed").expect("a CONNACK");
        match decode(plan.version, f.first, &got[f.body..f.end]).expect("well formed") {
            Packet::ConnAck(ack) => {
                assert_eq!(ack.code, 0);
                assert_eq!(ack.session_present, present && plan.version != ProtocolVersion::V31);
                if v5 {
                    let said = ack.properties.session_expiry.or(plan.asked).unwrap_or(0);
                    assert_eq!(u64::from(said), plan.expiry, "session expiry in force");
                }
            }
            other => panic!("{other:?} instead of CONNACK"),
        }
        c.bytes = got[f.end..].to_vec();
        c.owed.push_back(Owed::Pong);
        self.clients[client].connection = Some(c);
        let session = self.clients[client].session.as_mut().expect("it was opened");
        session.small |= plan.small;
        if plan.small {
            self.excuse_large(client);
        }
        self.regrant(client, plan.role);
        if plan.room < ROOM {
            self.desk.room(line, plan.room - 40);
        }
    }

    fn on_disconnect(&mut self, client: usize, dice: &mut Dice<'_>) {
        let Some(c) = self.connection(client) else { return };
        let v5 = c.version == ProtocolVersion::V5;
        let with_will = v5 && dice.below(3) == 2;
        let expiry = dice.of(&[None, None, Some(0), Some(7), Some(u32::MAX)]).filter(|_| v5);
        let mut will = with_will;
        match expiry {
            Some(asked) if asked > 0 && c.asked_zero => will = true,
            Some(asked) => c.expiry = u64::from(asked).min(LONGEST_EXPIRY),
            None => {}
        }
        c.doomed = Some("DISCONNECT");
        let reason = if with_will { ReasonCode::DISCONNECT_WITH_WILL } else { ReasonCode::SUCCESS };
        let packet = Disconnect { reason, session_expiry: expiry, ..Disconnect::default() };
        self.send(client, &Packet::Disconnect(packet));
        self.end(client, will);
    }

    fn on_loss(&mut self, client: usize) {
        self.tell(|| format!("client {client}: lost"));
        let Some(c) = self.connection(client) else { return };
        c.doomed = Some("lost");
        let line = c.line;
        self.desk.lose(line);
        self.end(client, true);
    }

    fn end(&mut self, client: usize, will: bool) {
        self.hear(client);
        let Some(c) = &self.clients[client].connection else { return };
        assert!(self.desk.lines[c.line].end().is_some(), "client {client} was to be let go");
        self.leave(client, will);
    }

    fn on_room(&mut self, client: usize, dice: &mut Dice<'_>) {
        let room = dice.of(&[0, 10, 50, 300, ROOM]);
        self.tell(|| format!("client {client}: room for {room}"));
        let Some(c) = self.connection(client) else { return };
        c.prompt = false;
        let line = c.line;
        self.desk.room(line, room);
    }

    fn on_time(&mut self, dice: &mut Dice<'_>) {
        let seconds = dice.of(&[4, 10, 4000]);
        self.tell(|| format!("{seconds} seconds pass"));
        self.pass(seconds);
        self.desk.pass(seconds);
    }

    fn on_restart(&mut self) {
        if self.restart(DOWN).is_none() {
            return;
        }
        self.tell(|| "the gateway is restarted".to_owned());
        self.desk.restart(DOWN);
        // What is due now happens.
        self.desk.pass(0);
    }

    fn on_renewal(&mut self, client: usize, dice: &mut Dice<'_>) {
        let role = dice.of(&[Role::Full, Role::Limited, Role::Short]);
        self.tell(|| format!("client {client}: now {role:?}"));
        let line = self.connection(client).expect("it is connected").line;
        self.regrant(client, role);
        self.desk.renew(line, Renewal::Replace(compile(role.draft(NAMES[client]))));
    }

    /// Somebody who sends anything at all: before CONNECT, or after it.
    fn on_stranger(&mut self, dice: &mut Dice<'_>) {
        self.strange.set(true);
        let line = self.desk.accept(ROOM);
        let version = dice.of(&[ProtocolVersion::V5, ProtocolVersion::V311]);
        if dice.coin() {
            let connect = Connect {
                version,
                clean_start: dice.coin(),
                keep_alive: 0,
                client_id: STRANGER,
                username: None,
                password: None,
                will: None,
                properties: ConnectProperties { session_expiry: Some(3001), ..ConnectProperties::default() },
            };
            let mut bytes = Vec::new();
            Packet::Connect(connect).encode(version, &mut bytes).expect("it can be written");
            self.desk.feed(line, &bytes);
        }
        let n = usize::from(dice.below(60)).min(dice.0.len());
        let (garbage, rest) = dice.0.split_at(n);
        let cut = garbage.len() / 2;
        self.desk.feed(line, &garbage[..cut]);
        self.desk.feed(line, &garbage[cut..]);
        dice.0 = rest;
        if dice.coin() {
            self.desk.lose(line);
        }
        self.strange.set(false);
    }
}

/// A CONNECT.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) version: ProtocolVersion,
    pub(crate) clean: bool,
    pub(crate) asked: Option<u32>,
    pub(crate) expiry: u64,
    pub(crate) role: Role,
    pub(crate) will: Option<(&'static str, QoS, bool, u64)>,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) small: bool,
    pub(crate) room: usize,
}
