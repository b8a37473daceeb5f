//! Putting versions of a policy in place, and going back to one that was live before.
//!
//! What is put in place is written down first: a crash at any moment leaves either the one or the other.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::assemble::Gateway;
use crate::config::PolicyEntry;
use crate::policies::{self, Candidate, Policies, PolicyError, Swapped};
use crate::reload;
use crate::supply::{Component, How, Supply, short};

impl Gateway {
    /// What gets components for the configuration in force.
    pub(crate) fn supply(&self) -> Supply {
        Supply::new(&self.config.load(), Some(self.archive.clone()))
    }

    /// The entry of a policy in use, as the configuration in force has it.
    pub(crate) fn entry(&self, name: &str) -> Result<PolicyEntry, PolicyError> {
        let unknown = || PolicyError::Unknown(name.to_owned());
        self.policies.load().get(name).ok_or_else(unknown)?;
        policies::entry(&self.config.load(), name).ok_or_else(unknown)
    }

    /// Loads a component aside.
    pub(crate) async fn try_out(&self, entry: PolicyEntry, component: Component) -> Result<Candidate, PolicyError> {
        let name = entry.name.value.clone();
        let loaded = Policies::load_resolved(&self.host, vec![(entry, Ok(component))]).await.into_iter().next();
        loaded.unwrap_or(Err(PolicyError::Interrupted(name)))
    }

    /// Puts one candidate in place, and tells whom it concerns.
    pub(crate) fn put(self: &Arc<Self>, candidate: Candidate) -> Swapped {
        let mut policies = Policies::clone(&self.policies.load());
        let swapped = policies.put(candidate);
        self.policies.store(Arc::new(policies));
        self.tell(&swapped);
        tracing::info!("{}", reload::words(&swapped));
        self.watch_fresh(&swapped);
        swapped
    }

    /// Goes back to a version that was live before: to the one that is named by the beginning of its digest, or to the one
    /// that was live last. It gets the configuration and `allow` of the entry as they are now.
    ///
    /// # Errors
    /// There is none, or it is not fit to go live with the entry of now. What is live stays.
    pub(crate) async fn roll_back(self: &Arc<Self>, name: &str, digest: Option<&str>) -> Result<Swapped, PolicyError> {
        let _turn = self.changing.lock().await;
        let entry = self.entry(name)?;
        let live = self.live_digest(name)?;
        let target = self.kept(name, digest, &live).await?;
        if target == *live {
            let why = format!("version {} is live already", short(&target));
            return Err(PolicyError::Refused { name: name.to_owned(), why });
        }
        let supply = self.supply();
        let component = supply.version(&entry, &target).await?;
        let source = self.source_of(name)?;
        let candidate = self.try_out(entry, component.standing_in(How::RolledBack, source)).await?;
        candidate.note(&self.archive, None).await?;
        Ok(self.put(candidate))
    }

    /// The whole digest of the version that is meant.
    async fn kept(&self, name: &str, digest: Option<&str>, live: &str) -> Result<String, PolicyError> {
        let record = self.archive.record(name).await;
        let known: Vec<_> = record.versions.iter().map(|version| version.digest.as_str()).collect();
        let refused = |why: String| Err(PolicyError::Refused { name: name.to_owned(), why });
        let Some(digest) = digest else {
            return match known.iter().find(|known| **known != live) {
                Some(before) => Ok((*before).to_owned()),
                None => refused("no version was live before this one, as far as is known".to_owned()),
            };
        };
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
        let found: Vec<_> = known.iter().filter(|known| known.starts_with(&digest)).collect();
        match found[..] {
            [one] if digest.len() >= 4 => Ok((**one).to_owned()),
            [] => Err(PolicyError::Version {
                name: name.to_owned(),
                digest: short(&digest).to_owned(),
                why: format!("it is not kept; `portcullis policy versions {name}` lists what is"),
            }),
            _ => refused(format!("{digest:?} does not name one version; give more of its digest")),
        }
    }

    /// Digest of what is live.
    pub(crate) fn live_digest(&self, name: &str) -> Result<Arc<str>, PolicyError> {
        let policies = self.policies.load();
        let policy = policies.get(name).ok_or_else(|| PolicyError::Unknown(name.to_owned()))?;
        Ok(Arc::clone(&policy.current().stamp().digest))
    }

    /// Digest of what the policy's source had when it was read last.
    pub(crate) fn source_of(&self, name: &str) -> Result<Arc<str>, PolicyError> {
        let standing = self.policies.load().standing(name);
        standing.map(|(_, standing)| standing.source).ok_or_else(|| PolicyError::Unknown(name.to_owned()))
    }

    /// The versions of a policy, as they are shown.
    pub(crate) async fn versions(&self, name: &str) -> Result<Value, PolicyError> {
        let entry = self.entry(name)?;
        let live = self.live_digest(name)?;
        let policies = self.policies.load_full();
        let unknown = || PolicyError::Unknown(name.to_owned());
        let (_, standing) = policies.standing(name).ok_or_else(unknown)?;
        let generation = policies.get(name).ok_or_else(unknown)?.current();
        let record = self.archive.record(name).await;
        let mut items: Vec<_> = record
            .versions
            .iter()
            .map(|version| {
                json!({
                    "digest": version.digest,
                    "live": *version.digest == *live,
                    "since": version.since,
                    "how": version.how,
                    "octets": version.octets,
                    "origin": version.origin,
                    "taken_back": record.was_taken_back(&version.digest),
                })
            })
            .collect();
        if items.iter().all(|item| item["live"] != true) {
            let first = json!({
                "digest": &*live,
                "live": true,
                "since": standing.since,
                "how": standing.how,
                "octets": generation.octets(),
                "origin": generation.origin(),
                "taken_back": null,
            });
            items.insert(0, first);
        }
        Ok(json!({
            "name": name,
            "live": &*live,
            "source": entry.source.value.words(),
            "source_digest": &*standing.source,
            "stands_in": *standing.source != *live,
            "taken_back": record.taken_back,
            "items": items,
        }))
    }
}
