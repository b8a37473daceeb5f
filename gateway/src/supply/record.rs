//! What is remembered of one policy's versions: one small file, replaced whole, so that a crash leaves the old one or the
//! new one.

use serde::{Deserialize, Serialize};

use super::short;

/// Digests that are remembered as rolled back by themselves.
const BARRED: usize = 16;

/// How a version came to be live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// The configured source has it.
    Source,
    /// It was a shadow, and an operator promoted it.
    Promoted,
    /// An operator went back to it.
    RolledBack,
    /// The gateway went back to it, since the version after it did not stand up.
    RolledBackAutomatically,
}

impl How {
    /// For a sentence: "it was …".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Source => "taken from its source",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back to",
            Self::RolledBackAutomatically => "rolled back to automatically",
        }
    }
}

/// One version that is or was live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// SHA-256 of the component.
    pub(crate) digest: String,
    /// Where it came from.
    pub(crate) origin: String,
    /// Octets.
    pub(crate) octets: u64,
    /// Since when it was live last, in seconds since 1970.
    pub(crate) since: u64,
    /// How it came to be live then.
    pub(crate) how: How,
}

/// A version that the gateway itself took back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenBack {
    /// Its digest.
    pub(crate) digest: String,
    /// When, in seconds since 1970.
    pub(crate) at: u64,
    /// Why, as a sentence.
    pub(crate) why: String,
}

/// What is remembered of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digest of the version that is live.
    pub(crate) live: Option<String>,
    /// Digest of the source's content that it stands in for. None: it is the source's content.
    pub(crate) stands_in_for: Option<String>,
    /// Versions that are kept, the one that was live last first.
    pub(crate) versions: Vec<Version>,
    /// Versions that are not taken up again from the source, the latest first.
    #[serde(default)]
    pub(crate) taken_back: Vec<TakenBack>,
}

impl Record {
    /// The version that is to be live instead of this content of the source, if there is one.
    pub(crate) fn instead_of(&self, source: &str) -> Option<&str> {
        let live = self.live.as_deref().filter(|live| *live != source)?;
        let stands = self.stands_in_for.as_deref() == Some(source);
        (stands || self.was_taken_back(source).is_some()).then_some(live)
    }

    /// When and why this version was taken back by the gateway itself.
    pub(crate) fn was_taken_back(&self, digest: &str) -> Option<&TakenBack> {
        self.taken_back.iter().find(|taken| taken.digest == digest)
    }

    /// The live version and how it came to be so, if it stands in for something.
    pub(crate) fn stood_in(&self) -> Option<(&str, How)> {
        self.stands_in_for.as_ref()?;
        let live = self.live.as_deref()?;
        Some((live, self.how(live)))
    }

    /// How a version came to be live.
    pub(crate) fn how(&self, digest: &str) -> How {
        self.versions.iter().find(|version| version.digest == digest).map_or(How::Source, |version| version.how)
    }

    /// Why a version stands in for this content of the source.
    pub(crate) fn words_for(&self, source: &str, live: &str) -> String {
        let mut words = format!(
            "version {} was {} and stays live until the content of its source ({}) changes",
            short(live),
            self.how(live).words(),
            short(source)
        );
        if let Some(taken) = self.was_taken_back(source) {
            words.push_str(&format!(
                ", which was taken back because {}; insist with `portcullis policy reload NAME --source`",
                taken.why
            ));
        }
        words
    }

    /// Puts a version in the first place. Returns what is no longer kept.
    pub(crate) fn goes_live(&mut self, version: Version, source: &str, keep: usize, octets: u64) -> Vec<Version> {
        self.stands_in_for = (version.digest != source).then(|| source.to_owned());
        if version.how != How::RolledBackAutomatically {
            // Whoever puts it in place now insists.
            self.taken_back.retain(|taken| taken.digest != version.digest);
        }
        self.live = Some(version.digest.clone());
        self.versions.retain(|other| other.digest != version.digest);
        self.versions.insert(0, version);
        let mut room = octets;
        let fits = |(index, version): (usize, &Version)| {
            room = room.saturating_sub(version.octets);
            // The live one and the one before are kept whatever their size: there must be a way back.
            index < 2 || (index < keep && room > 0)
        };
        let kept = self.versions.iter().enumerate().map(fits).take_while(|fits| *fits).count().min(keep.max(1));
        self.versions.split_off(kept)
    }

    /// Remembers a version as taken back.
    pub(crate) fn takes_back(&mut self, taken: TakenBack) {
        self.taken_back.retain(|other| other.digest != taken.digest);
        self.taken_back.insert(0, taken);
        self.taken_back.truncate(BARRED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str, how: How) -> Version {
        Version { digest: digest.to_owned(), origin: "x.wasm".to_owned(), octets: 10, since: 1, how }
    }

    #[test]
    fn what_stands_in_does_so_for_one_content_of_the_source() {
        let mut record = Record::default();
        record.goes_live(version("a", How::Source), "a", 5, 1000);
        assert_eq!(record.instead_of("a"), None);
        record.goes_live(version("b", How::Promoted), "a", 5, 1000);
        assert_eq!(record.instead_of("a"), Some("b"));
        assert_eq!(record.instead_of("c"), None, "the source has changed");
        record.goes_live(version("c", How::Source), "c", 5, 1000);
        assert_eq!((record.stands_in_for.as_deref(), record.instead_of("a")), (None, None));
    }

    #[test]
    fn what_was_taken_back_is_not_taken_up_again_unless_somebody_insists() {
        let mut record = Record::default();
        record.goes_live(version("good", How::Source), "good", 5, 1000);
        record.goes_live(version("bad", How::Source), "bad", 5, 1000);
        record.takes_back(TakenBack { digest: "bad".to_owned(), at: 1, why: "it trapped".to_owned() });
        record.goes_live(version("good", How::RolledBackAutomatically), "bad", 5, 1000);
        assert_eq!(record.instead_of("bad"), Some("good"));
        record.goes_live(version("other", How::Source), "other", 5, 1000);
        assert_eq!(record.instead_of("bad"), Some("other"), "however often it comes back");
        record.goes_live(version("bad", How::Source), "bad", 5, 1000);
        assert_eq!(record.instead_of("bad"), None);
    }

    #[test]
    fn so_many_are_kept_and_so_large() {
        let mut record = Record::default();
        for digest in ["a", "b", "c", "d"] {
            record.goes_live(version(digest, How::Source), digest, 3, 1000);
        }
        let kept = |record: &Record| record.versions.iter().map(|version| version.digest.clone()).collect::<String>();
        assert_eq!(kept(&record), "dcb");
        let gone = record.goes_live(version("e", How::Source), "e", 3, 25);
        assert_eq!((kept(&record).as_str(), gone.len()), ("ed", 2), "thirty octets are more than may be kept");
        record.goes_live(version("f", How::Source), "f", 3, 15);
        assert_eq!(kept(&record), "fe", "there is always a way back");
    }
}
