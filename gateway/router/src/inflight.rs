//! The sending half of QoS 1 and 2 towards one client: packet identifiers, the window, what is resent.

use std::collections::VecDeque;

use portcullis_mqtt::QoS;

use crate::mailbox::Queued;

/// Identifiers 1 to 65,535 are handed out in order; one stays free so that first and last can be told apart.
const IDENTIFIERS: u32 = 65_535;
const LONGEST: usize = IDENTIFIERS as usize - 1;

/// Where one identifier stands in its exchange (MQTT 5 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Acknowledged; here only until those before it are.
    Done,
    /// QoS 1 sent; PUBACK is awaited.
    AwaitPubAck,
    /// QoS 2 sent; PUBREC is awaited.
    AwaitPubRec,
    /// PUBREL sent; PUBCOMP is awaited.
    AwaitPubComp,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// The message, where the session outlives the connection and must be able to send it again.
    kept: Option<Box<Queued>>,
    /// To be sent again when the window of the new connection has room.
    held: bool,
}

impl Slot {
    fn new(stage: Stage, kept: Option<Box<Queued>>) -> Self {
        Self { stage, kept, held: false }
    }
}

/// An acknowledgement that belongs to nothing in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// No message with this identifier is in flight.
    NotFound,
    /// There is one, and it awaits another packet.
    WrongStage,
}

/// Messages in flight. Each has a sequence number of its session, and its identifier follows from that: after a restart
/// the same message goes out under the same identifier without anything having been written when it was sent. Sequence
/// numbers are consecutive (one that is never sent leaves a gap), so that an acknowledgement finds its slot by
/// subtraction, in whatever order a client sends them.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The sequence number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// Slots that are not [`Stage::Done`]: what counts against receive maximum (MQTT 5 §4.9).
    live: u32,
    /// Those of them that were not sent on this connection yet.
    held: u32,
    /// Octets of the messages that are kept.
    bytes: usize,
}

/// What became of a message that is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resent {
    Sent,
    /// As much waits for the client as may: this one and those after it have to.
    Later,
    /// It is larger than the client takes (MQTT 5 §3.1.2.11.4).
    Never,
}

/// What is to be sent again on a new connection, in the order of first sending (§4.4, §4.6).
pub(crate) enum Resend<'a> {
    Publish(u16, &'a Queued),
    PubRel(u16),
}

