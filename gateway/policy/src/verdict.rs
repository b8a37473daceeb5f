//! How a verdict is read: what it means for the client who asked, and when it is void.
//!
//! The live policy and a candidate in shadow are read on the same terms, or their answers could not be compared.

use std::time::Instant;

use portcullis_grant::gatekeeper::Reply;
use portcullis_grant::{Account, Denial, DenyReason, Grant, Login, Outcome, PolicyStamp, Principal, Refusal, Sources};

use crate::bindings::portcullis::policy::types::{self as wit, Verdict};
use crate::call::{Answer, CallError, Caller};
use crate::convert;
use crate::generation::Generation;
use crate::stats::CallOutcome;

/// The most questions of one exchange (the contract's `enhanced-authentication`).
const MAX_STEPS: u8 = 8;

/// What a verdict means for the chain.
pub(crate) enum Step {
    /// The next one is asked.
    Pass,
    /// Nobody else is asked.
    Decided(Outcome),
}

/// On what terms a verdict is read.
pub(crate) struct Terms<'a> {
    /// Who is known already: the answer must be about the same principal.
    known: Option<&'a Principal>,
    /// The client's identifier.
    client_id: &'a str,
    /// Whether the client named a method to be challenged by.
    may_challenge: bool,
    /// Questions so far.
    step: u8,
    watch: &'a Watch,
}

/// Keeps account of one question.
pub(crate) struct Watch {
    pub(crate) begun: Instant,
    sources: Sources,
}

impl Watch {
    /// Begins, with whose call it is.
    pub(crate) fn start(caller: Caller) -> (Self, Caller) {
        (Self { begun: Instant::now(), sources: caller.sources.clone() }, caller)
    }

    pub(crate) fn account(&self) -> Account {
        Account { micros: self.begun.elapsed().as_micros() as u64, freshness: self.sources.freshness() }
    }

    pub(crate) fn refusal(&self, denial: Denial, stamp: &PolicyStamp) -> Refusal {
        Refusal { account: self.account(), ..Refusal::new(denial, Some(stamp.clone())) }
    }

    /// A policy that failed refuses: nobody comes in because something broke.
    pub(crate) fn failed(&self, stamp: &PolicyStamp, error: &CallError) -> Outcome {
        let reason = if matches!(error, CallError::Busy) { DenyReason::ServerBusy } else { DenyReason::Unavailable };
        let mut denial = Denial::new(reason, format!("policy `{}`: {error}", stamp.name));
        if matches!(error, CallError::Busy | CallError::Quarantined { .. }) {
            denial.retry_after = Some(1);
        }
        Outcome::Deny(self.refusal(denial, stamp))
    }
}

impl<'a> Terms<'a> {
    /// Those of a login, the first question.
    pub(crate) fn of_login(login: &'a Login, watch: &'a Watch) -> Self {
        Self {
            known: login.connection.identity.as_deref(),
            client_id: &login.credentials.client_id,
            may_challenge: login.credentials.method.is_some(),
            step: 0,
            watch,
        }
    }

    /// Those of the reply to a challenge.
    pub(crate) fn of_reply(reply: &'a Reply, watch: &'a Watch) -> Self {
        Self {
            known: reply.connection.identity.as_deref(),
            client_id: &reply.client_id,
            may_challenge: true,
            step: reply.challenge.step,
            watch,
        }
    }

    /// What an answer means.
    ///
    /// # Errors
    /// It is void: the contract does not allow it.
    pub(crate) fn read(&self, generation: &Generation, answer: Answer) -> Result<(Step, CallOutcome), String> {
        let Answer::Verdict(verdict) = answer else { return Err("an answer to another question".to_owned()) };
        let refuse = |denial| Step::Decided(Outcome::Deny(self.watch.refusal(denial, &generation.stamp)));
        Ok(match verdict {
            Verdict::Pass => (Step::Pass, CallOutcome::Pass),
            Verdict::Deny(denial) => {
                let denial = convert::denial(denial)?;
                generation.uses().denied(denial.reason);
                (refuse(denial), CallOutcome::Deny)
            }
            Verdict::Allow(grant) => {
                let grant = compile(generation, &[self.client_id], grant)?;
                if same_principal(&grant.identity, self.known) {
                    let grant = generation.grants.share(grant);
                    (Step::Decided(Outcome::Allow(grant, self.watch.account())), CallOutcome::Allow)
                } else {
                    let detail = "the client authenticated again as somebody else";
                    (refuse(Denial::new(DenyReason::NotAuthorized, detail)), CallOutcome::Deny)
                }
            }
            Verdict::Challenge(challenge) => {
                // Clients can bring these two about as often as they like: they are refused, and the policy is not blamed,
                // or strangers could have it put into quarantine.
                if !self.may_challenge {
                    let detail = "it challenged a client that named no authentication method";
                    return Ok((refuse(Denial::new(DenyReason::BadAuthenticationMethod, detail)), CallOutcome::Deny));
                }
                if self.step >= MAX_STEPS {
                    let detail = format!("more than {MAX_STEPS} challenges in one exchange");
                    return Ok((refuse(Denial::new(DenyReason::NotAuthorized, detail)), CallOutcome::Deny));
                }
                if !generation.abilities.exports("enhanced-authentication") {
                    return Err("a challenge, without exporting `enhanced-authentication`".to_owned());
                }
                let challenge = convert::challenge(challenge, generation.stamp.clone(), self.step + 1)?;
                (Step::Decided(Outcome::Challenge(challenge)), CallOutcome::Challenge)
            }
        })
    }
}

/// The grant of a client to whom these names are known.
pub(crate) fn compile(generation: &Generation, known: &[&str], grant: wit::Grant) -> Result<Grant, String> {
    let mut draft = convert::grant(grant)?;
    if !generation.abilities.exports("renewal") {
        // The contract: without the export, never.
        draft.renew_after = None;
    }
    if let Some(ear) = &generation.runtime.with.shared.outside.ear {
        ear.granted(&draft);
    }
    Grant::compile_for(known, draft, generation.stamp.clone())
        .map_err(|why| crate::capability::escaped(&why.to_string()))
}

/// Whether a verdict keeps the contract.
pub(crate) fn check(generation: &Generation, verdict: Verdict) -> Result<(), String> {
    match verdict {
        Verdict::Allow(grant) => compile(generation, &[], grant).map(|_| ()),
        Verdict::Deny(denial) => convert::denial(denial).map(|_| ()),
        Verdict::Challenge(challenge) => convert::challenge(challenge, generation.stamp.clone(), 1).map(|_| ()),
        Verdict::Pass => Ok(()),
    }
}

/// Whether it is whoever is known already, if anybody is.
pub(crate) fn same_principal(new: &Principal, known: Option<&Principal>) -> bool {
    known.is_none_or(|old| (old.scheme(), old.subject(), old.tenant()) == (new.scheme(), new.subject(), new.tenant()))
}
