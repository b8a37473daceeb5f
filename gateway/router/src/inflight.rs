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
}

/// An acknowledgement that belongs to nothing in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// No message with this identifier is in flight.
    NotFound,
    /// There is one, and it awaits another packet.
    WrongStage,
}

/// Messages in flight. Identifiers are consecutive, so that an acknowledgement finds its slot by subtraction, in
/// whatever order a client sends them.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The identifier of the first slot.
    first: u16,
    slots: VecDeque<Slot>,
    /// Slots that are not [`Stage::Done`]: what counts against receive maximum (MQTT 5 §4.9).
    live: u32,
}

/// What is to be sent again on a new connection, in the order of first sending (§4.4, §4.6).
pub(crate) enum Resend<'a> {
    Publish(u16, &'a Queued),
    PubRel(u16),
}

impl Default for InFlight {
    fn default() -> Self {
        Self { first: 1, slots: VecDeque::new(), live: 0 }
    }
}

fn nth_after(first: u16, n: usize) -> u16 {
    ((u32::from(first) - 1 + n as u32) % IDENTIFIERS) as u16 + 1
}

impl InFlight {
    /// How many more messages may be sent when the window is `window`.
    pub(crate) fn room(&self, window: u16) -> usize {
        let by_window = u32::from(window).saturating_sub(self.live) as usize;
        by_window.min(LONGEST - self.slots.len())
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// Hands out the next identifier. The caller has seen that there is [`Self::room`].
    pub(crate) fn send(&mut self, qos: QoS, kept: Option<Box<Queued>>) -> u16 {
        let id = nth_after(self.first, self.slots.len());
        let stage = if qos == QoS::ExactlyOnce { Stage::AwaitPubRec } else { Stage::AwaitPubAck };
        self.slots.push_back(Slot { stage, kept });
        self.live += 1;
        id
    }

    fn slot(&mut self, id: u16) -> Result<&mut Slot, AckError> {
        let offset = (u32::from(id) + IDENTIFIERS - u32::from(self.first)) % IDENTIFIERS;
        match self.slots.get_mut(offset as usize) {
            Some(slot) if slot.stage != Stage::Done => Ok(slot),
            _ => Err(AckError::NotFound),
        }
    }

    fn finish(&mut self, id: u16, awaited: Stage) -> Result<Option<Box<Queued>>, AckError> {
        let slot = self.slot(id)?;
        if slot.stage != awaited {
            return Err(AckError::WrongStage);
        }
        slot.stage = Stage::Done;
        let kept = slot.kept.take();
        self.live -= 1;
        while self.slots.front().is_some_and(|s| s.stage == Stage::Done) {
            self.slots.pop_front();
            self.first = nth_after(self.first, 1);
        }
        Ok(kept)
    }

    pub(crate) fn puback(&mut self, id: u16) -> Result<Option<Box<Queued>>, AckError> {
        self.finish(id, Stage::AwaitPubAck)
    }

    /// PUBREC that accepts: PUBREL is to be sent.
    pub(crate) fn pubrec(&mut self, id: u16) -> Result<Option<Box<Queued>>, AckError> {
        let slot = self.slot(id)?;
        match slot.stage {
            Stage::AwaitPubRec => {
                slot.stage = Stage::AwaitPubComp;
                Ok(slot.kept.take())
            }
            // A client that resends PUBREC is answered with PUBREL again.
            Stage::AwaitPubComp => Ok(None),
            Stage::AwaitPubAck | Stage::Done => Err(AckError::WrongStage),
        }
    }

    /// PUBREC that refuses (MQTT 5, reason 0x80 or more): the exchange is over.
    pub(crate) fn pubrec_refused(&mut self, id: u16) -> Result<Option<Box<Queued>>, AckError> {
        self.finish(id, Stage::AwaitPubRec)
    }

    pub(crate) fn pubcomp(&mut self, id: u16) -> Result<(), AckError> {
        self.finish(id, Stage::AwaitPubComp).map(drop)
    }

    pub(crate) fn resend(&self) -> impl Iterator<Item = Resend<'_>> {
        self.slots.iter().enumerate().filter_map(|(i, slot)| {
            let id = nth_after(self.first, i);
            match (slot.stage, &slot.kept) {
                (Stage::AwaitPubAck | Stage::AwaitPubRec, Some(kept)) => Some(Resend::Publish(id, kept)),
                (Stage::AwaitPubComp, _) => Some(Resend::PubRel(id)),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_in_any_order_free_their_identifiers() {
        let mut f = InFlight::default();
        let ids: Vec<u16> = (0..5).map(|_| f.send(QoS::AtLeastOnce, None)).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        for id in [3, 1, 5, 2] {
            f.puback(id).unwrap();
        }
        assert_eq!(f.live(), 1);
        assert!(matches!(f.puback(3), Err(AckError::NotFound)));
        f.puback(4).unwrap();
        assert_eq!((f.live(), f.slots.len(), f.first), (0, 0, 6));
    }

    #[test]
    fn identifiers_wrap_and_never_use_zero_or_one_in_flight() {
        let mut f = InFlight::default();
        let held = f.send(QoS::AtLeastOnce, None);
        let mut seen = 0u32;
        while f.room(u16::MAX) > 0 {
            let id = f.send(QoS::AtLeastOnce, None);
            assert!(id != 0 && id != held);
            f.puback(id).unwrap();
            seen += 1;
        }
        // One message that is never acknowledged stops the stream before its identifier comes round again.
        assert_eq!(seen, 65_533);
        f.puback(held).unwrap();
        assert!(f.room(u16::MAX) > 60_000);
    }

    #[test]
    fn exactly_once_takes_each_step_once() {
        let mut f = InFlight::default();
        let id = f.send(QoS::ExactlyOnce, None);
        assert!(matches!(f.puback(id), Err(AckError::WrongStage)));
        assert!(matches!(f.pubcomp(id), Err(AckError::WrongStage)));
        f.pubrec(id).unwrap();
        f.pubrec(id).unwrap();
        f.pubcomp(id).unwrap();
        assert_eq!(f.pubcomp(id), Err(AckError::NotFound));
    }
}
