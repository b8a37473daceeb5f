//! The body of a response: whole, or piece by piece as it comes about.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Kept as long as a body is being sent, and dropped with it.
pub(crate) type Hold = Box<dyn Send + Sync>;

/// The body of a response.
pub struct Content {
    kind: Kind,
    hold: Option<Hold>,
}

enum Kind {
    Whole(Full<Bytes>),
    /// Ends when the sender is dropped.
    Pieces(mpsc::Receiver<Bytes>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Whole(_) => "Content::Whole",
            Kind::Pieces(_) => "Content::Pieces",
        })
    }
}

impl Content {
    /// All of it is there.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Whole(Full::new(bytes.into())), hold: None }
    }

    /// What comes out of a channel, until its sender is gone. The channel's room is what a slow reader can be behind.
    #[must_use]
    pub fn pieces(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { kind: Kind::Pieces(pieces), hold: None }
    }

    /// Keeps something until the body was sent, or given up.
    pub(crate) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let me = self.get_mut();
        let polled = match &mut me.kind {
            Kind::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Kind::Pieces(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        };
        if let Poll::Ready(None) = polled {
            me.hold = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(whole) => whole.is_end_stream(),
            Kind::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(whole) => whole.size_hint(),
            Kind::Pieces(_) => SizeHint::default(),
        }
    }
}
