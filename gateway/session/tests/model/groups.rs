//! Shared subscriptions: which delivery may have come from which group, and whether one was left out.

use std::collections::BTreeMap;

use super::client::Expected;

/// Where one message goes by shared subscriptions: each group has it given to one of its candidates. Which group it was
/// that a client got it from cannot always be told.
#[derive(Default)]
pub(crate) struct ToGroups {
    pub(crate) groups: Vec<BTreeMap<usize, Expected>>,
    /// For each delivery the groups that it may have come from.
    pub(crate) received: Vec<Vec<usize>>,
}

impl ToGroups {
    /// Notes a delivery to `client`. False: no group has given it, whichever gave the others.
    pub(crate) fn receive(&mut self, client: usize, fits: impl Fn(&Expected) -> bool) -> bool {
        let from = (0..self.groups.len()).filter(|g| self.groups[*g].get(&client).is_some_and(&fits)).collect();
        self.received.push(from);
        self.assigned(&self.received, self.groups.len()) == self.received.len()
    }

    /// How many of the groups the client was in.
    pub(crate) fn with(&self, client: usize) -> usize {
        self.groups.iter().filter(|group| group.contains_key(&client)).count()
    }

    /// Whether no group was left out that had to give it to somebody.
    pub(crate) fn complete(&self) -> bool {
        let due = (0..self.groups.len()).filter(|g| self.groups[*g].values().all(|e| e.must));
        let came = |g: usize| (0..self.received.len()).filter(|r| self.received[*r].contains(&g)).collect();
        let due: Vec<Vec<usize>> = due.map(came).collect();
        self.assigned(&due, self.received.len()) == due.len()
    }

    /// How many of `from` can have a place of their own among those that each may have.
    fn assigned(&self, from: &[Vec<usize>], places: usize) -> usize {
        fn place(at: usize, from: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
            from[at].iter().any(|p| {
                if std::mem::replace(&mut tried[*p], true) {
                    return false;
                }
                let free = taken[*p].is_none_or(|other| place(other, from, taken, tried));
                if free {
                    taken[*p] = Some(at);
                }
                free
            })
        }
        let mut taken = vec![None; places];
        (0..from.len()).filter(|at| place(*at, from, &mut taken, &mut vec![false; places])).count()
    }

    /// Nobody can tell any more whether it has to arrive.
    pub(crate) fn excuse(&mut self, mut which: impl FnMut(&BTreeMap<usize, Expected>) -> bool) {
        for group in self.groups.iter_mut().filter(|g| which(g)) {
            group.values_mut().for_each(|e| e.must = false);
        }
    }
}
