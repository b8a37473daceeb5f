//! Candidates that decide beside the live policies: beginning, ending, and putting one in place.
//!
//! A shadow lives as long as this process: it survives reloads, gets the configuration that its policy gets, and ends at a
//! restart, since nobody would know any more what it was compared with.

mod metrics;
mod report;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Bytes;
use parking_lot::Mutex;
use portcullis_policy::{Policy, Shadow, Share};
use serde_json::Value;

use crate::assemble::Gateway;
use crate::config::{Config, PolicyEntry};
use crate::policies::{self, PolicyError, Swapped};
use crate::supply::{Component, How, short};

pub(crate) use metrics::encode;

/// What the running shadows were begun with, by the policy's name.
pub(crate) type Shadows = Mutex<HashMap<String, Begun>>;

/// One shadow.
#[derive(Clone)]
pub(crate) struct Begun {
    /// The entry whose configuration it has.
    entry: Arc<PolicyEntry>,
    component: Component,
    terms: Terms,
}

/// On what terms a candidate is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// About whom.
    pub(crate) share: Share,
    /// Whether it may send requests to the hosts that its policy may reach.
    pub(crate) http: bool,
}

impl Gateway {
    /// Begins to ask a candidate beside the live policy, in the place of the one that was asked until now.
    ///
    /// # Errors
    /// It is not fit, or not signed as the configuration wants it.
    pub(crate) async fn begin_shadow(
        &self,
        name: &str,
        bytes: Bytes,
        signature: Option<String>,
        terms: Terms,
    ) -> Result<Value, PolicyError> {
        let entry = self.entry(name)?;
        let component = Component::new(bytes, format!("an upload for `policy shadow {name}`"), signature);
        let component = self.supply().trusted(&entry, component)?;
        let begun = Begun { entry: Arc::new(entry), component, terms };
        let shadow = self.shadow_of(name, &begun).await?;
        let digest = Arc::clone(&begun.component.digest);
        {
            let _turn = self.changing.lock().await;
            self.policy(name)?.set_shadow(Some(shadow));
            self.shadows.lock().insert(name.to_owned(), begun);
        }
        tracing::info!(
            "policy `{name}`: {} decides in shadow, about {} of the clients",
            short(&digest),
            terms.share.words()
        );
        self.shadow(name)
    }

    /// Loads a candidate and begins to ask it. It is nobody's yet.
    async fn shadow_of(&self, name: &str, begun: &Begun) -> Result<Arc<Shadow>, PolicyError> {
        let spec = policies::spec(&begun.entry, &begun.component);
        let candidate = self.host.load_shadow(spec, begun.terms.http).await?;
        Shadow::begin(candidate, begun.terms.share).map_err(|why| PolicyError::Refused {
            name: name.to_owned(),
            why: format!("there is no thread for a shadow: {}", crate::plain(&why)),
        })
    }

    /// What came of the shadow so far.
    pub(crate) fn shadow(&self, name: &str) -> Result<Value, PolicyError> {
        let policy = self.policy(name)?;
        let shadow = policy.shadow().ok_or_else(|| no_shadow(name))?;
        Ok(report::document(&policy, &shadow))
    }

    /// Ends it. Answers what came of it.
    pub(crate) async fn end_shadow(&self, name: &str) -> Result<Value, PolicyError> {
        let _turn = self.changing.lock().await;
        let report = self.shadow(name)?;
        self.policy(name)?.set_shadow(None);
        self.shadows.lock().remove(name);
        tracing::info!("policy `{name}`: the shadow has ended");
        Ok(report)
    }

    /// Puts the candidate in place: exactly the component that was asked in shadow, with the configuration of now. With a
    /// digest, only if it is that one.
    ///
    /// # Errors
    /// There is no shadow, or it is not fit to go live. What is live stays.
    pub(crate) async fn promote(self: &Arc<Self>, name: &str, digest: Option<&str>) -> Result<Swapped, PolicyError> {
        let _turn = self.changing.lock().await;
        let entry = self.entry(name)?;
        let begun = self.shadows.lock().get(name).cloned().ok_or_else(|| no_shadow(name))?;
        let refused = |why: String| Err(PolicyError::Refused { name: name.to_owned(), why });
        let wanted = digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase());
        if let Some(wanted) = wanted.filter(|wanted| !begun.component.digest.starts_with(wanted.as_str())) {
            let shadow = short(&begun.component.digest);
            return refused(format!("the shadow is {shadow}, not {}", short(&wanted)));
        }
        if begun.component.digest == self.live_digest(name)? {
            return refused(format!("version {} is live already", short(&begun.component.digest)));
        }
        let component = self.supply().checked(&entry, begun.component)?;
        let component = component.standing_in(How::Promoted, self.source_of(name)?);
        let candidate = self.try_out(entry, component).await?;
        candidate.note(&self.archive, None).await?;
        let swapped = self.put(candidate);
        self.policy(name)?.set_shadow(None);
        self.shadows.lock().remove(name);
        Ok(swapped)
    }

    /// Gives the shadows the configuration that their policies have now. Those that cannot have it end.
    pub(crate) async fn renew_shadows(&self, config: &Config) {
        let begun: Vec<_> = self.shadows.lock().iter().map(|(name, begun)| (name.clone(), begun.clone())).collect();
        for (name, begun) in begun {
            let entry = policies::entry(config, &name);
            let (Some(entry), Ok(policy)) = (entry, self.policy(&name)) else {
                self.shadows.lock().remove(&name);
                continue;
            };
            if *begun.entry == entry {
                continue;
            }
            let begun = Begun { entry: Arc::new(entry), ..begun };
            match self.shadow_of(&name, &begun).await {
                Ok(shadow) => {
                    policy.set_shadow(Some(shadow));
                    self.shadows.lock().insert(name.clone(), begun);
                    tracing::info!("policy `{name}`: its shadow begins anew, with its new configuration");
                }
                Err(error) => {
                    policy.set_shadow(None);
                    self.shadows.lock().remove(&name);
                    tracing::warn!(
                        "policy `{name}`: its shadow has ended, since it cannot have the new configuration: {error}"
                    );
                }
            }
        }
    }

    /// Ends all of them.
    pub(crate) fn end_shadows(&self) {
        self.shadows.lock().clear();
        for policy in self.policies.load().all() {
            policy.set_shadow(None);
        }
    }

    fn policy(&self, name: &str) -> Result<Arc<Policy>, PolicyError> {
        self.policies.load().get(name).cloned().ok_or_else(|| PolicyError::Unknown(name.to_owned()))
    }
}

fn no_shadow(name: &str) -> PolicyError {
    PolicyError::NoShadow(name.to_owned())
}
