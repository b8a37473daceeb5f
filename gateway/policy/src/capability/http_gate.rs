//! How much a policy may ask of other servers: requests and octets of one call, requests a second, requests under way.
//!
//! A request outlives the call that wanted it when others may share its answer, so that the bound on a call's time is none
//! on them: those under way are bounded by themselves, or a server that never answers would cost the gateway a connection
//! for each login.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bindings::portcullis::policy::http_client::{Error, HttpResponse, Request};
use crate::spec::PolicyLimits;
use crate::uses::{HttpOutcome, Limit, Uses};

/// The gate of one generation.
#[derive(Debug)]
pub(crate) struct HttpGate {
    requests: u32,
    bytes: u64,
    rate: u32,
    open: u32,
    /// Requests that may begin now, and since when.
    bucket: Mutex<(f64, Instant)>,
    places: Arc<Semaphore>,
    uses: Arc<Uses>,
}

/// What one call has used of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    requests: u32,
    bytes: u64,
}

impl HttpGate {
    pub(crate) fn new(limits: &PolicyLimits, uses: Arc<Uses>) -> Self {
        Self {
            requests: limits.http_requests,
            bytes: limits.http_bytes,
            rate: limits.http_rate,
            open: limits.http_open,
            bucket: Mutex::new((f64::from(limits.http_rate), Instant::now())),
            places: Arc::new(Semaphore::new(limits.http_open as usize)),
            uses,
        }
    }

    /// Counts a request of a call.
    pub(crate) fn ask(&self, spent: &mut Spent, request: &Request) -> Result<(), Error> {
        spent.requests = spent.requests.saturating_add(1);
        if spent.requests > self.requests {
            return self.refuse(Limit::HttpRequests, format!("{} a call", self.requests));
        }
        self.spend(spent, octets(&request.headers, &request.body) + request.url.len() as u64)
    }

    /// Counts a response of a call.
    pub(crate) fn answered(&self, spent: &mut Spent, response: &HttpResponse) -> Result<(), Error> {
        self.spend(spent, octets(&response.headers, &response.body))
    }

    fn spend(&self, spent: &mut Spent, octets: u64) -> Result<(), Error> {
        spent.bytes = spent.bytes.saturating_add(octets);
        if spent.bytes > self.bytes {
            return self.refuse(Limit::HttpBytes, format!("{} octets a call", self.bytes));
        }
        Ok(())
    }

    /// Lets a request go out. It is under way for as long as the place is held.
    pub(crate) fn go(&self) -> Result<OwnedSemaphorePermit, Error> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.refuse(Limit::HttpOpen, format!("{} under way", self.open));
        };
        if self.admit(Instant::now()) { Ok(place) } else { self.refuse(Limit::HttpRate, format!("{}/s", self.rate)) }
    }

    fn admit(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let rate = f64::from(self.rate);
        let since = now.saturating_duration_since(bucket.1).as_secs_f64();
        *bucket = ((bucket.0 + since * rate).min(rate), now);
        let may = bucket.0 >= 1.0;
        if may {
            bucket.0 -= 1.0;
        }
        may
    }

    fn refuse<T>(&self, limit: Limit, bound: String) -> Result<T, Error> {
        self.uses.requested(HttpOutcome::Refused);
        Err(Error::Other(self.uses.hit(limit, bound)))
    }
}

fn octets(headers: &[(String, String)], body: &[u8]) -> u64 {
    (headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + body.len()) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gate() -> HttpGate {
        let limits =
            PolicyLimits { http_requests: 2, http_bytes: 100, http_rate: 3, http_open: 2, ..PolicyLimits::default() };
        HttpGate::new(&limits, Arc::new(Uses::new("p".into())))
    }

    fn request(body: usize) -> Request {
        Request {
            method: "GET".into(),
            url: "http://a/".into(),
            headers: Vec::new(),
            body: vec![0; body],
            timeout_ms: None,
        }
    }

    fn words<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
        match refused {
            Err(Error::Other(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_has_so_many_requests_and_octets() {
        let gate = gate();
        let mut spent = Spent::default();
        assert!(gate.ask(&mut spent, &request(0)).is_ok());
        assert!(words(gate.ask(&mut spent, &request(100))).contains("`http-bytes` of 100 octets a call"));
        assert!(words(gate.ask(&mut spent, &request(0))).contains("`http-requests` of 2 a call"));
        assert!(gate.ask(&mut Spent::default(), &request(0)).is_ok(), "another call has its own");
    }

    #[test]
    fn so_many_are_under_way_and_begin_in_a_second() {
        let gate = gate();
        let held = (gate.go().expect("a place"), gate.go().expect("a place"));
        assert!(words(gate.go()).contains("`http-open` of 2 under way"));
        drop(held);
        assert!(gate.go().is_ok());
        assert!(words(gate.go()).contains("`http-rate` of 3/s"));
        assert!(gate.admit(Instant::now() + Duration::from_secs(1)));
    }
}
