//! Acknowledgements from the client, and the release of what it published at QoS 2.

use portcullis_mqtt::{Error, Frame, PacketId, ReasonCode, frame};
use portcullis_router::AckError;

use super::Fault;
use super::open::Open;
use super::reply::{PUBCOMP, acknowledge, release, release_unknown};
use crate::scratch::Scratch;

impl Open {
    /// Consecutive PUBACKs in their short form, under one lock. Returns where they end.
    pub(super) fn puback_run(
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
                Ok(Some(next)) if next.first == 0x40 && next.end - next.body == 2 => f = next,
                _ => break,
            }
        }
        // What is not in flight (any more) is no fault: an acknowledgement may cross a resend.
        let _: Result<(), AckError> = self.mailbox.puback_run(&s.ids, &mut s.batch);
        Ok(at)
    }

    pub(super) fn puback(&mut self, id: PacketId, s: &mut Scratch) {
        let _: Result<(), AckError> = self.mailbox.puback(id.get(), &mut s.batch);
    }

    pub(super) fn pubrec(&mut self, id: PacketId, reason: ReasonCode, s: &mut Scratch) {
        let done = if reason.is_error() {
            self.mailbox.pubrec_refused(id.get(), &mut s.batch)
        } else {
            self.mailbox.pubrec(id.get(), &mut s.batch)
        };
        if reason.is_error() {
            return;
        }
        match done {
            Ok(()) => release(&mut s.replies, id.get()),
            Err(_) => release_unknown(&mut s.replies, id.get(), self.version),
        }
    }

    pub(super) fn pubrel(&mut self, id: PacketId, s: &mut Scratch) {
        let known = self.state.unreleased.remove(&id.get());
        if known && self.is_stored() {
            s.journal.delete_unreleased(self.number, id.get());
        }
        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        acknowledge(&mut s.replies, PUBCOMP, id.get(), self.version, reason);
    }

    pub(super) fn pubcomp(&mut self, id: PacketId, s: &mut Scratch) {
        let _: Result<(), AckError> = self.mailbox.pubcomp(id.get(), &mut s.batch);
    }
}
