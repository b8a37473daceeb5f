//! Acknowledgements from the client, and the release of what it published at QoS 2.

use portcullis_mqtt::{Error, Frame, PacketId, ReasonCode, frame};
use portcullis_router::AckError;

use super::Fault;
use super::open::Open;
use super::reply::{PUBCOMP, acknowledge, release, release_unknown};
use crate::scratch::Scratch;

impl Open {
    /// Consecutive acknowledgements of one kind in their short form, under one lock: a read of a busy client has many. Returns
    /// where they end.
    pub(super) fn acknowledgements(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        first: Frame,
        s: &mut Scratch,
    ) -> Result<usize, Fault> {
        s.ids.clear();
        let mut f = first;
        while let Some(&[high, low]) = bytes.get(f.body..f.end) {
            let id = u16::from_be_bytes([high, low]);
            if id == 0 {
                return Err(Error::ZeroPacketId.into());
            }
            s.ids.push(id);
            at = f.end;
            match frame(bytes, at, self.max_packet) {
                Ok(Some(next)) if next.first == first.first && next.end - next.body == 2 => f = next,
                _ => break,
            }
        }
        let Scratch { ids, replies, batch, .. } = s;
        match first.first {
            // What is not in flight (any more) is no fault: an acknowledgement may cross a resend.
            0x40 => drop::<Result<(), AckError>>(self.mailbox.puback_run(ids, batch)),
            0x50 => {
                let version = self.version;
                self.mailbox.pubrec_run(ids, batch, |id, done| match done {
                    Ok(()) => release(replies, id),
                    Err(_) => release_unknown(replies, id, version),
                });
            }
            0x62 => {
                for i in 0..s.ids.len() {
                    let Some(&id) = s.ids.get(i) else { break };
                    self.released(id, s);
                }
            }
            _ => drop::<Result<(), AckError>>(self.mailbox.pubcomp_run(ids, batch)),
        }
        Ok(at)
    }

    pub(super) fn puback(&mut self, id: PacketId, s: &mut Scratch) {
        let _: Result<(), AckError> = self.mailbox.puback(id.get(), &mut s.batch);
    }

    pub(super) fn pubrec(&mut self, id: PacketId, reason: ReasonCode, s: &mut Scratch) {
        if reason.is_error() {
            let _: Result<(), AckError> = self.mailbox.pubrec_refused(id.get(), &mut s.batch);
            return;
        }
        let (version, replies) = (self.version, &mut s.replies);
        self.mailbox.pubrec_run(&[id.get()], &mut s.batch, |id, done| match done {
            Ok(()) => release(replies, id),
            Err(_) => release_unknown(replies, id, version),
        });
    }

    pub(super) fn pubrel(&mut self, id: PacketId, s: &mut Scratch) {
        self.released(id.get(), s);
    }

    fn released(&mut self, id: u16, s: &mut Scratch) {
        let known = self.state.unreleased.remove(id);
        if known && self.is_stored() {
            s.journal.delete_unreleased(self.number, id);
        }
        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        acknowledge(&mut s.replies, PUBCOMP, id, self.version, reason);
    }

    pub(super) fn pubcomp(&mut self, id: PacketId, s: &mut Scratch) {
        let _: Result<(), AckError> = self.mailbox.pubcomp_run(&[id.get()], &mut s.batch);
    }
}
