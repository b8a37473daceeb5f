//! A version that has just gone live is on probation: if it fails, or refuses more than the one before it did, the gateway
//! goes back to that one by itself.
//!
//! What was taken back is not taken up again from the source before that changes or somebody insists.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_policy::{Policy, Score};
use portcullis_session::unix_now;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::assemble::Gateway;
use crate::audit::Decision;
use crate::config::Rollback;
use crate::policies::{PolicyError, Swapped};
use crate::supply::{How, TakenBack, short};

/// How often a version on probation is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Logins of each of the two versions without which their shares of refusals say nothing.
const ENOUGH: u64 = 20;

/// Automatic roll-backs since the start, by policy.
pub(crate) type RollBacks = Mutex<HashMap<String, u64>>;

impl Gateway {
    /// Puts the version on probation that a swap has put in place, if it is a fresh one.
    pub(crate) fn watch_fresh(self: &Arc<Self>, swapped: &Swapped) {
        let is_fresh = matches!(swapped.how, How::Source | How::Promoted)
            && swapped.before.as_ref().is_some_and(|before| *before != swapped.now);
        let rule = self.entry(&swapped.name).ok().and_then(|entry| entry.rollback);
        if let Some(rule) = rule.filter(|_| is_fresh) {
            let before = swapped.score_before;
            self.begin_probation(swapped.name.clone(), Arc::clone(&swapped.now), rule, before, rule.within.0);
        }
    }

    /// Puts those on probation that went live shortly before this start, or with it.
    pub(crate) async fn watch_fresh_after_start(self: &Arc<Self>) {
        for policy in self.policies.load().all() {
            let name = policy.name().to_string();
            let Some(rule) = self.entry(&name).ok().and_then(|entry| entry.rollback) else { continue };
            let record = self.archive.record(&name).await;
            let (Some(live), Some(_)) = (record.versions.first(), record.versions.get(1)) else { continue };
            let age = Duration::from_secs(unix_now().saturating_sub(live.since));
            let is_fresh = matches!(live.how, How::Source | How::Promoted) && age < rule.within.0;
            if is_fresh && *live.digest == *policy.current().stamp().digest {
                let digest = Arc::clone(&policy.current().stamp().digest);
                // Whom the version before refused is not known any more.
                self.begin_probation(name, digest, rule, Score::default(), rule.within.0 - age);
            }
        }
    }

    fn begin_probation(
        self: &Arc<Self>,
        name: String,
        digest: Arc<str>,
        rule: Rollback,
        before: Score,
        lasts: Duration,
    ) {
        tokio::spawn(watch(Arc::downgrade(self), name, digest, rule, before, Instant::now() + lasts));
    }

    /// Goes back to the version that was live before one that did not stand up.
    async fn take_back(self: &Arc<Self>, name: &str, fresh: &str, why: &str) -> Result<(), PolicyError> {
        let _turn = self.changing.lock().await;
        if *self.live_digest(name)? != *fresh {
            return Ok(());
        }
        let entry = self.entry(name)?;
        let record = self.archive.record(name).await;
        let good = |digest: &str| digest != fresh && record.was_taken_back(digest).is_none();
        let before = record.versions.iter().find(|version| good(&version.digest)).ok_or_else(|| {
            PolicyError::Refused { name: name.to_owned(), why: "no version before it is kept".to_owned() }
        })?;
        let component = self.supply().version(&entry, &before.digest).await?;
        let component = component.standing_in(How::RolledBackAutomatically, self.source_of(name)?);
        let candidate = self.try_out(entry, component).await?;
        let taken = TakenBack { digest: fresh.to_owned(), at: unix_now(), why: why.to_owned() };
        if let Err(error) = candidate.note(&self.archive, Some(taken)).await {
            // It must not stay live for that.
            tracing::error!("{error}; it is rolled back until the next start");
        }
        let back_to = Arc::clone(&candidate.component.digest);
        self.put(candidate);
        *self.roll_backs.lock().entry(name.to_owned()).or_default() += 1;
        let mut decision = Decision::of_gateway("rollback", "done").on(name).because(why);
        decision.digest = Some(fresh.into());
        self.audit.record(decision);
        tracing::warn!(
            policy = name,
            taken_back = short(fresh),
            back_to = short(&back_to),
            why,
            "a version was taken back"
        );
        Ok(())
    }
}

/// Looks at a fresh version until it has stood up, was replaced, or is taken back.
async fn watch(gateway: Weak<Gateway>, name: String, digest: Arc<str>, rule: Rollback, before: Score, until: Instant) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(gateway) = gateway.upgrade().filter(|gateway| !gateway.is_stopping()) else { return };
        let Some(policy) = gateway.policies.load().get(&name).cloned() else { return };
        if policy.current().stamp().digest != digest {
            return;
        }
        if let Some(why) = fault(&policy, rule, before) {
            tracing::error!("policy `{name}`: {} does not stand up: {why}", short(&digest));
            if let Err(error) = gateway.take_back(&name, &digest, &why).await {
                tracing::error!("policy `{name}` should be rolled back, and cannot be: {error}");
            }
            return;
        }
        if Instant::now() >= until {
            tracing::info!(
                "policy `{name}`: {} has stood up; from now on it is not rolled back by itself",
                short(&digest)
            );
            return;
        }
    }
}

/// Why a fresh version is taken back. None: it does well so far.
fn fault(policy: &Policy, rule: Rollback, before: Score) -> Option<String> {
    let now = policy.current().score();
    if now.failed >= u64::from(rule.after_traps) {
        let last = policy
            .stats()
            .figures()
            .last_error
            .map_or_else(String::new, |error| format!("; the last time {}", error.what));
        return Some(format!("it failed {} times{last}", now.failed));
    }
    refuses_more(rule, before, now)
}

fn refuses_more(rule: Rollback, before: Score, now: Score) -> Option<String> {
    if before.decided() < ENOUGH || now.decided() < ENOUGH {
        return None;
    }
    let (was, is) = before.refused_share().zip(now.refused_share())?;
    (is > was + rule.refusals.0).then(|| {
        format!("it refused {}% of {} logins, and the version before it {}%", is / 100, now.decided(), was / 100)
    })
}

/// Writes how often each policy was rolled back.
pub(crate) fn encode(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "policy_rollbacks",
        "Times that a fresh version of a policy was rolled back by itself",
        None,
        MetricType::Counter,
    )?;
    for (name, count) in &*gateway.roll_backs.lock() {
        ConstCounter::new(*count).encode(metric.encode_family(&[("policy", name.as_str())])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(admitted: u64, refused: u64) -> Score {
        Score { admitted, refused, failed: 0 }
    }

    #[test]
    fn refusals_must_jump_and_there_must_be_enough_of_both() {
        let rule = Rollback::default();
        let verdict = |before, now| refuses_more(rule, before, now).is_some();
        assert!(verdict(score(100, 0), score(10, 10)));
        assert!(!verdict(score(50, 50), score(10, 10)), "it was so before");
        assert!(!verdict(score(100, 0), score(80, 20)), "as much as is allowed");
        assert!(verdict(score(100, 0), score(79, 21)));
        assert!(!verdict(score(100, 0), score(0, 19)), "too few to tell");
        assert!(!verdict(score(19, 0), score(0, 100)), "nothing to compare with");
    }
}
