//! What a connection is behind with: what was received and not used yet, and receivers that have to catch up first.
//!
//! Most connections have neither, most of the time: then it is one word.

use super::Patience;

/// One of them at least.
#[derive(Default)]
struct Things {
    /// Received and not used yet.
    partial: Vec<u8>,
    /// Receivers that hold too much.
    waits_for: Option<Patience>,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Behind(Option<Box<Things>>);

impl Behind {
    /// Bytes that wait for what follows them: half a packet, or what came while the gatekeeper is asked.
    pub(super) fn partial(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |behind| &behind.partial)
    }

    /// The same, which are nobody's from now on.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        let partial = self.0.as_mut().map(|behind| std::mem::take(&mut behind.partial)).unwrap_or_default();
        self.tidy();
        partial
    }

    /// Keeps what is left of what was read.
    pub(super) fn set_partial(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() || self.0.is_some() {
            self.0.get_or_insert_default().partial = bytes;
            self.tidy();
        }
    }

    /// The receivers that it waits for.
    pub(super) fn waits_for(&mut self) -> Option<&mut Patience> {
        self.0.as_mut()?.waits_for.as_mut()
    }

    /// Until when it waits, in [`portcullis_router::now_ms`]. None: for nobody.
    pub(super) fn waits_until(&self) -> Option<u64> {
        Some(self.0.as_ref()?.waits_for.as_ref()?.until)
    }

    pub(super) fn wait_for(&mut self, patience: Patience) {
        self.0.get_or_insert_default().waits_for = Some(patience);
    }

    /// It waits for nobody any more. Returns whom it waited for.
    pub(super) fn stop_waiting(&mut self) -> Option<Patience> {
        let patience = self.0.as_mut()?.waits_for.take();
        self.tidy();
        patience
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|behind| behind.partial.is_empty() && behind.waits_for.is_none()) {
            self.0 = None;
        }
    }
}
