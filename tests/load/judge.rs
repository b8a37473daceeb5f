//! Whether what came is what was to come: nothing lost, nothing twice, nothing out of order, nothing to the wrong one.

use std::ops::AddAssign;

/// What was wrong. All zeros: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) reordered: u64,
    pub(crate) misdelivered: u64,
    /// Refused by an answer of the broker, or told to go.
    pub(crate) refused: u64,
    /// Published at QoS 1 or 2 and never acknowledged.
    pub(crate) unacknowledged: u64,
}

impl Wrong {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Wrong {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.twice += other.twice;
        self.reordered += other.reordered;
        self.misdelivered += other.misdelivered;
        self.refused += other.refused;
        self.unacknowledged += other.unacknowledged;
    }
}

/// What one receiver has got of one publisher.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The sequence number that is next.
    next: u32,
    /// Which of the 64 numbers before it have not come.
    missing: u64,
}

/// What one receiver has got of a range of publishers, each of whose messages it is to get.
#[derive(Debug)]
pub(crate) struct Reception {
    first: u32,
    progress: Vec<Progress>,
    wrong: Wrong,
}

impl Reception {
    pub(crate) fn of(publishers: std::ops::Range<u32>) -> Self {
        let progress = vec![Progress::default(); publishers.len()];
        Self { first: publishers.start, progress, wrong: Wrong::default() }
    }

    /// False: it is not for this receiver.
    pub(crate) fn take(&mut self, publisher: u32, sequence: u32) -> bool {
        let Some(progress) = publisher.checked_sub(self.first).and_then(|index| self.progress.get_mut(index as usize))
        else {
            self.wrong.misdelivered += 1;
            return false;
        };
        if sequence == progress.next {
            (progress.next, progress.missing) = (sequence + 1, progress.missing << 1);
            return true;
        }
        if sequence > progress.next {
            let gap = sequence - progress.next;
            self.wrong.lost += u64::from(gap);
            // The numbers that were left out are the youngest but for this one.
            let left_out = if gap >= 63 { u64::MAX } else { (1 << gap) - 1 };
            progress.missing = progress.missing.checked_shl(gap + 1).unwrap_or(0) | left_out << 1;
            progress.next = sequence + 1;
            return true;
        }
        let back = progress.next - 1 - sequence;
        if back < 64 && progress.missing >> back & 1 == 1 {
            progress.missing &= !(1 << back);
            self.wrong.lost -= 1;
            self.wrong.reordered += 1;
        } else {
            self.wrong.twice += 1;
        }
        true
    }

    /// The verdict, when so many messages of each publisher were to come.
    pub(crate) fn judge(&self, sent: impl Fn(u32) -> u32) -> Wrong {
        let mut wrong = self.wrong;
        for (index, progress) in self.progress.iter().enumerate() {
            let tail = sent(self.first + index as u32).saturating_sub(progress.next);
            wrong.lost += u64::from(tail);
        }
        wrong
    }
}

/// What the members of a shared subscription have got together: each message once, by whichever of them. Each member's
/// own are in order.
#[derive(Debug)]
pub(crate) struct Group {
    /// Of each publisher: how many came, and the sum of something that each number has for itself.
    came: Vec<(u64, u64)>,
}

impl Group {
    pub(crate) fn of(publishers: u32) -> Self {
        Self { came: vec![(0, 0); publishers as usize] }
    }

    pub(crate) fn take(&mut self, publisher: u32, sequence: u32) {
        if let Some((count, sum)) = self.came.get_mut(publisher as usize) {
            *count += 1;
            *sum = sum.wrapping_add(mark(sequence));
        }
    }

    pub(crate) fn judge(&self, sent: impl Fn(u32) -> u32) -> Wrong {
        let mut wrong = Wrong::default();
        for (publisher, (count, sum)) in self.came.iter().enumerate() {
            let sent = sent(publisher as u32);
            let whole = (0..sent).fold(0u64, |sum, sequence| sum.wrapping_add(mark(sequence)));
            if *count < u64::from(sent) {
                wrong.lost += u64::from(sent) - count;
            } else if *count > u64::from(sent) || *sum != whole {
                wrong.twice += (*count).saturating_sub(u64::from(sent)).max(1);
            }
        }
        wrong
    }
}

/// A member of a group sees a part of the numbers of each publisher, in order.
#[derive(Debug)]
pub(crate) struct Share {
    next: Vec<u32>,
    pub(crate) wrong: Wrong,
}

impl Share {
    pub(crate) fn of(publishers: u32) -> Self {
        Self { next: vec![0; publishers as usize], wrong: Wrong::default() }
    }

    pub(crate) fn take(&mut self, publisher: u32, sequence: u32) -> bool {
        let Some(next) = self.next.get_mut(publisher as usize) else {
            self.wrong.misdelivered += 1;
            return false;
        };
        if sequence < *next {
            self.wrong.reordered += 1;
        } else {
            *next = sequence + 1;
        }
        true
    }
}

/// A number's own mark: sums of them are the same by chance only.
fn mark(sequence: u32) -> u64 {
    let mixed = (u64::from(sequence) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(numbers: &[u32], sent: u32) -> Wrong {
        let mut reception = Reception::of(3..4);
        for number in numbers {
            assert!(reception.take(3, *number));
        }
        reception.judge(|_| sent)
    }

    #[test]
    fn each_kind_of_wrong_is_told_from_the_others() {
        assert_eq!(verdict(&[0, 1, 2, 3], 4), Wrong::default());
        assert_eq!(verdict(&[0, 1, 3], 4), Wrong { lost: 1, ..Wrong::default() });
        assert_eq!(verdict(&[0, 1], 4), Wrong { lost: 2, ..Wrong::default() });
        assert_eq!(verdict(&[0, 1, 1, 2], 3), Wrong { twice: 1, ..Wrong::default() });
        assert_eq!(verdict(&[0, 2, 1, 3], 4), Wrong { reordered: 1, ..Wrong::default() });
        assert_eq!(verdict(&[0, 3, 2, 1, 1, 4], 5), Wrong { reordered: 2, twice: 1, ..Wrong::default() });
        assert_eq!(verdict(&[0, 200, 201, 200], 202), Wrong { lost: 199, twice: 1, ..Wrong::default() });
        assert!(!Reception::of(3..4).take(2, 0));
        assert!(!Reception::of(3..4).take(4, 0));
    }

    #[test]
    fn a_group_gets_each_message_once() {
        let verdict = |numbers: &[u32]| {
            let mut group = Group::of(1);
            numbers.iter().for_each(|number| group.take(0, *number));
            group.judge(|_| 4)
        };
        assert!(verdict(&[1, 0, 3, 2]).is_none());
        assert_eq!(verdict(&[0, 1, 2]).lost, 1);
        assert_eq!(verdict(&[0, 1, 2, 2]).twice, 1);
        assert_eq!(verdict(&[0, 1, 2, 2, 3]).twice, 1);
        let mut share = Share::of(1);
        assert!(share.take(0, 1) && share.take(0, 0));
        assert_eq!(share.wrong.reordered, 1);
    }
}
