//! Guests written in WebAssembly text, and a host to load them in.
//!
//! The core modules speak the canonical ABI by hand: `authenticate` gets one pointer to its flattened arguments and
//! returns one to its verdict. Offsets are those of the contract's records.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::{ConnectionFacts, Credentials, Denial, Gatekeeper, Grant, Login, Outcome};
use portcullis_policy::{Chain, Generation, Host, HostOptions, LoadError, Policy, PolicySpec};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub(crate) const WIT_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// Wraps a core module in text as a component of a world, given as the body of one.
pub(crate) fn component(world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(WIT_DIRECTORY).expect("the contract parses");
    wrap(&mut resolve, world, module)
}

/// Wraps with a contract of another text, such as another version.
pub(crate) fn component_of(contract: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("contract.wit", contract).expect("the contract parses");
    wrap(&mut resolve, world, module)
}

/// Wraps with a package beside the contract.
pub(crate) fn component_beside(package: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(WIT_DIRECTORY).expect("the contract parses");
    resolve.push_str("beside.wit", package).expect("the package parses");
    wrap(&mut resolve, world, module)
}

fn wrap(resolve: &mut Resolve, world: &str, module: &str) -> Vec<u8> {
    let package = resolve
        .push_str("test.wit", &format!("package test:guest; world guest {{ {world} }}"))
        .expect("the world parses");
    let world = resolve.select_world(&[package], Some("guest")).expect("the world is there");
    let mut bytes = wat::parse_str(module).expect("the module parses");
    embed_component_metadata(&mut bytes, resolve, world, StringEncoding::UTF8, false).expect("metadata");
    let mut encoder = ComponentEncoder::default();
    encoder.module(&bytes).expect("a module").validate(true).encode().expect("a component")
}

pub(crate) const AUTHENTICATION: &str = "export portcullis:policy/authentication@0.1.0;";
const VERDICT: u32 = 1024;

/// A record laid out octet by octet.
struct Layout(Vec<u8>);

impl Layout {
    fn new(size: usize) -> Self {
        Self(vec![0; size])
    }
    fn u8(&mut self, at: usize, value: u8) -> &mut Self {
        self.0[at] = value;
        self
    }
    fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }
    /// A string or list: where it lies, and its length.
    fn list(&mut self, at: usize, (pointer, length): (u32, u32)) -> &mut Self {
        self.u32(at, pointer).u32(at + 4, length)
    }
    fn text(&self) -> String {
        self.0.iter().map(|octet| format!("\\{octet:02x}")).collect()
    }
}

/// What a grant of the test guest says.
pub(crate) struct TestGrant {
    pub(crate) subject: &'static str,
    pub(crate) filter: &'static str,
    pub(crate) rules: u32,
    /// 0 allow, 1 deny, 2 ask.
    pub(crate) effect: u8,
    pub(crate) state: u32,
}

impl Default for TestGrant {
    fn default() -> Self {
        Self { subject: "alice", filter: "a/#", rules: 1, effect: 0, state: 0 }
    }
}

/// The octets of `verdict::allow`, to lie at [`VERDICT`]; texts lie at 512 (subject) and 640 (filter), rules at 4096.
fn allow(grant: &TestGrant) -> Layout {
    let mut verdict = Layout::new(152);
    let g = 8;
    verdict
        .u8(0, 0)
        .list(g, (500, 4))
        .list(g + 8, (512, grant.subject.len() as u32))
        .list(g + 92, (4096, grant.rules))
        .list(g + 116, (65536, grant.state));
    verdict
}

fn deny() -> Layout {
    let mut verdict = Layout::new(152);
    verdict.u8(0, 1).u8(8, 1).list(12, (480, 14));
    verdict
}

fn challenge() -> Layout {
    let mut verdict = Layout::new(152);
    verdict.u8(0, 3).list(8, (700, 5)).list(16, (710, 5));
    verdict
}

/// The module of a guest that does what the first character of the client identifier says: `p` pass, `d` deny, `a`
/// allow, `c` challenge, `l` loop for ever, `t` trap, `r` recurse without end, `m` grow memory without end, `s` send an
/// HTTP request (if it imports the client), anything else passes.
pub(crate) fn module(grant: &TestGrant, url: Option<&str>, more: &str) -> String {
    let rule = {
        let mut rule = Layout::new(16);
        rule.u8(0, grant.effect).u8(1, 0b1111).list(4, (640, grant.filter.len() as u32)).u8(12, 2);
        rule.text()
    };
    let rules = rule.repeat(grant.rules.min(4096) as usize);
    let (import, send) = match url {
        None => (String::new(), "unreachable".to_owned()),
        Some(url) => (
            r#"(import "portcullis:policy/http-client@0.1.0" "send"
                 (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#
                .to_owned(),
            format!(
                "(call $send (i32.const 460) (i32.const 3) (i32.const 800) (i32.const {}) (i32.const 0) (i32.const 0)
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))",
                url.len()
            ),
        ),
    };
    let behaviour = |letter: char, code: &str| {
        format!("(if (i32.eq (local.get $first) (i32.const {})) (then {code}))", letter as u32)
    };
    let behaviours = [
        behaviour('d', "(return (i32.const 1200))"),
        behaviour('a', &format!("(return (i32.const {VERDICT}))")),
        behaviour('c', "(return (i32.const 1400))"),
        behaviour('l', "(loop $for_ever (br $for_ever))"),
        behaviour('t', "unreachable"),
        behaviour('r', "(call $recurse)"),
        behaviour('m', "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"),
        behaviour('s', &format!("{send} (return (i32.const 1200))")),
    ]
    .concat();
    format!(
        r#"(module
  {import}
  (memory (export "memory") 4)
  (data (i32.const 460) "GET")
  (data (i32.const 480) "not authorized")
  (data (i32.const 500) "test")
  (data (i32.const 512) "{subject}")
  (data (i32.const 640) "{filter}")
  (data (i32.const 700) "nonce") (data (i32.const 710) "state")
  (data (i32.const 800) "{url}")
  (data (i32.const {VERDICT}) "{allow}")
  (data (i32.const 1200) "{deny}")
  (data (i32.const 1400) "{challenge}")
  (data (i32.const 1600) "\02")
  (data (i32.const 4096) "{rules}")
  (global $free (mut i32) (i32.const 196608))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $recurse (call $recurse) (call $recurse))
  (func (export "portcullis:policy/authentication@0.1.0#authenticate") (param $in i32) (result i32) (local $first i32)
    (if (i32.load offset=124 (local.get $in))
      (then (local.set $first (i32.load8_u (i32.load offset=120 (local.get $in))))))
    {behaviours}
    (i32.const 1600))
  (func (export "cabi_post_portcullis:policy/authentication@0.1.0#authenticate") (param i32)
    (global.set $free (i32.const 196608)))
  {more}
)"#,
        subject = grant.subject,
        filter = grant.filter,
        url = url.unwrap_or_default(),
        allow = allow(grant).text(),
        deny = deny().text(),
        challenge = challenge().text(),
    )
}

