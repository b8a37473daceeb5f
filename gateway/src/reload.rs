//! Changing a running gateway. A changed file, SIGHUP, the admin API and the command line all end here.
//!
//! Everything new is made aside first. What cannot be had new stays as it was, and the report says so: a broken policy
//! must not keep a renewed certificate out. What is entirely new and cannot be had stops the reload before anything has
//! changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_mqtt::ReasonCode;
use portcullis_net::{Bound, Tls, TlsHandle};
use portcullis_policy::Chain;
use portcullis_session::Control;

use crate::assemble::Gateway;
use crate::audit::{Decision, administrator};
use crate::config::{Config, Listener, OnSwap};
use crate::listeners::{self, Door};
use crate::policies::{self, Candidate, Policies, PolicyError, Swapped};
use crate::supply::{self, How, Supply, short};

/// What came of a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// What is different now, a sentence each.
    pub(crate) done: Vec<String>,
    /// What stayed as it was although the files say otherwise, and why.
    pub(crate) kept: Vec<String>,
}

/// A configuration that was made ready and changes nothing yet.
struct Prepared {
    config: Config,
    candidates: Vec<Candidate>,
    tls: Vec<(String, Option<Tls>)>,
    report: Report,
}

impl Gateway {
    /// Loads one policy again from where it comes from, whether it changed or not. With `insist` it is what the source
    /// has, whatever stood in for that until now.
    ///
    /// # Errors
    /// The candidate is not fit to go live; the old one stays.
    pub(crate) async fn reload_policy(self: &Arc<Self>, name: &str, insist: bool) -> Result<Swapped, PolicyError> {
        let _turn = self.changing.lock().await;
        let entry = self.entry(name)?;
        let supply = self.supply();
        let component = if insist { supply.source(&entry).await? } else { supply.resolve(&entry).await? };
        let candidate = self.try_out(entry, component).await?;
        candidate.note_if_possible(&self.archive).await;
        Ok(self.put(candidate))
    }

    /// Reads everything again: configuration, certificates, policies. Changes what is different.
    ///
    /// # Errors
    /// The configuration is wrong, or something new in it cannot be had. Nothing has changed then.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Report, String> {
        let _turn = self.changing.lock().await;
        let Prepared { config, candidates, tls, mut report } = self.prepare().await?;
        let old = self.config.load_full();

        for candidate in &candidates {
            candidate.note_if_possible(&self.archive).await;
        }
        let mut slots = Policies::clone(&self.policies.load());
        let swapped: Vec<_> = candidates.into_iter().map(|candidate| slots.put(candidate)).collect();
        slots.retain(&policies::used(&config));
        match slots.mounts(&config) {
            Ok(mounts) => self.mounts.replace(mounts),
            Err(why) => report.kept.push(why.to_string()),
        }
        self.policies.store(Arc::new(slots));
        for swap in &swapped {
            self.tell(swap);
            report.done.push(words(swap));
        }
        let fresh = swapped;