impl InFlight {
    /// Nothing in flight; the first message will be the one with the sequence number `first`.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, slots: VecDeque::new(), live: 0, held: 0, bytes: 0 }
    }

    /// How many more messages may be sent when the window is `window`.
    pub(crate) fn room(&self, window: u16) -> usize {
        let by_window = u32::from(window).saturating_sub(self.live) as usize;
        by_window.min(LONGEST.saturating_sub(self.slots.len()))
    }

    /// Whether the message with this sequence number has an identifier of its own now: a gap may reach too far.
    pub(crate) fn takes(&self, sequence: u64) -> bool {
        self.slots.is_empty() || sequence.saturating_sub(self.first) < LONGEST as u64
    }

    /// Octets of the messages that are kept to be sent again.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something waits to be sent again. Nothing newer may overtake it.
    pub(crate) fn is_behind(&self) -> bool {
        self.held > 0
    }

    /// Whether some of it may be sent when the window is `window`.
    pub(crate) fn may_send_held(&self, window: u16) -> bool {
        self.held > 0 && u32::from(window) > self.live - self.held
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// Puts a message in flight. Sequence numbers only grow; the caller has seen that there is [`Self::room`].
    pub(crate) fn send(&mut self, sequence: u64, qos: QoS, kept: Option<Box<Queued>>) -> u16 {
        let stage = if qos == QoS::ExactlyOnce { Stage::AwaitPubRec } else { Stage::AwaitPubAck };
        self.put(sequence, stage, kept);
        identifier(sequence)
    }

    /// Puts back what was released before a restart: PUBREL is to be sent again.
    pub(crate) fn restore_released(&mut self, sequence: u64) {
        self.put(sequence, Stage::AwaitPubComp, None);
    }

    fn put(&mut self, sequence: u64, stage: Stage, kept: Option<Box<Queued>>) {
        if self.slots.is_empty() {
            self.first = sequence;
        }
        while self.first + (self.slots.len() as u64) < sequence {
            self.slots.push_back(Slot::new(Stage::Done, None));
        }
        self.bytes += size(&kept);
        self.slots.push_back(Slot::new(stage, kept));
        self.live += 1;
    }

    /// Where the message with this identifier is.
    fn place(&self, id: u16) -> usize {
        ((u32::from(id) + IDENTIFIERS - u32::from(identifier(self.first))) % IDENTIFIERS) as usize
    }

    fn slot(&mut self, place: usize) -> Result<&mut Slot, AckError> {
        match self.slots.get_mut(place) {
            Some(slot) if slot.stage != Stage::Done => Ok(slot),
            _ => Err(AckError::NotFound),
        }
    }

    /// Ends an exchange. Returns the message's sequence number.
    fn finish(&mut self, id: u16, awaited: Stage) -> Result<u64, AckError> {
        let place = self.place(id);
        let slot = self.slot(place)?;
        if slot.stage != awaited {
            return Err(AckError::WrongStage);
        }
        self.end(place);
        let sequence = self.first + place as u64;
        self.trim();
        Ok(sequence)
    }

    /// Takes a slot that is live out of the count.
    fn end(&mut self, place: usize) {
        if let Some(slot) = self.slots.get_mut(place) {
            self.held -= u32::from(slot.held);
            self.bytes -= size(&slot.kept);
            self.live -= 1;
            *slot = Slot::new(Stage::Done, None);
        }
    }

    fn trim(&mut self) {
        while self.slots.front().is_some_and(|s| s.stage == Stage::Done) {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    pub(crate) fn puback(&mut self, id: u16) -> Result<u64, AckError> {
        self.finish(id, Stage::AwaitPubAck)
    }

    /// PUBREC that accepts: PUBREL is to be sent. The sequence number, where the message was not released before.
    pub(crate) fn pubrec(&mut self, id: u16) -> Result<Option<u64>, AckError> {
        let place = self.place(id);
        let slot = self.slot(place)?;
        match slot.stage {
            Stage::AwaitPubRec => {
                let old = std::mem::replace(slot, Slot::new(Stage::AwaitPubComp, None));
                self.held -= u32::from(old.held);
                self.bytes -= size(&old.kept);
                Ok(Some(self.first + place as u64))
            }
            // A client that resends PUBREC is answered with PUBREL again.
            Stage::AwaitPubComp => Ok(None),
            Stage::AwaitPubAck | Stage::Done => Err(AckError::WrongStage),
        }
    }

    /// PUBREC that refuses (MQTT 5, reason 0x80 or more): the exchange is over.
    pub(crate) fn pubrec_refused(&mut self, id: u16) -> Result<u64, AckError> {
        self.finish(id, Stage::AwaitPubRec)
    }

    pub(crate) fn pubcomp(&mut self, id: u16) -> Result<u64, AckError> {
        self.finish(id, Stage::AwaitPubComp)
    }

    /// A new connection with this window: gives to `write`, in the order of first sending, what is to be sent again, as
    /// much as the window (MQTT 5 §4.9) and `write` take; the rest is held back for [`Self::send_held`]. A message that
    /// `write` finds too large for the client is done with. Returns the sequence numbers of those.
    pub(crate) fn send_again(&mut self, window: u16, mut write: impl FnMut(Resend<'_>) -> Resent) -> Vec<u64> {
        let released = self.slots.iter().filter(|s| s.stage == Stage::AwaitPubComp).count() as u32;
        let mut room = u32::from(window).saturating_sub(released);
        let mut dropped = Vec::new();
        self.held = 0;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let sequence = self.first + place as u64;
            slot.held = false;
            match (slot.stage, &slot.kept) {
                (Stage::AwaitPubComp, _) => {
                    write(Resend::PubRel(identifier(sequence)));
                }
                (Stage::AwaitPubAck | Stage::AwaitPubRec, Some(_)) if room == 0 => {
                    slot.held = true;
                    self.held += 1;
                }
                (Stage::AwaitPubAck | Stage::AwaitPubRec, Some(kept)) => {
                    match write(Resend::Publish(identifier(sequence), kept)) {
                        Resent::Sent => room -= 1,
                        Resent::Never => dropped.push(sequence),
                        Resent::Later => {
                            room = 0;
                            slot.held = true;
                            self.held += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        self.drop_all(&dropped);
        dropped
    }

    /// Gives to `write` what was held back, as far as the window has room now. As [`Self::send_again`].
    pub(crate) fn send_held(&mut self, window: u16, mut write: impl FnMut(Resend<'_>) -> Resent) -> Vec<u64> {
        let mut room = u32::from(window).saturating_sub(self.live - self.held);
        let mut dropped = Vec::new();
        if self.held == 0 || room == 0 {
            return dropped;
        }
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if self.held == 0 || room == 0 {
                break;
            }
            let (true, Some(kept)) = (slot.held, &slot.kept) else { continue };
            let sequence = self.first + place as u64;
            match write(Resend::Publish(identifier(sequence), kept)) {
                Resent::Sent => room -= 1,
                Resent::Never => dropped.push(sequence),
                Resent::Later => break,
            }
            slot.held = false;
            self.held -= 1;
        }
        self.drop_all(&dropped);
        dropped
    }

    fn drop_all(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            self.end((sequence - self.first) as usize);
        }
        self.trim();
    }
}

fn size(kept: &Option<Box<Queued>>) -> usize {
    kept.as_ref().map_or(0, |k| k.message.size())
}

/// The packet identifier of a message: never 0, and the same for the same sequence number.
fn identifier(sequence: u64) -> u16 {
    (sequence.wrapping_sub(1) % u64::from(IDENTIFIERS)) as u16 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(f: &mut InFlight, sequence: &mut u64, qos: QoS) -> u16 {
        *sequence += 1;
        f.send(*sequence, qos, None)
    }

    #[test]
    fn acknowledgements_in_any_order_free_their_identifiers() {
        let (mut f, mut n) = (InFlight::starting_at(1), 0);
        let ids: Vec<u16> = (0..5).map(|_| send(&mut f, &mut n, QoS::AtLeastOnce)).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        for id in [3, 1, 5, 2] {
            assert_eq!(f.puback(id), Ok(u64::from(id)));
        }
        assert_eq!(f.live(), 1);
        assert_eq!(f.puback(3), Err(AckError::NotFound));
        f.puback(4).unwrap();
        assert_eq!((f.live(), f.slots.len(), f.first), (0, 0, 6));
    }

    #[test]
    fn identifiers_wrap_and_never_use_zero_or_one_in_flight() {
        let (mut f, mut n) = (InFlight::starting_at(1), 0);
        let held = send(&mut f, &mut n, QoS::AtLeastOnce);
        let mut seen = 0u32;
        while f.room(u16::MAX) > 0 {
            let id = send(&mut f, &mut n, QoS::AtLeastOnce);
            assert!(id != 0 && id != held);
            f.puback(id).unwrap();
            seen += 1;
        }
        // One message that is never acknowledged stops the stream before its identifier comes round again.
        assert_eq!(seen, 65_533);
        f.puback(held).unwrap();
        assert!(f.room(u16::MAX) > 60_000);
        assert_eq!(send(&mut f, &mut n, QoS::AtLeastOnce), 65_535);
        assert_eq!(send(&mut f, &mut n, QoS::AtLeastOnce), 1);
    }

    #[test]
    fn exactly_once_takes_each_step_once() {
        let mut f = InFlight::starting_at(7);
        let id = f.send(7, QoS::ExactlyOnce, None);
        assert_eq!(f.puback(id), Err(AckError::WrongStage));
        assert_eq!(f.pubcomp(id), Err(AckError::WrongStage));
        assert_eq!(f.pubrec(id), Ok(Some(7)));
        assert_eq!(f.pubrec(id), Ok(None));
        assert_eq!(f.pubcomp(id), Ok(7));
        assert_eq!(f.pubcomp(id), Err(AckError::NotFound));
    }

    #[test]
    fn a_message_that_is_never_sent_leaves_a_gap_that_nothing_falls_into() {
        let mut f = InFlight::starting_at(1);
        f.send(1, QoS::AtLeastOnce, None);
        let id = f.send(4, QoS::AtLeastOnce, None);
        assert_eq!((id, f.live()), (4, 2));
        assert_eq!(f.puback(2), Err(AckError::NotFound));
        f.puback(1).unwrap();
        assert_eq!((f.first, f.slots.len()), (4, 1));
        assert!(!f.takes(4 + 65_535) && f.takes(4 + 65_533));
        assert_eq!(f.puback(4), Ok(4));
        assert!(f.takes(1_000_000));
    }
}
