//! What a gatekeeper was asked, question by question, about something that consists of many parts: a session that is to be
//! resumed or put under another grant, a packet with many filters. Each answer leads to the next question, and none of them may
//! have the grant look again at all parts before it.

use std::cell::Cell;
use std::collections::HashMap;

use portcullis_grant::Action;

use super::subscribe::Judged;

/// Answers about the subscriptions of a session, and its will.
#[derive(Default)]
pub(crate) struct Asked {
    answers: HashMap<Action, bool>,
    /// So many subscriptions were looked at, in the order in which the session has them.
    looked_at: Cell<usize>,
}

impl Asked {
    pub(super) fn insert(&mut self, action: Action, allowed: bool) {
        self.answers.insert(action, allowed);
    }

    /// Whether the answer was yes.
    pub(super) fn permits(&self, action: &Action) -> bool {
        self.answers.get(action) == Some(&true)
    }

    pub(super) fn has(&self, action: &Action) -> bool {
        self.answers.contains_key(action)
    }

    /// The first of these that is a question which nobody has answered, from where the last one was found. Those before it are
    /// looked at once more when there is none: a session may change while somebody is asked.
    pub(super) fn next<T>(
        &self,
        parts: impl Iterator<Item = T> + Clone,
        question: impl Fn(T) -> Option<Action>,
    ) -> Option<Action> {
        let begin = self.looked_at.get();
        let open = |part| question(part).filter(|action| !self.has(action));
        let at_place = |(at, part)| Some((at, open(part)?));
        let behind = parts.clone().enumerate().skip(begin).find_map(at_place);
        let (at, action) = behind.or_else(|| parts.enumerate().take(begin).find_map(at_place))?;
        self.looked_at.set(at);
        Some(action)
    }
}

/// Answers for the packet at hand that hold only for it.
#[derive(Default)]
pub(super) struct AtHand {
    pub answers: HashMap<Action, bool>,
    /// What its first filters come to, if it is SUBSCRIBE.
    pub judged: Vec<Judged>,
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use portcullis_grant::SubscriptionRequest;
    use portcullis_mqtt::QoS;

    use super::*;

    fn question(about: usize) -> Action {
        let filter = about.to_string();
        Action::Subscribe(SubscriptionRequest { filter, qos: QoS::AtMostOnce, share: None })
    }

    #[test]
    fn each_part_is_looked_at_a_few_times_however_many_there_are() {
        let (mut asked, looks) = (Asked::default(), Cell::new(0));
        let mut questions = Vec::new();
        let next = |asked: &Asked| {
            asked.next(0..1000, |part| {
                looks.set(looks.get() + 1);
                (part % 2 == 0).then(|| question(part))
            })
        };
        while let Some(action) = next(&asked) {
            questions.push(action.clone());
            asked.insert(action, true);
        }
        assert_eq!(questions, (0..1000).step_by(2).map(question).collect::<Vec<_>>());
        assert!(looks.get() <= 4000, "{} looks", looks.get());
    }

    #[test]
    fn so_it_is_where_all_that_was_passed_is_a_question_now() {
        let (mut asked, looks) = (Asked::default(), Cell::new(0));
        asked.looked_at.set(900);
        let mut questions = 0;
        let next = |asked: &Asked| {
            asked.next(0..1000, |part| {
                looks.set(looks.get() + 1);
                (part < 900).then(|| question(part))
            })
        };
        while let Some(action) = next(&asked) {
            questions += 1;
            asked.insert(action, true);
        }
        assert_eq!(questions, 900);
        assert!(looks.get() <= 4000, "{} looks", looks.get());
    }

    #[test]
    fn what_comes_to_be_a_question_behind_the_last_one_is_asked_too() {
        let (mut asked, late) = (Asked::default(), RefCell::new(false));
        let next =
            |asked: &Asked| asked.next(0..3, |part| (part == 2 || part == 0 && *late.borrow()).then(|| question(part)));
        assert_eq!(next(&asked), Some(question(2)));
        *late.borrow_mut() = true;
        asked.insert(question(2), true);
        assert_eq!(next(&asked), Some(question(0)));
        asked.insert(question(0), false);
        assert_eq!(next(&asked), None);
        assert!(asked.permits(&question(2)) && !asked.permits(&question(0)));
    }
}