        // Every door that moves is closed before the first one opens: they may change places.
        let mut closed = self.close_doors(&old, &config).await;
        for listener in &config.listeners {
            let tls = tls.iter().find(|(name, _)| *name == listener.name.value).and_then(|(_, tls)| tls.as_ref());
            let running = self.doors.lock().get(&listener.name.value).cloned();
            match running {
                Some(door) => self.update_door(&door, &old, listener, tls, &mut report),
                None => self.open_door(listener, tls, closed.contains_key(&listener.name.value), &mut report),
            }
        }
        for (name, door) in std::mem::take(&mut closed) {
            if !config.listeners.iter().any(|listener| listener.name.value == name) {
                report.done.push(format!("listener `{name}` is closed; its connections end"));
            }
            tokio::spawn(async move { door.drain().await });
        }
        self.level.set(&config.log.level);
        if old.audit == config.audit {
            // Whoever turned the file over by moving it away has sent a signal.
            self.audit.reopen();
        } else if let Err(why) = self.audit.write_to(&config.audit, &self.broker) {
            let why = crate::plain(&why);
            report.kept.push(format!("the audit stream is written as before: its new file cannot be opened: {why}"));
        } else {
            report.done.push("the audit stream is written as [audit] says now".to_owned());
        }
        report.kept.extend(only_at_start(&old, &config));
        self.renew_shadows(&config).await;
        self.config.store(Arc::new(config));
        // What the new configuration says of roll-backs counts.
        fresh.iter().for_each(|swap| self.watch_fresh(swap));
        Ok(report)
    }

    /// Reads and loads everything aside.
    async fn prepare(&self) -> Result<Prepared, String> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let config = read.map_err(|_| "the gateway stops".to_owned())?.map_err(|report| report.to_string())?;
        let mut report = Report::default();
        let live = self.policies.load_full();

        // Here already: what is to be loaded may be there.
        self.host.use_precompiled(supply::precompiled(&config, &self.ground.data));
        let supply = Supply::new(&config, Some(self.archive.clone()));
        let mut changed = Vec::new();
        for entry in policies::used(&config).iter().filter_map(|name| policies::entry(&config, name)) {
            let component = supply.resolve(&entry).await;
            if !component.as_ref().is_ok_and(|component| live.is_current(&entry, component)) {
                changed.push((entry, component));
            }
        }
        let names: Vec<_> = changed.iter().map(|(entry, _)| entry.name.value.clone()).collect();
        let mut candidates = Vec::new();
        for (name, loaded) in names.into_iter().zip(Policies::load_resolved(&self.host, changed).await) {
            match loaded {
                Ok(candidate) => candidates.push(candidate),
                Err(error) if live.get(&name).is_some() => {
                    report.kept.push(format!("{error}; the one before stays live"))
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let mut tls = Vec::new();
        for listener in &config.listeners {
            let name = listener.name.value.clone();
            match listeners::load_tls(listener) {
                Ok(loaded) => tls.push((name, loaded)),
                Err(why) if self.doors.lock().contains_key(&name) => {
                    report.kept.push(format!("listener `{name}`: {why}; the certificate before stays in use"));
                }
                Err(why) => return Err(format!("listener `{name}`: {why}")),
            }
        }
        Ok(Prepared { config, candidates, tls, report })
    }

    /// Closes the doors that are not where the configuration wants them, and those that it does not have. Connections
    /// through them live until they are drained.
    async fn close_doors(&self, old: &Config, new: &Config) -> BTreeMap<String, Arc<Door>> {
        let stays = |name: &String| {
            let [before, after] =
                [old, new].map(|config| config.listeners.iter().find(|found| found.name.value == *name));
            before.zip(after).is_some_and(|(before, after)| listeners::same_place(before, after))
        };
        let closed: BTreeMap<_, _> = {
            let mut doors = self.doors.lock();
            let (stay, go) = std::mem::take(&mut *doors).into_iter().partition(|(name, _)| stays(name));
            *doors = stay;
            go
        };
        for (name, door) in &closed {
            door.stop_accepting().await;
            door.stop_connections();
            // Before a door of the same name opens elsewhere: those who come through it are not meant.
            self.end_connections_of(name);
        }
        closed
    }

    /// Tells the MQTT connections of a listener that is no more to go. Others hear it from the listener.
    fn end_connections_of(&self, listener: &str) {
        let detail = format!("the listener {listener} was closed");
        let control = Control::Disconnect { reason: ReasonCode::ADMINISTRATIVE_ACTION, detail };
        self.broker.request_where(&control, |handle, _| *handle.listener() == *listener);
    }

    /// Gives a listener that stays where it is what else the configuration says.
    fn update_door(&self, door: &Door, old: &Config, listener: &Listener, tls: Option<&Tls>, report: &mut Report) {
        let chain = self.policies.load().chain_of(listener);
        let updated = door.update(listener, tls, Arc::new(chain.clone()));
        self.look_again_after(listener, &chain);
        self.refilter(old, listener);
        if let Some(tls) = tls.filter(|tls| !tls.revoked().is_empty()) {
            self.end_revoked(listener, tls);
        }
        match updated {
            Ok(()) if old.listeners.contains(listener) => {}
            Ok(()) => report
                .done
                .push(format!("listener `{}` has new settings for connections from now on", listener.name.value)),
            Err(why) => report.kept.push(why.to_string()),
        }
    }

    /// Ends connections whose certificate was revoked: at once, and once more when nobody can be left whose handshake was
    /// judged by an older list.
    fn end_revoked(&self, listener: &Listener, tls: &Tls) {
        let (broker, tls, name) = (Arc::clone(&self.broker), tls.clone(), listener.name.value.clone());
        let end = move || {
            let control = Control::Disconnect {
                reason: ReasonCode::NOT_AUTHORIZED,
                detail: "its certificate was revoked".to_owned(),
            };
            broker.request_where(&control, |handle, _| {
                let details = handle.details();
                let certificate = details.as_ref().and_then(|details| details.certificate.as_ref());
                *handle.listener() == *name && certificate.is_some_and(|certificate| tls.revoked().has(certificate))
            });
        };
        end();
        // For TLS and WebSocket, and again for CONNECT.
        let patience = listeners::live(listener, None).handshake_timeout * 2;
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            end();
        });
    }

    /// Opens a listener at a place where it was not.
    fn open_door(self: &Arc<Self>, listener: &Listener, tls: Option<&Tls>, moved: bool, report: &mut Report) {
        let name = &listener.name.value;
        let handle = tls.map(TlsHandle::new);
        let bound = Bound::bind(listeners::spec(listener, handle.clone()));
        match bound.and_then(|bound| self.open(listener, bound, handle)) {
            Ok(opened) => {
                self.doors.lock().insert(name.clone(), Arc::new(opened));
                report.done.push(if moved {
                    format!("listener `{name}` has moved; connections at its old place end")
                } else {
                    format!("listener `{name}` is open")
                });
            }
            Err(why) => report.kept.push(format!("{why}; nobody can come in there until the next reload")),
        }
    }

    /// Tells connections that are there that other topics are filtered.
    fn refilter(&self, old: &Config, listener: &Listener) {
        let before = old.listeners.iter().find(|before| before.name == listener.name);
        if before.is_some_and(|before| before.filters != listener.filters) {
            let control = Control::Filter(listeners::filtered_topics(listener));
            self.broker.request_where(&control, |handle, _| *handle.listener() == *listener.name.value);
        }
    }

    /// Connections that were let in by a policy which no longer stands before their listener are looked at again.
    fn look_again_after(&self, listener: &Listener, chain: &Chain) {
        let standing = chain.policies().iter().map(|slot| Arc::clone(slot.name())).collect();
        self.broker.rechained(&listener.name.value, standing);
    }

    /// Does with live connections what the policy's entry says.
    pub(crate) fn tell(&self, swapped: &Swapped) {
        let mut decision = Decision::of_gateway("policy", "done").on(&swapped.name).because(&words(swapped));
        decision.digest = Some((&swapped.now).into());
        decision.by = portcullis_http::caller().map(administrator);
        self.audit.record(decision);
        let control = match swapped.on_swap {
            OnSwap::Keep => None,
            OnSwap::Recheck => Some(Control::Recheck),
            OnSwap::Reauthenticate => Some(Control::Reevaluate),
        };
        if swapped.before.is_some() {
            self.broker.replaced(&swapped.name, swapped.serial, control);
        }
    }
}

