//! What a client may or may not do, in the words of a case: `publish TOPIC qos 1`.

use portcullis_grant::{Action, Publication, SubscriptionRequest};
use portcullis_mqtt::QoS;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::problem::Problems;
use crate::config::reader::{Read, mismatch};

/// Something that a client may or may not do.
#[derive(Clone, Debug)]
pub(in crate::cli::desk) enum Deed {
    /// Publish, subscribe, have a will.
    Act(String, Action),
    /// Be delivered a message of this topic.
    Receive(String, String),
}

impl Deed {
    /// As the case writes it.
    pub(in crate::cli::desk) fn words(&self) -> &str {
        match self {
            Self::Act(words, _) | Self::Receive(words, _) => words,
        }
    }

    /// `publish TOPIC [qos N] [retain] [will]`, `subscribe FILTER [qos N]`, `receive TOPIC`.
    fn parse(text: &str) -> Option<Self> {
        let (verb, mut rest) = text.split_once(' ')?;
        let (mut qos, mut retain, mut will) = (QoS::AtMostOnce, false, false);
        while let Some((before, word)) = rest.rsplit_once(' ') {
            match word {
                "retain" => retain = true,
                "will" => will = true,
                "0" | "1" | "2" if before.ends_with(" qos") => {
                    qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(word.as_bytes()[0] - b'0')];
                    rest = before.strip_suffix(" qos")?;
                    continue;
                }
                _ => break,
            }
            rest = before;
        }
        let action = match verb {
            "publish" => {
                portcullis_mqtt::topic::valid_topic_name(rest).ok()?;
                Action::Publish(Publication { topic: rest.to_owned(), qos, retain, will, size: 0 })
            }
            "subscribe" => {
                portcullis_mqtt::topic::valid_topic_filter(rest).ok()?;
                Action::Subscribe(SubscriptionRequest { filter: rest.to_owned(), qos, share: None })
            }
            "receive" => return Some(Self::Receive(text.to_owned(), rest.to_owned())),
            _ => return None,
        };
        Some(Self::Act(text.to_owned(), action))
    }
}

impl Read for Deed {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read = value.get_ref().as_str().and_then(Self::parse);
        if read.is_none() {
            let problem = mismatch(value, "something that a client does");
            problems.add(problem.help(
                "write \"publish TOPIC\" with \"qos 1\", \"retain\" and \"will\" behind it, \"subscribe FILTER\", or \"receive TOPIC\"",
            ));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_read_from_behind() {
        let words = "publish a b/c qos 1 retain";
        let Some(Deed::Act(_, Action::Publish(publication))) = Deed::parse(words) else { panic!("{words}") };
        assert_eq!(
            (publication.topic.as_str(), publication.qos, publication.retain),
            ("a b/c", QoS::AtLeastOnce, true)
        );
        for wrong in ["", "publish", "publish a/#", "subscribe a#", "watch a", "publish a/+ qos 1"] {
            assert!(Deed::parse(wrong).is_none(), "{wrong}");
        }
    }
}
