//! Every packet under one name: from the first octet to the right reader, and back.

use crate::publish::Sender;
use crate::write;
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, EncodeError, Error, PacketType, ProtocolVersion, Publish, SubAck,
    Subscribe, UnsubAck, Unsubscribe, decode_connect,
};

/// A packet that borrows everything from the buffer that it was read from, or from whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is the packet of its name
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Reads a packet of either direction: its first octet, and its body (what follows the remaining length, all of it).
///
/// Nothing is allocated, nothing is let through that the specification forbids in the packet itself. What depends on
/// state (a second CONNECT, an unknown packet identifier, an alias above the maximum) is the session's business.
/// A CONNECT says its version itself and `version` does not matter; a server reads it with [`decode_connect`].
pub fn decode(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<Packet<'_>, Error> {
    read(version, first, body, Sender::Either)
}

/// Reads a packet as [`decode`] does, and refuses what only a server may send: CONNACK, SUBACK, UNSUBACK, PINGRESP;
/// subscription identifiers in PUBLISH; a server reference in DISCONNECT; the reason codes that are a server's.
pub fn decode_from_client(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<Packet<'_>, Error> {
    read(version, first, body, Sender::Client)
}

fn read(version: ProtocolVersion, first: u8, body: &[u8], sender: Sender) -> Result<Packet<'_>, Error> {
    let packet = match PacketType::from_first(first) {
        None => return Err(Error::ReservedPacketType(0)),
        Some(PacketType::Auth) if !version.is_v5() => return Err(Error::ReservedPacketType(15)),
        Some(packet) => packet,
    };
    check_flags(version, packet, first)?;
    let server_only =
        matches!(packet, PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp);
    if server_only && sender == Sender::Client {
        return Err(Error::ServerOnlyPacket(packet));
    }
    Ok(match packet {
        PacketType::Connect => Packet::Connect(decode_connect(body)?),
        PacketType::ConnAck => Packet::ConnAck(ConnAck::read(version, body)?),
        PacketType::Publish => Packet::Publish(Publish::read(version, first, body, sender)?),
        PacketType::PubAck => Packet::PubAck(Ack::read(packet, version, body, sender)?),
        PacketType::PubRec => Packet::PubRec(Ack::read(packet, version, body, sender)?),
        PacketType::PubRel => Packet::PubRel(Ack::read(packet, version, body, sender)?),
        PacketType::PubComp => Packet::PubComp(Ack::read(packet, version, body, sender)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::read(version, body)?),
        PacketType::SubAck => Packet::SubAck(SubAck::read(version, body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(version, body)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::read(version, body)?),
        PacketType::PingReq => empty(packet, body, Packet::PingReq)?,
        PacketType::PingResp => empty(packet, body, Packet::PingResp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::read(version, body, sender)?),
        PacketType::Auth => Packet::Auth(Auth::read(body, sender)?),
    })
}

fn empty<'a>(packet: PacketType, body: &[u8], ping: Packet<'a>) -> Result<Packet<'a>, Error> {
    match body.len() {
        0 => Ok(ping),
        extra => Err(Error::TrailingBytes { packet, extra }),
    }
}

/// Checks the low four bits of the first octet. Those of PUBLISH mean something and are read with it.
fn check_flags(version: ProtocolVersion, packet: PacketType, first: u8) -> Result<(), Error> {
    let flags = first & 0x0F;
    // MQTT 3.1 sends these three with QoS 1, and repeats them with DUP.
    let may_repeat = version == ProtocolVersion::V31 && packet.required_flags() == 0b0010;
    let checked = if may_repeat { flags & !0b1000 } else { flags };
    if packet == PacketType::Publish || checked == packet.required_flags() {
        Ok(())
    } else {
        Err(Error::FixedHeaderFlags { packet, flags })
    }
}

impl Packet<'_> {
    /// The type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`, in its shortest form. After an error `out` is as it was.
    ///
    /// What a version cannot say is left out: properties and reason codes before MQTT 5, "session present" in 3.1. What
    /// [`decode`] would refuse is an error, and so are an AUTH before MQTT 5 and a CONNECT of another version.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let packet = self.packet_type();
        let first = packet.first();
        match self {
            Self::Connect(connect) if connect.version != version => {
                Err(EncodeError::VersionMismatch { connect: connect.version, asked: version })
            }
            Self::Auth(_) if !version.is_v5() => Err(EncodeError::NotInVersion { packet, version }),
            Self::Connect(connect) => write::packet(out, first, connect),
            Self::ConnAck(connack) => write::packet(out, first, &connack.body(version)),
            Self::Publish(publish) => write::packet(out, publish.first(), &publish.body(version)),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                write::packet(out, first, &ack.body(packet, version))
            }
            Self::Subscribe(subscribe) => write::packet(out, first, &subscribe.body(version)),
            Self::SubAck(suback) => write::packet(out, first, &suback.body(version)),
            Self::Unsubscribe(unsubscribe) => write::packet(out, first, &unsubscribe.body(version)),
            Self::UnsubAck(unsuback) => write::packet(out, first, &unsuback.body(version)),
            Self::PingReq | Self::PingResp => {
                out.extend_from_slice(&[first, 0]);
                Ok(())
            }
            Self::Disconnect(disconnect) => write::packet(out, first, &disconnect.body(version)),
            Self::Auth(auth) => write::packet(out, first, auth),
        }
    }
}
