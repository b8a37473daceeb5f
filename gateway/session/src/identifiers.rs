//! A set of packet identifiers, for those of QoS 2 messages that are not released yet.
//!
//! Clients count upwards, so that what is in the set at one time lies close together: a word of 64 bits for each stretch
//! of identifiers that has any, in order. A look-up is a comparison then and no hash, twice a message.

/// See the module's description. One word until something is put in.
#[derive(Debug, Default)]
pub(crate) struct Identifiers(Option<Box<Set>>);

#[derive(Debug, Default)]
struct Set {
    /// By the identifiers' upper ten bits, ascending; no word is 0.
    stretches: Vec<(u16, u64)>,
    len: u32,
}

impl Set {
    fn find(&self, stretch: u16) -> Result<usize, usize> {
        // The last one nearly always, or just behind it.
        match self.stretches.last() {
            None => Err(0),
            Some((last, _)) if *last == stretch => Ok(self.stretches.len() - 1),
            Some((last, _)) if *last < stretch => Err(self.stretches.len()),
            Some(_) => self.stretches.binary_search_by_key(&stretch, |(at, _)| *at),
        }
    }

    fn contains(&self, id: u16) -> bool {
        self.find(id >> 6).ok().and_then(|at| self.stretches.get(at)).is_some_and(|(_, word)| word & bit(id) != 0)
    }

    fn insert(&mut self, id: u16) -> bool {
        let at = self.find(id >> 6).unwrap_or_else(|at| {
            self.stretches.insert(at, (id >> 6, 0));
            at
        });
        let Some((_, word)) = self.stretches.get_mut(at) else { return false };
        let new = *word & bit(id) == 0;
        *word |= bit(id);
        self.len += u32::from(new);
        new
    }

    fn remove(&mut self, id: u16) -> bool {
        let Ok(at) = self.find(id >> 6) else { return false };
        let Some((_, word)) = self.stretches.get_mut(at) else { return false };
        let was_there = *word & bit(id) != 0;
        *word &= !bit(id);
        self.len -= u32::from(was_there);
        if *word == 0 {
            self.stretches.remove(at);
        }
        was_there
    }
}

impl Identifiers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.len as usize)
    }

    pub(crate) fn contains(&self, id: u16) -> bool {
        self.0.as_ref().is_some_and(|set| set.contains(id))
    }

    /// False: it was there.
    pub(crate) fn insert(&mut self, id: u16) -> bool {
        self.0.get_or_insert_default().insert(id)
    }

    /// False: it was not there.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        self.0.as_mut().is_some_and(|set| set.remove(id))
    }
}

impl Extend<u16> for Identifiers {
    fn extend<T: IntoIterator<Item = u16>>(&mut self, ids: T) {
        for id in ids {
            self.insert(id);
        }
    }
}

fn bit(id: u16) -> u64 {
    1 << (id & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), prop_oneof![0..200u16, any::<u16>()]), 0..400)) {
            let (mut set, mut model) = (Identifiers::default(), BTreeSet::new());
            for (add, id) in steps {
                prop_assert_eq!(set.contains(id), model.contains(&id));
                if add {
                    prop_assert_eq!(set.insert(id), model.insert(id));
                } else {
                    prop_assert_eq!(set.remove(id), model.remove(&id));
                }
                prop_assert_eq!(set.len(), model.len());
                let stretches = set.0.as_ref().map_or(&[][..], |set| &set.stretches);
                prop_assert!(stretches.is_sorted_by(|a, b| a.0 < b.0));
                prop_assert!(stretches.iter().all(|(_, word)| *word != 0));
            }
        }
    }
}
