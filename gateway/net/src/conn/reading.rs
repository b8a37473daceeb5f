//! What is read of a connection, and when nothing more is: while its replies or its receivers are behind.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use portcullis_mqtt::frame_need;
use portcullis_router::{Wake, now_ms};
use portcullis_session::Step;

use super::io::Io;
use super::worker::{READ_SIZE, Worker};
use super::{Connection, Patience};

/// Milliseconds that a publisher waits for a receiver which does not read, before it goes on without it.
const PATIENCE_MS: u64 = 500;
/// Octets that may wait for a client which does not read its replies, before nothing more is read from it.
const UNREAD_REPLIES: usize = 256 * 1024;
/// Half a packet larger than this is read into its own buffer; a smaller one is copied in front of the next read.
const LARGE_PARTIAL: usize = 16 * 1024;
/// Octets that are worth a read, however little a packet lacks.
const SMALL_READ: usize = 1024;

impl Connection {
    /// Reads, and has it processed. A stream cannot be asked whether it has more: it is read once more at once, rather than
    /// after a wake-up that nearly always finds nothing.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>, w: &mut Worker) {
        if self.read(cx, w, false) {
            self.read(cx, w, true);
        }
    }

    /// Reads once. True: there may be more, and nothing has asked to be woken for it. `last`: then it has.
    fn read(&mut self, cx: &mut Context<'_>, w: &mut Worker, last: bool) -> bool {
        if !self.is_reading() || self.machine.handle().is_paused() {
            return false;
        }
        if let Some(patience) = self.behind.waits_for() {
            // The one that it waited for has had room.
            patience.full.pop();
        } else if let Some(full) = self.machine.full_receiver() {
            // Another publisher filled it. To read now would be to have QoS 0 dropped that may as well wait.
            self.behind.wait_for(Patience { full: vec![full], until: now_ms() + PATIENCE_MS });
        }
        if self.wait_for_receivers() {
            return false;
        }
        if let Some(mailbox) = self.machine.mailbox()
            && mailbox.unsent() > UNREAD_REPLIES
        {
            // It does not read what it is answered. The socket wakes us when it takes more; but if it took everything at
            // this moment from a publisher's hands, nobody does.
            if !mailbox.is_blocked() {
                cx.waker().wake_by_ref();
            }
            return false;
        }
        let (read, room) =
            if self.behind.partial().len() >= LARGE_PARTIAL { self.read_on(cx, w) } else { self.read_anew(cx, w) };
        match read {
            Poll::Pending => {}
            Poll::Ready(Ok(0)) => {
                let end = self.machine.on_closed("the client closed the connection without DISCONNECT".to_owned());
                self.take(Step::End(end));
            }
            Poll::Ready(Err(e)) => self.lost(&e),
            Poll::Ready(Ok(n)) => {
                // Others first: one read a turn.
                if n < room {
                    match &mut self.io {
                        Io::Stream(_) if !last => return true,
                        Io::Stream(_) => {}
                        Io::Parked(_) => return false,
                        Io::Direct(socket) => {
                            if !socket.poll_more(cx) {
                                return false;
                            }
                        }
                    }
                }
                cx.waker().wake_by_ref();
            }
        }
        false
    }

    /// Reads into the worker's buffer, behind what there is of a packet. Says as well how much could have come.
    fn read_anew(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> (Poll<io::Result<usize>>, usize) {
        let before = self.behind.partial().len();
        let mut buffer = std::mem::take(&mut w.buffer);
        if buffer.len() < LARGE_PARTIAL + READ_SIZE {
            buffer.resize(LARGE_PARTIAL + READ_SIZE, 0);
        }
        buffer[..before].copy_from_slice(self.behind.partial());
        let read = self.io.poll_read(cx, &mut buffer[before..before + READ_SIZE]);
        if let Poll::Ready(Ok(1..)) = read {
            let whole = before + count(&read);
            let used = self.process(&buffer[..whole], w);
            self.behind.set_partial(buffer[used..whole].to_vec());
        }
        w.buffer = buffer;
        (read, READ_SIZE)
    }

    /// Reads what a large packet lacks, behind what there is of it. Room that nothing was written to is no memory yet, and
    /// is never more than as much again as the client has proved to send, and one read. However much that is, it is less than
    /// what the packet will be for each of its receivers.
    fn read_on(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> (Poll<io::Result<usize>>, usize) {
        let mut buffer = self.behind.take_partial();
        let before = buffer.len();
        let lacks = frame_need(&buffer, 0).map_or(READ_SIZE, |need| need.saturating_sub(before));
        let room = lacks.clamp(SMALL_READ, before + READ_SIZE);
        buffer.reserve_exact(room);
        let read = self.io.poll_read_behind(cx, &mut buffer);
        if let Poll::Ready(Ok(1..)) = read {
            let used = self.process(&buffer, w);
            if used == buffer.len() {
                buffer = Vec::new();
            } else if used > 0 {
                buffer = buffer[used..].to_vec();
            }
        }
        self.behind.set_partial(buffer);
        (read, room)
    }

    /// Processes what came while something else had to be waited for: nothing more may ever come to remind us.
    pub(super) fn go_on(&mut self, w: &mut Worker) {
        if self.is_reading() && !self.behind.partial().is_empty() {
            let partial = self.behind.take_partial();
            self.digest(partial, w);
        }
    }

    /// Processes bytes that belong to nobody's buffer.
    fn digest(&mut self, bytes: Vec<u8>, w: &mut Worker) {
        let used = self.process(&bytes, w);
        self.behind.set_partial(if used == 0 { bytes } else { bytes[used..].to_vec() });
    }

    fn process(&mut self, bytes: &[u8], w: &mut Worker) -> usize {
        let (used, mut step) = self.machine.process(bytes, &mut w.scratch);
        // Whether its grant still holds is asked before what it wants under that, however much of it has come. A packet that was
        // asked about already is done with first: looks may come faster than answers.
        if matches!(step, Step::Authorize(_) | Step::Filter(_))
            && !self.machine.is_midway()
            && let Some(look) = self.next_look(w)
        {
            step = look;
        }
        self.take(step);
        // Replies and deliveries leave before the next thing is done: a login that follows may take its time.
        w.scratch.batch.flush();
        self.note_full_receivers(w);
        used
    }

    /// Back-pressure: receivers that hold too much stop their publishers.
    fn note_full_receivers(&mut self, w: &mut Worker) {
        let mut full = w.scratch.batch.take_full();
        // Not for itself: it has to read the acknowledgements that empty its own queue.
        let own = self.machine.mailbox().map_or(0, |m| m.number);
        full.retain(|full| full.number() != own);
        if full.is_empty() {
            return;
        }
        match self.behind.waits_for() {
            Some(patience) => patience.full.append(&mut full),
            None => self.behind.wait_for(Patience { full, until: now_ms() + PATIENCE_MS }),
        }
        self.wait_for_receivers();
    }

    /// Waits for one after the other. False: they all have room.
    fn wait_for_receivers(&mut self) -> bool {
        let Some(patience) = self.behind.waits_for() else { return false };
        let waiter: Arc<dyn Wake> = Arc::clone(self.machine.handle()) as _;
        while let Some(full) = patience.full.last() {
            self.machine.handle().pause();
            if full.wait(&waiter) {
                return true;
            }
            self.machine.handle().unpause();
            patience.full.pop();
        }
        self.behind.stop_waiting();
        false
    }
}

fn count(read: &Poll<io::Result<usize>>) -> usize {
    if let Poll::Ready(Ok(count)) = read { *count } else { 0 }
}
