//! How cost grows: the same work with more of one thing, and nothing else changed.

use std::fmt::{self, Display, Formatter};

use portcullis_tests::{Transport, Version};

use crate::broker::{Front, RULES, Subject};
use crate::connects::Connects;
use crate::languages;
use crate::suite::Job;
use crate::work::{Pattern, Work};

/// One curve.
pub(crate) struct Series {
    pub(crate) key: &'static str,
    /// What grows.
    pub(crate) axis: &'static str,
    pub(crate) cost: &'static str,
    pub(crate) points: Vec<Point>,
}

/// One place of a curve, or one bar.
pub(crate) struct Point {
    pub(crate) x: Place,
    pub(crate) subject: Subject,
    pub(crate) job: Job,
}

/// Where a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Number(usize),
    /// In the order in which they are named.
    Name(&'static str),
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Series {
    /// The name of a point among the results.
    pub(crate) fn name(&self, x: Place) -> String {
        format!("{}/{x}", self.key)
    }
}

/// All curves; `most` cuts them off, for a run that is only to show that they work.
pub(crate) fn series(most: Option<usize>) -> Vec<Series> {
    let jwt = |rules| Subject::Gateway(Front::Jwt { rules });
    let messages = |xs: &[usize], work: &dyn Fn(usize) -> Work| {
        let point = |x: &usize| Point { x: Place::Number(*x), subject: jwt(RULES), job: Job::Messages(work(*x)) };
        xs.iter().filter(|x| most.is_none_or(|most| **x <= most)).map(point).collect::<Vec<_>>()
    };
    let pairs = || Work::new(Pattern::Pairs(50));
    let connects = || Job::Connects(Connects { transport: Transport::Tcp, version: Version::V311, at_a_time: 16 });
    let within = |x: &usize| most.is_none_or(|most| *x <= most);
    let mut all = vec![
        Series {
            key: "connections",
            axis: "connections, half of them publishing to the other half",
            cost: "CPU µs a message",
            points: messages(&[10, 100, 1_000, 5_000, 15_000], &|x| Work::new(Pattern::Pairs(x / 2)).window(16)),
        },
        Series {
            key: "subscriptions",
            axis: "subscriptions, half of them with a wildcard; messages go to all their topics in turn",
            cost: "CPU µs a message",
            points: messages(&[10, 100, 1_000, 10_000, 100_000, 1_000_000], &|x| {
                Work::new(Pattern::Pairs(10)).topics(x / 10)
            }),
        },
        Series {
            key: "payload",
            axis: "octets of payload",
            cost: "CPU µs a message",
            points: messages(&[16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144], &|x| {
                pairs().payload(x).window((4 * 1024 * 1024 / x as u64).clamp(2, 64))
            }),
        },
        Series {
            key: "fan-out",
            axis: "receivers of each message",
            cost: "CPU µs a delivery",
            points: messages(&[1, 10, 100, 1_000, 10_000], &|x| Work::new(Pattern::FanOut(x))),
        },
    ];
    let rules = [1, 10, 100, 1_000];
    all.push(Series {
        key: "rules",
        axis: "rules of each client's grant",
        cost: "CPU µs a message",
        points: rules
            .into_iter()
            .filter(within)
            .map(|x| Point { x: Place::Number(x), subject: jwt(x), job: Job::Messages(pairs()) })
            .collect(),
    });
    all.push(Series {
        key: "rules-connect",
        axis: "rules of each client's grant",
        cost: "CPU µs a connection",
        points: rules
            .into_iter()
            .filter(within)
            .map(|x| Point { x: Place::Number(x), subject: jwt(x), job: connects() })
            .collect(),
    });
    all.push(Series {
        key: "policies",
        axis: "policies in the chain, of which the last one decides",
        cost: "CPU µs a connection",
        points: [1, 2, 4, 8]
            .into_iter()
            .filter(within)
            .map(|x| Point { x: Place::Number(x), subject: Subject::Gateway(Front::Chain(x)), job: connects() })
            .collect(),
    });
    // Which have to be built first; a run that is only to show that it works asks for no compilers.
    if most.is_none() {
        let point = |language: languages::Language| Point {
            x: Place::Name(language.name),
            subject: Subject::Gateway(Front::Badge(language)),
            job: connects(),
        };
        all.push(Series {
            key: "languages",
            axis: "the example's policy, by the language that it is written in",
            cost: "CPU µs a connection",
            points: languages::ALL.into_iter().map(point).collect(),
        });
    }
    all
}
