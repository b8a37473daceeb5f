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

/// Nothing until something is published: one word in each idle connection.
#[derive(Default)]
pub(super) struct RouteCache(Option<Box<Places>>);

/// One place at first; [`MOST`] once a second topic comes, each topic in a place of its own hash.
enum Places {
    One(Cached),
    Many {
        places: Box<[Option<Cached>]>,
        /// The place that was used last.
        last: usize,
    },
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

impl Cached {
    fn is_of(&self, topic: &str, flags: u8) -> bool {
        self.flags == flags && *self.topic == *topic
    }

    /// Who goes through more topics than there are places does so at every message: the room of the name is kept.
    fn put(&mut self, topic: &str, flags: u8, route: Arc<Route>, allowed: Option<bool>) {
        self.topic.clear();
        self.topic.push_str(topic);
        (self.flags, self.route, self.allowed) = (flags, route, allowed);
    }
}

impl RouteCache {
    pub(super) fn get(&mut self, topic: &str, flags: u8, router: &Router) -> Option<&Cached> {
        let cached = match self.0.as_deref_mut()? {
            Places::One(cached) => &*cached,
            Places::Many { places, last } => {
                *last = place(topic, flags, places.len());
                places.get(*last)?.as_ref()?
            }
        };
        (cached.is_of(topic, flags) && router.is_current(&cached.route)).then_some(cached)
    }

    pub(super) fn put(&mut self, topic: &str, flags: u8, route: Arc<Route>, allowed: Option<bool>) {
        let new = |route| Cached { topic: topic.to_owned(), flags, route, allowed };
        let Some(cache) = self.0.as_deref_mut() else {
            self.0 = Some(Box::new(Places::One(new(route))));
            return;
        };
        if let Places::One(old) = cache {
            if old.is_of(topic, flags) {
                return old.put(topic, flags, route, allowed);
            }
            *cache = Places::Many { places: (0..MOST).map(|_| None).collect(), last: 0 };
        }
        let Places::Many { places, last } = cache else { return };
        *last = place(topic, flags, places.len());
        match places.get_mut(*last) {
            Some(Some(old)) => old.put(topic, flags, route, allowed),
            Some(empty) => *empty = Some(new(route)),
            None => {}
        }
    }

    /// The route of the topic that was published to last.
    pub(super) fn last(&self) -> Option<&Route> {
        let cached = match self.0.as_deref()? {
            Places::One(cached) => Some(cached),
            Places::Many { places, last } => places.get(*last)?.as_ref(),
        };
        cached.map(|cached| &*cached.route)
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
