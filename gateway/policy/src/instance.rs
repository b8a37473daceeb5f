//! One living instance of a policy, and the calls into it.

use std::sync::Arc;

use wasmtime::component::{Instance as Linked, InstancePre};
use wasmtime::{Engine, Result, Store, format_err};

use crate::bindings::exports::portcullis::policy as exports;
use crate::call::{Answer, Question};
use crate::state::{State, on_tick};

/// What a guest may move to the host in one call: the largest sensible answer several times over, and no more than it
/// could be a nuisance with.
const TRANSFER: usize = 8 << 20;
const HANDLES: usize = 4096;

/// Where each export of the contract is in a component: looked up once.
pub(crate) struct Indices {
    descriptor: Option<exports::descriptor::GuestIndices>,
    authentication: Option<exports::authentication::GuestIndices>,
    enhanced: Option<exports::enhanced_authentication::GuestIndices>,
    renewal: Option<exports::renewal::GuestIndices>,
    authorization: Option<exports::authorization::GuestIndices>,
    http: Option<exports::http_endpoint::GuestIndices>,
    filter: Option<exports::message_filter::GuestIndices>,
}

impl Indices {
    pub(crate) fn of(pre: &InstancePre<State>, has: impl Fn(&str) -> bool) -> Result<Self> {
        macro_rules! find {
            ($name:literal, $module:ident) => {
                if has($name) { Some(exports::$module::GuestIndices::new(pre)?) } else { None }
            };
        }
        Ok(Self {
            descriptor: find!("descriptor", descriptor),
            authentication: find!("authentication", authentication),
            enhanced: find!("enhanced-authentication", enhanced_authentication),
            renewal: find!("renewal", renewal),
            authorization: find!("authorization", authorization),
            http: find!("http-endpoint", http_endpoint),
            filter: find!("message-filter", message_filter),
        })
    }
}

/// An instance and the exports that were used of it so far.
pub(crate) struct Instance {
    store: Store<State>,
    linked: Linked,
    indices: Arc<Indices>,
    descriptor: Option<exports::descriptor::Guest>,
    authentication: Option<exports::authentication::Guest>,
    enhanced: Option<exports::enhanced_authentication::Guest>,
    renewal: Option<exports::renewal::Guest>,
    authorization: Option<exports::authorization::Guest>,
    http: Option<exports::http_endpoint::Guest>,
    filter: Option<exports::message_filter::Guest>,
    /// Calls that it has served.
    pub(crate) served: u32,
}

/// The export, loaded when first asked for: loading checks types, and a fresh instance rarely needs more than one.
macro_rules! export {
    ($instance:ident.$field:ident) => {{
        if $instance.$field.is_none() {
            let indices = $instance.indices.$field.as_ref().ok_or_else(|| format_err!("it has no such export"))?;
            $instance.$field = Some(indices.load(&mut $instance.store, &$instance.linked)?);
        }
        match &$instance.$field {
            Some(guest) => (guest, &mut $instance.store),
            None => return Err(format_err!("it has no such export")),
        }
    }};
}

impl Instance {
    /// Starts an instance. The state's call bounds the time that this may take.
    pub(crate) async fn start(
        engine: &Engine,
        pre: &InstancePre<State>,
        indices: &Arc<Indices>,
        state: State,
    ) -> Result<Self> {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(TRANSFER);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(|mut context| on_tick(context.data_mut()));
        store.set_epoch_deadline(1);
        let linked = pre.instantiate_async(&mut store).await?;
        Ok(Self {
            store,
            linked,
            indices: Arc::clone(indices),
            descriptor: None,
            authentication: None,
            enhanced: None,
            renewal: None,
            authorization: None,
            http: None,
            filter: None,
            served: 0,
        })
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// Loads every export, which checks its types against the contract's.
    pub(crate) fn check_exports(&mut self) -> Result<()> {
        macro_rules! check {
            ($($field:ident),*) => { $(if self.indices.$field.is_some() { let _ = export!(self.$field); })* };
        }
        check!(descriptor, authentication, enhanced, renewal, authorization, http, filter);
        Ok(())
    }

    /// Asks. After an error the instance is of no use any more.
    pub(crate) async fn ask(&mut self, question: &Question<'_>) -> Result<Answer> {
        self.served += 1;
        self.store.set_epoch_deadline(1);
        match question {
            Question::Describe => {
                let (guest, store) = export!(self.descriptor);
                guest.call_describe(store).await.map(Answer::Description)
            }
            Question::SelfTest => {
                let (guest, store) = export!(self.descriptor);
                guest.call_self_test(store).await.map(Answer::SelfTest)
            }
            Question::Authenticate(connection, credentials) => {
                let (guest, store) = export!(self.authentication);
                guest.call_authenticate(store, connection, credentials).await.map(Answer::Verdict)
            }
            Question::Continue(connection, reply) => {
                let (guest, store) = export!(self.enhanced);
                guest.call_continue_authentication(store, connection, reply).await.map(Answer::Verdict)
            }
            Question::Renew(connection, state) => {
                let (guest, store) = export!(self.renewal);
                guest.call_renew(store, connection, state).await.map(Answer::Renewal)
            }
            Question::Authorize(identity, state, action) => {
                let (guest, store) = export!(self.authorization);
                guest.call_authorize(store, identity, state, action).await.map(Answer::Authorization)
            }
            Question::Handle(connection, request) => {
                let (guest, store) = export!(self.http);
                guest.call_handle(store, connection, request).await.map(Answer::Http)
            }
            Question::Filter(publisher, message) => {
                let (guest, store) = export!(self.filter);
                guest.call_filter(store, publisher, message).await.map(Answer::Filtered)
            }
        }
    }
}
