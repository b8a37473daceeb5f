//! The end of each play: what has to arrive arrives, everybody leaves, and nothing is left.

use std::sync::Arc;

use portcullis_mqtt::{Connect, ConnectProperties, Disconnect, Packet, ProtocolVersion, QoS};

use super::events::{NAMES, Plan, ROOM, STRANGER};
use super::topics::{Role, TOPICS};
use super::world::World;

impl World {
    /// Everything arrives that has to; then everybody leaves, and nothing is left.
    pub(crate) fn finish(&mut self) {
        self.tell(|| "the end".to_owned());
        for client in 0..self.clients.len() {
            if self.clients[client].session.is_none() {
                continue;
            }
            if self.clients[client].connection.is_none() {
                let role = self.clients[client].session.as_ref().and_then(|s| s.role).unwrap_or(Role::Full);
                self.connect_as(
                    client,
                    &Plan {
                        version: ProtocolVersion::V5,
                        clean: false,
                        asked: Some(3001),
                        expiry: 3001,
                        role,
                        will: None,
                        keep_alive: 0,
                        receive_maximum: None,
                        small: false,
                        room: ROOM,
                    },
                );
            } else if let Some(line) = self.connection(client).map(|c| c.line) {
                self.desk.room(line, ROOM);
            }
            self.check();
        }
        let mut busy = true;
        while busy {
            busy = false;
            for client in 0..self.clients.len() {
                self.hear(client);
                while let Some(todo) =
                    self.connection(client).and_then(|c| (!c.todo.is_empty()).then(|| c.todo.remove(0)))
                {
                    busy = true;
                    self.acknowledge(client, todo, false);
                    self.hear(client);
                }
            }
            self.check();
        }
        for (at, client) in self.clients.iter().enumerate() {
            if let Some(session) = &client.session {
                assert!(session.missing().is_none(), "client {at} never got {:?}", session.missing());
                assert!(session.held.values().all(|h| h.excused), "client {at} still has {:?} in flight", session.held);
            }
            if let Some(c) = &client.connection {
                assert!(c.owed.is_empty(), "client {at} is still owed {:?}", c.owed);
                let backlog = self.desk.lines[c.line].machine.mailbox().map(|m| m.backlog());
                assert_eq!(backlog, Some(portcullis_router::Backlog::default()), "backlog of client {at}");
            }
        }
        for (number, groups) in &self.groups {
            assert!(groups.complete(), "a group left {number} out: {:?}, {:?}", groups.groups, groups.received);
        }
        assert_eq!(self.desk.broker.retained().0 - self.own, self.retained.len(), "{:?}", self.retained);
        self.end_everything();
    }

    fn end_everything(&mut self) {
        for (client, name) in NAMES.iter().enumerate() {
            let Some(c) = self.connection(client) else { continue };
            let line = c.line;
            let packet = match c.version {
                ProtocolVersion::V5 if !c.asked_zero => Disconnect { session_expiry: Some(0), ..Disconnect::default() },
                _ => Disconnect::default(),
            };
            let over = c.expiry == 0 || packet.session_expiry.is_some();
            self.send(client, &Packet::Disconnect(packet));
            assert!(self.desk.lines[line].end().is_some());
            self.clients[client].connection = None;
            if !over {
                self.erase(name, "full");
            }
        }
        self.erase(STRANGER, "");
        self.desk.pass(10_000);
        assert_eq!((self.desk.broker.sessions(), self.desk.broker.subscriptions()), (0, 0), "sessions, subscriptions");
        assert_eq!(self.desk.broker.remainders(), (0, 0), "appointments and counted identities");
        assert_eq!(self.desk.broker.totals().connections, 0);
        for topic in TOPICS {
            let nothing = portcullis_router::Message::new(topic, &[], &[], QoS::AtMostOnce, true, None, 0);
            self.desk.broker.publish(&Arc::new(nothing), &mut self.desk.scratch);
        }
        assert_eq!(self.desk.broker.retained().0, self.own);
    }

    /// Connects with a clean session, and leaves.
    fn erase(&mut self, client_id: &str, username: &str) {
        let line = self.desk.accept(ROOM);
        let connect = Connect {
            version: ProtocolVersion::V311,
            clean_start: true,
            keep_alive: 0,
            client_id,
            username: Some(username),
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        };
        let mut bytes = Vec::new();
        Packet::Connect(connect).encode(ProtocolVersion::V311, &mut bytes).expect("it can be written");
        Packet::Disconnect(Disconnect::default()).encode(ProtocolVersion::V311, &mut bytes).expect("it can be written");
        self.desk.feed(line, &bytes);
        assert!(self.desk.lines[line].end().is_some_and(|e| e.by_client), "{:?}", self.desk.lines[line].doing);
    }
}
