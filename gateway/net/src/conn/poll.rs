//! The order of things in one poll: what others want, time, the gatekeeper, output, input.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use portcullis_mqtt::ReasonCode;
use portcullis_router::now_ms;
use portcullis_session::{Control, End, Step};

use super::io::Io;
use super::worker::{self, Worker};
use super::{Answer, Awake, Closing, Connection, Doing, Look, Stopped};

/// Milliseconds that a connection of which we have taken leave may take to receive it.
const LAST_WORDS_MS: u64 = 1000;

impl Future for Awake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.0 else { return Poll::Ready(()) };
        match connection.poll(cx) {
            Turn::Over => return Poll::Ready(()),
            Turn::Waits => return Poll::Pending,
            Turn::Tires => {}
        }
        let Some(connection) = self.0.take() else { return Poll::Ready(()) };
        let parking = Arc::clone(&connection.handler.wheel.parking);
        self.0 = parking.park(connection);
        if self.0.is_none() {
            return Poll::Ready(());
        }
        // Something has come for it in this moment.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How a turn ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection has ended.
    Over,
    /// Something wakes the task when there is more to do.
    Waits,
    /// The same, and it is quiet: it can be parked.
    Tires,
}

impl Connection {
    /// One turn.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Turn {
        self.machine.handle().register(cx.waker());
        let mut turn = worker::with(|worker| {
            let turn = self.drive(cx, worker);
            self.handler.broker.settle(&mut worker.scratch);
            turn
        });
        if turn != Turn::Over && !self.is_closing() {
            // After all has been written that is to be written.
            turn = self.wait_for_more(cx).unwrap_or(turn);
            if turn == Turn::Waits {
                self.arm_timer();
            }
        }
        turn
    }
}

/// Whether a poll goes on.
enum Go {
    On,
    /// Nothing more to do until something wakes the task.
    Rest,
}

