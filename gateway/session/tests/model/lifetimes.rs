//! How connections and sessions end, and what is due as time passes: wills, expiry, a gateway that is gone for a while.

use portcullis_mqtt::QoS;

use super::client::WillModel;
use super::world::World;

impl World {
    /// The session is over.
    pub(crate) fn forget(&mut self, client: usize) {
        if let Some(session) = self.clients[client].session.take() {
            // It may have been the one that was chosen.
            self.groups.values_mut().for_each(|groups| groups.excuse(|g| g.contains_key(&client)));
            if let Some((will, _)) = session.will {
                self.publish_will(&will);
            }
        }
    }

    fn publish_will(&mut self, will: &WillModel) {
        self.publish(will.number, will.topic, will.qos, will.retain, None);
    }

    /// The connection ended. `will`: without a word.
    pub(crate) fn leave(&mut self, client: usize, will: bool) {
        let Some(connection) = self.clients[client].connection.take() else { return };
        let now = self.now;
        let Some(session) = &mut self.clients[client].session else { return };
        // What was not read yet at QoS 0 is gone.
        for list in session.expected.values_mut() {
            list.retain(|e| e.qos > QoS::AtMostOnce);
        }
        for groups in self.groups.values_mut() {
            groups.excuse(|g| g.get(&client).is_some_and(|e| e.qos == QoS::AtMostOnce));
        }
        let pending = connection.will.filter(|_| will);
        if connection.expiry == 0 {
            self.forget(client);
            if let Some(will) = pending {
                self.publish_will(&will);
            }
            return;
        }
        session.ends = Some(now + connection.expiry);
        match pending {
            Some(will) if will.delay > 0 => {
                let at = now + will.delay.min(connection.expiry);
                session.will = Some((will, at));
            }
            Some(will) => self.publish_will(&will),
            None => {}
        }
    }

    /// The gateway is gone for `seconds`, and every connection with it. None: it cannot be said what ought to come of that.
    ///
    /// What was due meanwhile happens when it is back, in any order: of several wills for one topic any may be the one that
    /// is retained.
    pub(crate) fn restart(&mut self, seconds: u64) -> Option<()> {
        let wills = self.clients.iter().flat_map(|client| {
            let absent = client.session.iter().filter_map(|s| s.will.as_ref().map(|(will, _)| will));
            client.connection.iter().filter_map(|c| c.will.as_ref()).chain(absent)
        });
        if wills.filter(|will| will.retain).count() > 1 {
            return None;
        }
        let back = self.now + seconds;
        for client in 0..self.clients.len() {
            let Some(connection) = self.clients[client].connection.take() else { continue };
            if connection.expiry == 0 && connection.will.is_none() {
                self.forget(client);
                continue;
            }
            let Some(session) = &mut self.clients[client].session else { continue };
            for list in session.expected.values_mut() {
                list.retain(|e| e.qos > QoS::AtMostOnce);
            }
            for groups in self.groups.values_mut() {
                groups.excuse(|g| g.get(&client).is_some_and(|e| e.qos == QoS::AtMostOnce));
            }
            // As far as anybody can tell it was lost when the gateway came back.
            session.ends = Some(back + connection.expiry);
            session.will = connection.will.map(|will| {
                let at = back + will.delay.min(connection.expiry);
                (will, at)
            });
        }
        self.now = back;
        // Until the client is back, nobody knows what its grant denies.
        for client in &mut self.clients {
            if let Some(session) = &mut client.session {
                session.role = None;
                session.held.values_mut().for_each(|held| held.waits = !held.received);
            }
        }
        for client in 0..self.clients.len() {
            if let Some(session) = &mut self.clients[client].session
                && let Some((will, _)) = session.will.take_if(|(_, at)| *at <= back)
            {
                self.publish_will(&will);
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client].session.as_ref().is_some_and(|s| s.ends.is_some_and(|ends| ends <= back)) {
                self.forget(client);
            }
        }
        self.pass(0);
        Some(())
    }

    /// The session that a CONNECT gets. True: it was there.
    pub(crate) fn open(&mut self, client: usize, clean: bool) -> bool {
        let present = self.clients[client].session.is_some() && !clean;
        if clean {
            self.forget(client);
        }
        let session = self.clients[client].session.get_or_insert_default();
        session.will = None;
        session.ends = None;
        present
    }

    /// Seconds pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        let mut due: Vec<(u64, usize, bool)> = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if let Some(session) = &client.session {
                due.extend(session.will.iter().filter(|w| w.1 <= now).map(|w| (w.1, at, false)));
                due.extend(session.ends.iter().filter(|ends| **ends <= now).map(|ends| (*ends, at, true)));
            }
        }
        due.sort_unstable();
        for (_, client, ends) in due {
            if ends {
                self.forget(client);
            } else if let Some((will, _)) = self.clients[client].session.as_mut().and_then(|s| s.will.take()) {
                self.publish_will(&will);
            }
        }
        for (number, message) in &self.messages {
            if message.expires.is_some_and(|at| at <= now) {
                for client in &mut self.clients {
                    let session = client.session.iter_mut();
                    session.flat_map(|s| s.expected.get_mut(number)).flatten().for_each(|e| e.must = false);
                }
                self.groups.entry(*number).or_default().excuse(|_| true);
            }
        }
        let messages = &self.messages;
        self.retained.retain(|_, number| messages[number].expires.is_none_or(|at| at > now));
        for client in &mut self.clients {
            let Some(c) = &mut client.connection else { continue };
            if c.grant_ends.is_some_and(|at| at <= now) {
                c.doomed = Some("its grant ended");
            } else if c.silence.is_some_and(|s| c.heard + s <= now) {
                c.doomed = Some("it was silent");
            }
        }
    }
}