/// The guest of [`module`] without imports.
pub(crate) fn guest() -> Vec<u8> {
    component(AUTHENTICATION, &module(&TestGrant::default(), None, ""))
}

/// The same guest with another grant.
pub(crate) fn guest_with(grant: &TestGrant) -> Vec<u8> {
    component(AUTHENTICATION, &module(grant, None, ""))
}

/// `describe` and `self-test`: a name, one method `Test`, and what the self-test does.
pub(crate) fn descriptor(describe: &str, self_test: &str) -> String {
    let mut says = Layout::new(48);
    says.list(0, (900, 5)).list(8, (910, 5)).list(32, (1900, 1)).list(40, (0, 0));
    let mut method = Layout::new(8);
    method.list(0, (920, 4));
    let mut bad = Layout::new(12);
    bad.u8(0, 1).list(4, (930, 9));
    format!(
        r#"(data (i32.const 900) "guest") (data (i32.const 910) "1.2.3") (data (i32.const 920) "Test")
  (data (i32.const 930) "no issuer")
  (data (i32.const 1700) "{}") (data (i32.const 1800) "{}") (data (i32.const 1900) "{}")
  (func (export "portcullis:policy/descriptor@0.1.0#describe") (result i32) {describe} (i32.const 1700))
  (func (export "portcullis:policy/descriptor@0.1.0#self-test") (result i32) {self_test})"#,
        says.text(),
        bad.text(),
        method.text()
    )
}

/// A guest with a descriptor.
pub(crate) fn described(describe: &str, self_test: &str) -> Vec<u8> {
    let world = format!("{AUTHENTICATION} export portcullis:policy/descriptor@0.1.0;");
    component(&world, &module(&TestGrant::default(), None, &descriptor(describe, self_test)))
}

pub(crate) fn host() -> Host {
    Host::new(HostOptions::default()).expect("a host")
}

pub(crate) fn spec(name: &str, component: Vec<u8>) -> PolicySpec {
    let mut spec = PolicySpec::new(name, component, "test");
    // The machine that runs tests may be busy; what is tested is that there is an end.
    spec.limits.deadline = Some(Duration::from_secs(20));
    spec
}

pub(crate) async fn refused(host: &Host, spec: PolicySpec) -> String {
    match host.load(spec).await {
        Err(why @ LoadError { .. }) => why.to_string(),
        Ok(generation) => panic!("{generation:?} was loaded"),
    }
}

pub(crate) async fn load(host: &Host, spec: PolicySpec) -> Arc<Generation> {
    host.load(spec).await.unwrap_or_else(|why| panic!("{why}"))
}

/// A policy and a chain of it alone.
pub(crate) async fn alone(host: &Host, spec: PolicySpec) -> (Arc<Policy>, Chain) {
    let policy = Policy::new(load(host, spec).await);
    (Arc::clone(&policy), Chain::new(vec![policy]))
}

pub(crate) fn facts() -> ConnectionFacts {
    ConnectionFacts {
        id: "c1".into(),
        listener: "test".into(),
        protocol: "mqtt",
        protocol_version: 5,
        transport: "tcp",
        peer: std::net::SocketAddr::from(([192, 0, 2, 1], 50_000)).into(),
        details: None,
        identity: None,
    }
}

pub(crate) fn login(client_id: &str) -> Login {
    Login {
        connection: facts(),
        credentials: Credentials { client_id: client_id.to_owned(), ..Credentials::default() },
    }
}

pub(crate) async fn ask(chain: &Chain, client_id: &str) -> Outcome {
    chain.authenticate(login(client_id)).await
}

pub(crate) fn granted(outcome: Outcome) -> Arc<Grant> {
    match outcome {
        Outcome::Allow(grant, _) => grant,
        other => panic!("no grant: {other:?}"),
    }
}

pub(crate) fn denied(outcome: Outcome) -> Denial {
    match outcome {
        Outcome::Deny(refusal) => refusal.denial,
        other => panic!("not denied: {other:?}"),
    }
}