impl Connection {
    fn drive(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> Turn {
        let mut timed = false;
        if !self.is_closing() {
            timed = self.look_around(w);
            self.look_whether_stopped(cx, w);
            // A question that comes of what is read is put in the same turn: a task that wakes itself to do so goes to the
            // end of the queue, and an idle worker is woken to take it from there, at each login.
            if self.advance(cx, w) && self.advance(cx, w) {
                cx.waker().wake_by_ref();
            }
            // A session that came about in this poll: whoever stops the gateway tells the listeners before the sessions,
            // so that either this sees it or the broker already knows whom to tell.
            if self.before.is_some() {
                if self.machine.mailbox().is_some() {
                    self.look_whether_stopped(cx, w);
                    self.before = None;
                } else {
                    self.wait_for_stop(cx, w);
                }
            }
        }
        if self.is_closing() {
            return if self.poll_close(cx, w).is_ready() { Turn::Over } else { Turn::Waits };
        }
        // A stream that has not let go what it took calls us when it has.
        if !self.unflushed && self.machine.wants_room() {
            cx.waker().wake_by_ref();
        }
        if timed && self.is_tired() { Turn::Tires } else { Turn::Waits }
    }

    /// What the gatekeeper answered, then what is to be written, then what there is to read. True: that led to a question
    /// which is not put yet.
    fn advance(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> bool {
        let go = self.poll_decision(cx, w);
        self.poll_output(cx, w);
        if let Go::Rest = go {
            return false;
        }
        self.poll_input(cx, w);
        self.is_asking()
    }

    fn is_asking(&self) -> bool {
        matches!(self.doing.as_deref(), Some(Doing::Asking(_)))
    }

    /// What others asked for, and time. True: its time had come.
    fn look_around(&mut self, w: &mut Worker) -> bool {
        while let Some(control) = self.machine.handle().take_request() {
            let step = self.machine.on_control(control, &mut w.scratch);
            self.take(step);
        }
        let timed = self.machine.handle().take_timer();
        if timed {
            self.timer = None;
            if self.behind.waits_until().is_some_and(|until| until <= now_ms())
                && let Some(patience) = self.behind.stop_waiting()
            {
                for full in &patience.full {
                    full.give_up();
                }
                self.machine.handle().unpause();
            }
            if self.is_asking() {
                self.machine.does_not_listen();
            }
            if !self.is_closing() {
                match self.machine.on_time(&mut w.scratch) {
                    // A wish of nobody: what is remembered stays, unless the answer says otherwise.
                    Step::Renew if self.is_asking() => self.look_later(Look::Renew),
                    step => self.take(step),
                }
            }
        }
        if matches!(self.doing.as_deref(), Some(Doing::Waiting)) {
            self.doing = None;
            let step = self.machine.retry(&mut w.scratch);
            self.take(step);
            self.catch_up(w);
            self.go_on(w);
        }
        timed
    }

    /// Learns what topics are filtered, until there is a session: a reload has told those that had one. Before the will is
    /// looked at, and before anything is read that came behind CONNECT.
    fn catch_up(&mut self, w: &mut Worker) {
        if self.before.is_none() {
            return;
        }
        let settings = self.handler.settings.load();
        if *self.machine.filters() != settings.rules.filters {
            let step = self.machine.on_control(Control::Filter(settings.rules.filters.clone()), &mut w.scratch);
            self.take(step);
        }
    }

    /// Ends what is no session yet when the listener stops.
    fn look_whether_stopped(&mut self, cx: &mut Context<'_>, w: &mut Worker) {
        let Some(before) = &mut self.before else { return };
        let stopped = match &mut before.stopped {
            None => false,
            Some(Stopped::Unawaited(signal)) => signal.is_stopped(),
            Some(Stopped::Awaited(stopped)) => stopped.as_mut().as_mut().poll(cx).is_ready(),
        };
        if stopped {
            before.stopped = None;
            let step = self.machine.on_control(listener_stops(), &mut w.scratch);
            self.take(step);
        }
    }

    /// Has what is no session yet, and is about to rest, woken when the listener stops.
    fn wait_for_stop(&mut self, cx: &mut Context<'_>, w: &mut Worker) {
        if !self.is_closing()
            && let Some(before) = &mut self.before
            && let Some(Stopped::Unawaited(signal)) = &before.stopped
        {
            before.stopped = Some(Stopped::Awaited(Box::new(Box::pin(signal.stopped()))));
            self.look_whether_stopped(cx, w);
        }
    }

    /// Does what the machine asks for.
    pub(super) fn take(&mut self, step: Step) {
        if self.is_closing() {
            return;
        }
        let gate = |c: &Self| c.handler.gatekeeper();
        let doing = match step {
            Step::More => return,
            Step::Wait => Doing::Waiting,
            Step::End(end) => closing(end),
            Step::Login(login) => {
                let gate = gate(self);
                asking(async move { Answer::Outcome(gate.authenticate(*login).await) })
            }
            Step::Reply(reply) => {
                let gate = gate(self);
                asking(async move { Answer::Outcome(gate.continue_authentication(*reply).await) })
            }
            Step::Authorize(action) => {
                let Some(grant) = self.machine.grant().cloned() else { return };
                let gate = gate(self);
                asking(async move {
                    let answer = gate.authorize(grant, action.clone()).await;
                    Answer::Authorization(action, answer)
                })
            }
            Step::Filter(passage) => {
                let gate = gate(self);
                asking(async move { Answer::Filtered(gate.filter(*passage).await) })
            }
            Step::Renew | Step::Recheck => {
                let again = matches!(step, Step::Recheck);
                let Some(grant) = self.machine.grant().cloned() else { return };
                if self.is_asking() {
                    // One question at a time; this one is next. Asking ourselves again would wake us at once, and again,
                    // until the answer comes.
                    self.look_later(if again { Look::Recheck } else { Look::Reevaluate });
                    return;
                }
                let mut facts = self.machine.facts();
                facts.identity = Some(Arc::clone(&grant.identity));
                let gate = gate(self);
                asking(async move {
                    let looked = if again { gate.recheck(facts, grant) } else { gate.renew(facts, grant) };
                    Answer::Renewal(looked.await)
                })
            }
        };
        self.doing = Some(Box::new(doing));
    }

    fn look_later(&mut self, look: Look) {
        self.look_next = Some(match self.look_next {
            Some(other) if other != look => Look::Reevaluate,
            _ => look,
        });
    }

    /// What was to be asked about the grant while something else was.
    pub(super) fn next_look(&mut self, w: &mut Worker) -> Option<Step> {
        Some(match self.look_next.take()? {
            Look::Renew => Step::Renew,
            Look::Recheck => self.machine.on_control(Control::Recheck, &mut w.scratch),
            Look::Reevaluate => self.machine.on_control(Control::Reevaluate, &mut w.scratch),
        })
    }

    /// Hears the gatekeeper, as often as one answer leads to the next question.
    fn poll_decision(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> Go {
        while let Some(Doing::Asking(pending)) = self.doing.as_deref_mut() {
            let Poll::Ready(answer) = pending.as_mut().poll(cx) else { return Go::Rest };
            self.doing = None;
            self.catch_up(w);
            let step = match answer {
                Answer::Outcome(outcome) => self.machine.on_outcome(outcome, &mut w.scratch),
                Answer::Authorization(action, answer) => self.machine.on_authorization(action, answer, &mut w.scratch),
                Answer::Filtered(outcome) => self.machine.on_filtered(outcome, &mut w.scratch),
                Answer::Renewal(renewal) => self.machine.on_renewal(renewal, &mut w.scratch),
            };
            self.take(step);
            self.catch_up(w);
            self.go_on(w);
            if self.is_reading()
                && let Some(step) = self.next_look(w)
            {
                self.take(step);
            }
        }
        if self.is_reading() { Go::On } else { Go::Rest }
    }

    /// Writes what is ours to write.
    fn poll_output(&mut self, cx: &mut Context<'_>, w: &mut Worker) {
        if self.is_closing() {
            return;
        }
        let written = match self.machine.mailbox() {
            None => self.poll_early(cx),
            Some(mailbox) if mailbox.is_at_rest() && !self.unflushed && !self.machine.is_offering() => return,
            Some(mailbox) => {
                let mailbox = Arc::clone(mailbox);
                if mailbox.is_broken() {
                    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
                } else {
                    let written = self.io.poll_write_mailbox(cx, &mailbox, &mut self.unflushed);
                    if written.is_ready() {
                        // Written at the end of this poll; what is left then wakes us.
                        mailbox.refill(&mut w.scratch.batch);
                        self.machine.on_room(&mut w.scratch);
                    }
                    written
                }
            }
        };
        if let Poll::Ready(Err(e)) = written {
            self.lost(&e);
        }
    }

    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(before) = &mut self.before else { return Poll::Ready(Ok(())) };
        before.early.append(&mut self.machine.take_early());
        if before.early.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let written = self.io.poll_write_bytes(cx, &before.early, &mut before.written);
        if let Poll::Ready(Ok(())) = written {
            (before.early, before.written) = (Vec::new(), 0);
        }
        written
    }

    pub(super) fn lost(&mut self, e: &io::Error) {
        let end = self.machine.on_closed(format!("the connection was lost: {e}"));
        self.take(Step::End(end));
    }

    pub(super) fn arm_timer(&mut self) {
        let machine = self.machine.next_time().unwrap_or(u64::MAX);
        let patience = self.behind.waits_until().unwrap_or(u64::MAX);
        let closing = match self.doing.as_deref() {
            Some(Doing::Closing(closing)) => closing.by,
            _ => u64::MAX,
        };
        let next = machine.min(patience).min(closing).min(self.looks_whether_it_rests_at().unwrap_or(u64::MAX));
        if next == u64::MAX || self.timer.is_some_and(|armed| armed.at() <= next.saturating_add(1000)) {
            return;
        }
        if let Some(armed) = self.timer.take() {
            self.handler.wheel.disarm(self.machine.handle(), armed);
        }
        self.timer = Some(self.handler.wheel.arm(next, self.machine.handle()));
    }

    /// Writes the last words, leaves the session, says good-bye.
    fn poll_close(&mut self, cx: &mut Context<'_>, w: &mut Worker) -> Poll<()> {
        if self.machine.handle().take_timer() {
            self.timer = None;
        }
        let Some(Doing::Closing(closing)) = self.doing.as_deref() else { return Poll::Pending };
        let by_client = closing.end.by_client;
        let (patient, shutting_down) = (!by_client && now_ms() < closing.by, closing.shutting_down);
        if !shutting_down {
            let awaits_store = patient && self.machine.awaits_store();
            let written = match self.machine.mailbox().cloned() {
                None => self.poll_early(cx),
                // Who takes its leave is told by a stream what was to be told with the same breath, if there is room for it: on a
                // plain socket it was written before.
                Some(mailbox) if patient || by_client && matches!(self.io, Io::Stream(_)) => {
                    w.scratch.batch.flush();
                    let written = self.io.poll_write_mailbox(cx, &mailbox, &mut self.unflushed);
                    if awaits_store && written.is_ready() {
                        // As ever: what waits for the socket would call us to fetch it, again and again.
                        mailbox.refill(&mut w.scratch.batch);
                    }
                    written
                }
                Some(_) => Poll::Ready(Ok(())),
            };
            if patient && (written.is_pending() || awaits_store && matches!(written, Poll::Ready(Ok(())))) {
                self.arm_timer();
                return Poll::Pending;
            }
            let Some(Doing::Closing(closing)) = self.doing.as_deref() else { return Poll::Pending };
            let end = closing.end.clone();
            if self.machine.close(&end, &mut w.scratch).is_none() {
                // Somebody is writing to the socket at this moment.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            tracing::debug!(
                connection = %self.machine.facts().id,
                reason = end.reason.name(),
                by_client = end.by_client,
                "the connection ended: {}",
                end.detail
            );
            if let Some(Doing::Closing(closing)) = self.doing.as_deref_mut() {
                closing.shutting_down = true;
            }
        }
        // A client that took its leave, or is gone, hears nothing more: closing the socket says it all, in one system call.
        let told = by_client && !matches!(self.io, Io::Stream(_));
        if !told && self.io.poll_shutdown(cx).is_pending() && patient {
            self.arm_timer();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// What is said to those who have no session when their listener stops.
pub(super) fn listener_stops() -> Control {
    Control::Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, detail: "the listener stops".to_owned() }
}

fn asking(question: impl Future<Output = Answer> + Send + 'static) -> Doing {
    Doing::Asking(Box::pin(question))
}

fn closing(end: End) -> Doing {
    Doing::Closing(Closing { end, by: now_ms() + LAST_WORDS_MS, shutting_down: false })
}
