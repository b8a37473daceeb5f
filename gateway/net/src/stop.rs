//! A word that is said once and heard by everybody: *stop*.
//!
//! One [`StopSource`] belongs to whoever ends a listener or the gateway; a [`StopSignal`] costs a connection one
//! pointer. Dropping the source says *stop* as well, so that nothing outlives its owner unnoticed.

use std::sync::Arc;

use tokio::sync::watch;

/// Says *stop*.
#[derive(Debug)]
pub struct StopSource {
    sender: watch::Sender<bool>,
    signal: StopSignal,
}

/// Hears *stop*. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StopSignal {
    receiver: Arc<watch::Receiver<bool>>,
}

impl StopSource {
    /// A source that has not spoken yet.
    #[must_use]
    pub fn new() -> Self {
        let (sender, receiver) = watch::channel(false);
        Self { sender, signal: StopSignal { receiver: Arc::new(receiver) } }
    }

    /// A listener for what this source will say.
    #[must_use]
    pub fn signal(&self) -> StopSignal {
        self.signal.clone()
    }

    /// Says *stop*. Saying it again changes nothing.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }
}

impl Default for StopSource {
    fn default() -> Self {
        Self::new()
    }
}

impl StopSignal {
    /// Whether *stop* was said, or nobody is left to say it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.receiver.borrow() || self.receiver.has_changed().is_err()
    }

    /// Waits until *stop* is said. The future owns what it needs, so that it can be boxed into a connection.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = watch::Receiver::clone(&self.receiver);
        async move {
            // An error means that the source is gone: nobody is left to keep this running.
            let _ = receiver.wait_for(|stopped| *stopped).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_those_who_wait_and_those_who_come_later() {
        let source = StopSource::new();
        let early = source.signal();
        assert!(!early.is_stopped());
        let waiting = tokio::spawn(early.stopped());
        source.stop();
        waiting.await.unwrap();
        assert!(source.signal().is_stopped());
        source.signal().stopped().await;
    }

    #[tokio::test]
    async fn a_lost_source_counts_as_stopped() {
        let source = StopSource::new();
        let signal = source.signal();
        drop(source);
        assert!(signal.is_stopped());
        signal.stopped().await;
    }
}