/// What a swap did, as a sentence.
pub(crate) fn words(swapped: &Swapped) -> String {
    let now = short(&swapped.now);
    let stays = "it stays live until the content of its source changes";
    match &swapped.before {
        None => format!("policy `{}` is live ({now})", swapped.name),
        Some(before) if *before == swapped.now => format!("policy `{}` is live again ({now})", swapped.name),
        Some(before) => {
            let (name, before) = (&swapped.name, short(before));
            match swapped.how {
                How::Source => format!("policy `{name}` was replaced ({before} by {now})"),
                How::Promoted => format!("policy `{name}`: {now} was promoted in the place of {before}; {stays}"),
                How::RolledBack => format!("policy `{name}` was rolled back ({before} back to {now}); {stays}"),
                How::RolledBackAutomatically => {
                    format!("policy `{name}` was rolled back automatically ({before} back to {now}); {stays}")
                }
            }
        }
    }
}

/// What a running gateway cannot change.
fn only_at_start(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        (old.data != new.data, "`data`"),
        (old.workers != new.workers, "`workers`"),
        (old.keys != new.keys, "`[[key]]`"),
        (old.admin != new.admin, "`[admin]`"),
        (old.limits != new.limits, "`[limits]`"),
        (old.log.format != new.log.format, "`log.format`"),
        (old.engine.compile != new.engine.compile, "`engine.compile`"),
        (old.engine.interpret != new.engine.interpret, "`engine.interpret`"),
    ];
    changed
        .into_iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, key)| format!("{key} has changed; that takes effect at the next start"))
        .collect()
}

impl Gateway {
    /// [`Gateway::reload`], with what came of it in the log.
    pub(crate) async fn reload_and_log(self: &Arc<Self>, why: &str) {
        match self.reload().await {
            Ok(report) => {
                let said = report.done.iter().chain(&report.kept).map(String::as_str).collect::<Vec<_>>().join("; ");
                let verdict = if report.kept.is_empty() { "done" } else { "failed" };
                self.audit.record(Decision::of_gateway("reload", verdict).because(&said).done_by(why));
                for sentence in &report.done {
                    tracing::info!("{sentence}");
                }
                for sentence in &report.kept {
                    tracing::warn!("{sentence}");
                }
                if report.kept.is_empty() {
                    tracing::info!("reloaded, because {why}");
                } else {
                    tracing::warn!("reloaded in part, because {why}; the lines above say what stayed as it was");
                }
            }
            Err(error) => {
                self.audit.record(Decision::of_gateway("reload", "failed").because(&error).done_by(why));
                tracing::error!("nothing was reloaded, although {why}: {error}");
            }
        }
    }
}
