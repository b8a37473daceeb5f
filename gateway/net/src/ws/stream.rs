//! A WebSocket as a stream of bytes.
//!
//! Reading gives the payload of binary frames as it arrives, whatever the frames' sizes; one write is one binary frame.
//! Pings are answered and Close is returned on the way. Made for one owner task: reading may write, and both sides
//! wake whoever polled last.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ws::frame::{Decoder, End, MAX_HEADER, binary_header, close, close_frame, pong};

/// Payload of one frame at most. Some client libraries refuse messages of more than 1 MiB, and deliver none before it is
/// whole; MQTT packets may span frames (MQTT 5 §6).
const MAX_FRAME: usize = 64 * 1024;

/// The server's side of an open WebSocket.
#[derive(Debug)]
pub struct WsStream<S> {
    inner: S,
    decoder: Decoder,
    /// Bytes that came with the upgrade request, still in frames. Empty from the first read on.
    early: Vec<u8>,
    /// The header of the data frame that is being written, and how much of it is written.
    header: [u8; MAX_HEADER],
    header_at: u8,
    header_len: u8,
    /// Octets of payload that the frame being written still owes. Only at 0 may a control frame be written.
    owed: usize,
    /// A control frame that is being written, and how much of it is written.
    control: Vec<u8>,
    control_at: usize,
    /// The pong that is due once `control` is out.
    pong_due: Option<Vec<u8>>,
    /// The code of the Close that is due once `control` is out.
    close_due: Option<u16>,
    /// A Close is due or was sent: nothing may follow it.
    closing: bool,
    /// The other side will send no more.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// A stream whose upgrade is done; `early` is what the client sent after its request.
    pub(crate) fn new(inner: S, early: Vec<u8>) -> Self {
        Self {
            inner,
            decoder: Decoder::new(),
            // What is empty must not keep the buffer of the request.
            early: if early.is_empty() { Vec::new() } else { early },
            header: [0; MAX_HEADER],
            header_at: 0,
            header_len: 0,
            owed: 0,
            control: Vec::new(),
            control_at: 0,
            pong_due: None,
            close_due: None,
            closing: false,
            ended: false,
        }
    }

    /// The transport beneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    fn close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            self.close_due = Some(code);
        }
    }

    /// Writes the control frames that are due, unless a data frame is in between.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.owed > 0 {
            return Poll::Ready(Ok(()));
        }
        let mut wrote = false;
        loop {
            while let Some(rest) = self.control.get(self.control_at..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    octets => self.control_at += octets,
                }
                wrote = true;
            }
            self.control_at = 0;
            self.control = if let Some(payload) = self.pong_due.take() {
                pong(&payload)
            } else if let Some(code) = self.close_due.take() {
                close_frame(code)
            } else {
                // Nothing is kept while idle.
                self.control = Vec::new();
                return if wrote { Pin::new(&mut self.inner).poll_flush(cx) } else { Poll::Ready(Ok(())) };
            };
        }
    }

    /// Takes bytes in from the transport; returns how many octets of payload are at their front.
    fn take_in(&mut self, bytes: &mut [u8]) -> usize {
        let kept = self.decoder.decode(bytes);
        if let Some(payload) = self.decoder.take_ping()
            && !self.closing
        {
            self.pong_due = Some(payload);
        }
        match self.decoder.end() {
            Some(End::Closed(code) | End::Violation(code, _)) => self.close(code),
            None => {}
        }
        kept
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            // Reading goes on while an answer waits for room: the client may need to be read before it reads.
            if let Poll::Ready(Err(error)) = this.poll_control(cx) {
                return Poll::Ready(Err(error));
            }
            match this.decoder.end() {
                Some(End::Closed(_)) => return Poll::Ready(Ok(())),
                Some(End::Violation(_, words)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
                }
                None if this.ended => return Poll::Ready(Ok(())),
                None => {}
            }
            let space = buf.initialize_unfilled();
            let octets = if this.early.is_empty() {
                let mut raw = ReadBuf::new(space);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut raw))?;
                raw.filled().len()
            } else {
                let octets = this.early.len().min(space.len());
                for (to, from) in space.iter_mut().zip(this.early.drain(..octets)) {
                    *to = from;
                }
                if this.early.is_empty() {
                    this.early = Vec::new();
                }
                octets
            };
            if octets == 0 {
                this.ended = true;
                continue;
            }
            let kept = this.take_in(space.get_mut(..octets).unwrap_or_default());
            if kept > 0 {
                buf.advance(kept);
                // What is due now must not wait for the next read; an error will show there.
                let _ = this.poll_control(cx);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    /// One write is one binary frame of at most 64 KiB. When only a part fits into the transport, the next writes
    /// complete the frame; whatever they bring, since MQTT sees a stream.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.owed == 0 {
            ready!(this.poll_control(cx))?;
            this.owed = data.len().min(MAX_FRAME);
            (this.header, this.header_len) = binary_header(this.owed);
            this.header_at = 0;
        }
        loop {
            let header = this.header.get(usize::from(this.header_at)..usize::from(this.header_len)).unwrap_or_default();
            let payload = data.get(..this.owed.min(data.len())).unwrap_or_default();
            let parts = [IoSlice::new(header), IoSlice::new(payload)];
            // Without vectored writes the transport takes the first part that is not empty.
            let octets = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, &parts))?;
            if octets == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = octets.min(header.len());
            let taken = octets - of_header;
            // At most MAX_HEADER.
            this.header_at += of_header as u8;
            if taken > 0 {
                this.owed -= taken;
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    /// Sends Close, unless a data frame is unfinished, and ends the transport's sending side.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.close(close::NORMAL);
        ready!(this.poll_control(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
