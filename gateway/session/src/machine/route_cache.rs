//! The topics that a client publishes to, with their routes and what the grant says of them.

use std::sync::Arc;

use portcullis_router::{Route, Router};

/// Most clients publish to one topic or a few.
const MOST: usize = 16;

pub(super) struct Cached {
    topic: String,
    /// Quality of service and RETAIN, as in the fixed header: permission depends on them.
    flags: u8,
    pub route: Arc<Route>,
    /// What the grant's own rules say. Not kept where a policy is asked: answers expire.
    pub allowed: Option<bool>,
}

/// One place at first; [`MOST`] once a second topic comes, each topic in a place of its own hash.
#[derive(Default)]
pub(super) struct RouteCache {
    places: Vec<Option<Cached>>,
    /// The place that was used last.
    last: usize,
}

fn place(topic: &str, flags: u8, places: usize) -> usize {
    // Spread, not secret: who makes them collide slows itself down to a look-up a run.
    let mut h = u64::from(flags);
    for chunk in topic.as_bytes().rchunks(8).take(4) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = (h ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    (h >> 7) as usize % places
}

impl RouteCache {
    pub(super) fn get(&mut self, topic: &str, flags: u8, router: &Router) -> Option<&Cached> {
        let places = self.places.len();
        let at = if places <= 1 { 0 } else { place(topic, flags, places) };
        self.last = at;
        let cached = self.places.get(at)?.as_ref()?;
        (cached.flags == flags && *cached.topic == *topic && router.is_current(&cached.route)).then_some(cached)
    }

    pub(super) fn put(&mut self, topic: &str, flags: u8, route: Arc<Route>, allowed: Option<bool>) {
        let same = |c: &Cached| c.flags == flags && *c.topic == *topic;
        match self.places.len() {
            0 => {
                self.places.reserve_exact(1);
                self.places.push(None);
            }
            1 if !self.places[0].as_ref().is_none_or(same) => self.places.resize_with(MOST, || None),
            _ => {}
        }
        let places = self.places.len();
        let at = if places == 1 { 0 } else { place(topic, flags, places) };
        self.last = at;
        match &mut self.places[at] {
            // Who goes through more topics than there are places does so at every message: the room of the name is kept.
            Some(old) => {
                old.topic.clear();
                old.topic.push_str(topic);
                *old = Cached { topic: std::mem::take(&mut old.topic), flags, route, allowed };
            }
            empty => *empty = Some(Cached { topic: topic.to_owned(), flags, route, allowed }),
        }
    }

    /// The route of the topic that was published to last.
    pub(super) fn last(&self) -> Option<&Route> {
        self.places.get(self.last)?.as_ref().map(|cached| &*cached.route)
    }

    pub(super) fn clear(&mut self) {
        self.places = Vec::new();
    }
}
