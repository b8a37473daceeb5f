//! Policies that do what the client says, so that one test can lead the gateway through every verdict there is.
//!
//! A [`Script`] is a table of verdicts by letter. `authenticate` looks up the first octet of the authentication data, or
//! of the user name where the client names no method. A challenge names the answer that it waits for and the letter that
//! comes next; both travel in its state and nowhere else, so that an exchange which goes on proves that the state came
//! back unharmed. Any other answer leads to the letter `x`. `renew` looks up the first octet of the grant's state.
//!
//! The verdicts are laid out octet by octet in the canonical ABI of the contract's records, and the guest only chooses.

use std::collections::BTreeMap;

use crate::policies::{AUTHENTICATE, component};

/// The authentication method that the policy serves.
pub const METHOD: &str = "ROUNDS";

const CONTINUE: &str = "enhanced-authentication@VERSION#continue-authentication";

/// Where the table is laid out in the guest's memory; below it lies the result of the self-test.
const TABLE: u32 = 1024;
/// Octets of a `verdict` and of a `renewal.decision`: the grant is the largest case of both.
const VERDICT: usize = 152;
/// Where the case's payload begins in either.
const CASE: usize = 8;

/// One verdict of the table.
#[derive(Clone, Debug)]
pub enum Says {
    /// Lets the client in.
    Allow(Terms),
    /// Refuses it.
    Deny(No),
    /// Leaves it to others.
    Pass,
    /// Asks for more.
    Challenge(Question),
    /// Stops on an error of its own.
    Trap,
}

/// A grant for every topic.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The identity's subject.
    pub subject: &'static str,
    /// `(name, value)` of the contract's `limit`.
    pub limits: Vec<(&'static str, u64)>,
    /// Seconds.
    pub renew_after: Option<u32>,
    /// The letter of what `renew` answers.
    pub renewal: char,
    /// Authentication data for CONNACK or the last AUTH.
    pub data: Option<&'static str>,
}

impl Terms {
    /// For this subject, without bounds.
    #[must_use]
    pub fn of(subject: &'static str) -> Self {
        Self { subject, limits: Vec::new(), renew_after: None, renewal: 'x', data: None }
    }
}

/// A denial.
#[derive(Clone, Debug)]
pub struct No {
    /// Position in the contract's `deny-reason`.
    pub reason: u8,
    /// For the operator.
    pub detail: &'static str,
    /// For the client.
    pub message: Option<String>,
    /// Where to go instead.
    pub server: Option<String>,
}

impl No {
    /// With this reason and nothing for the client.
    #[must_use]
    pub fn because(reason: u8, detail: &'static str) -> Self {
        Self { reason, detail, message: None, server: None }
    }
}

/// A challenge.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its authentication data.
    pub data: String,
    /// What the client must answer.
    pub answer: &'static str,
    /// The letter of the next verdict.
    pub then: char,
    /// Seconds.
    pub within: Option<u32>,
}

impl Question {
    /// Asks, and goes on with a letter if the answer is right.
    #[must_use]
    pub fn new(data: impl Into<String>, answer: &'static str, then: char) -> Self {
        Self { data: data.into(), answer, then, within: None }
    }
}

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub struct Script(BTreeMap<char, Says>);

impl Script {
    /// Passes on everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one letter more.
    #[must_use]
    pub fn on(mut self, letter: char, says: Says) -> Self {
        assert!(letter.is_ascii(), "the guest compares octets");
        self.0.insert(letter, says);
        self
    }

    /// As a component.
    #[must_use]
    pub fn component(&self) -> Vec<u8> {
        let mut memory = Memory::default();
        let (mut verdicts, mut decisions) = (String::new(), String::new());
        for (letter, says) in &self.0 {
            verdicts += &choose(*letter, memory.verdict(says));
            decisions += &choose(*letter, memory.decision(says));
        }
        let description = memory.description();
        let pass = memory.place(&[2]);
        let table = memory.text();
        // What is allocated lies behind the table, and is forgotten after each call.
        let free = memory.end();
        let forget: String = ["authentication@VERSION#authenticate", CONTINUE, "renewal@VERSION#renew"]
            .iter()
            .map(|name| {
                format!(
                    r#"(func (export "cabi_post_portcullis:policy/{name}") (param i32)
                         (global.set $free (i32.const {free}))) "#
                )
            })
            .collect();
        let module = format!(
            r#"(module
  (memory (export "memory") 16)
  (global $free (mut i32) (i32.const {free}))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  {forget}
  (data (i32.const {TABLE}) "{table}")
  (func $say (param $letter i32) (result i32) {verdicts} (i32.const {pass}))
  (func $decide (param $letter i32) (result i32) {decisions} unreachable)
  {AUTHENTICATE}
    (if (i32.load8_u offset=152 (local.get 0)) (then
      (if (i32.eqz (i32.load8_u offset=164 (local.get 0))) (then (return (i32.const {pass}))))
      (if (i32.eqz (i32.load offset=172 (local.get 0))) (then (return (i32.const {pass}))))
      (return (call $say (i32.load8_u (i32.load offset=168 (local.get 0)))))))
    (if (i32.eqz (i32.load8_u offset=128 (local.get 0))) (then (return (i32.const {pass}))))
    (if (i32.eqz (i32.load offset=136 (local.get 0))) (then (return (i32.const {pass}))))
    (call $say (i32.load8_u (i32.load offset=132 (local.get 0)))))
  (func (export "portcullis:policy/{CONTINUE}") (param $in i32) (result i32)
    (local $answer i32) (local $expected i32) (local $left i32)
    (if (i32.load8_u offset=136 (local.get $in)) (then
      (local.set $answer (i32.load offset=140 (local.get $in)))
      (local.set $left (i32.load offset=144 (local.get $in)))))
    (if (i32.eqz (i32.load offset=160 (local.get $in))) (then unreachable))
    (local.set $expected (i32.add (i32.load offset=156 (local.get $in)) (i32.const 1)))
    (if (i32.ne (i32.add (local.get $left) (i32.const 1)) (i32.load offset=160 (local.get $in)))
      (then (return (call $say (i32.const {refused})))))
    (block $same (loop $next
      (br_if $same (i32.eqz (local.get $left)))
      (if (i32.ne (i32.load8_u (local.get $answer)) (i32.load8_u (local.get $expected)))
        (then (return (call $say (i32.const {refused})))))
      (local.set $answer (i32.add (local.get $answer) (i32.const 1)))
      (local.set $expected (i32.add (local.get $expected) (i32.const 1)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br $next)))
    (call $say (i32.load8_u (i32.load offset=156 (local.get $in)))))
  (func (export "portcullis:policy/renewal@VERSION#renew") (param $in i32) (result i32)
    (if (i32.eqz (i32.load offset=124 (local.get $in))) (then unreachable))
    (call $decide (i32.load8_u (i32.load offset=120 (local.get $in)))))
  (func (export "portcullis:policy/descriptor@VERSION#describe") (result i32) (i32.const {description}))
  (func (export "portcullis:policy/descriptor@VERSION#self-test") (result i32)
    (i32.store8 (i32.const 32) (i32.const 0)) (i32.const 32))
)"#,
            refused = u32::from('x'),
        );
        let exports = ["authentication", "enhanced-authentication", "renewal", "descriptor"];
        let world: String = exports.iter().map(|name| format!("export portcullis:policy/{name}@VERSION; ")).collect();
        component(&world, &module)
    }
}

/// The branch of a letter. None: a trap.
fn choose(letter: char, address: Option<u32>) -> String {
    let then = address.map_or_else(|| "unreachable".to_owned(), |at| format!("(return (i32.const {at}))"));
    format!("(if (i32.eq (local.get 0) (i32.const {})) (then {then})) ", u32::from(letter))
}

/// The guest's memory from [`TABLE`] on.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Memory {
    /// Puts octets at the next multiple of eight and gives their address.
    fn place(&mut self, octets: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = TABLE + u32::try_from(self.0.len()).expect("a small table");
        self.0.extend(octets);
        at
    }

    /// A string or list of octets: its address and length.
    fn list(&mut self, octets: impl AsRef<[u8]>) -> [u8; 8] {
        let octets = octets.as_ref();
        let at = self.place(octets);
        pair(at, octets.len())
    }

    fn verdict(&mut self, says: &Says) -> Option<u32> {
        let record = match says {
            Says::Allow(terms) => case(0, &self.grant(terms)),
            Says::Deny(no) => case(1, &self.denial(no)),
            Says::Pass => case(2, &[]),
            Says::Challenge(question) => case(3, &self.challenge(question)),
            Says::Trap => return None,
        };
        Some(self.place(&record))
    }

    /// As what `renew` answers: a grant replaces, a denial revokes, and everything else is a trap.
    fn decision(&mut self, says: &Says) -> Option<u32> {
        let record = match says {
            Says::Allow(terms) => case(1, &self.grant(terms)),
            Says::Deny(no) => case(2, &self.denial(no)),
            Says::Pass | Says::Challenge(_) | Says::Trap => return None,
        };
        Some(self.place(&record))
    }

    fn grant(&mut self, terms: &Terms) -> Vec<u8> {
        let mut record = vec![0; 144];
        put(&mut record, 0, self.list("test"));
        put(&mut record, 8, self.list(terms.subject));
        if let Some(seconds) = terms.renew_after {
            put(&mut record, 72, [1]);
            put(&mut record, 76, seconds.to_le_bytes());
        }
        // Allow every action at every quality of service; `#` does not reach what begins with `$`.
        let mut rule = vec![0; 16];
        put(&mut rule, 0, [0, 0b1111]);
        put(&mut rule, 4, self.list("#"));
        put(&mut rule, 12, [2]);
        let rules = self.place(&rule);
        put(&mut record, 92, pair(rules, 1));
        let mut limits = Vec::new();
        for (name, value) in &terms.limits {
            limits.extend(self.list(name));
            limits.extend(value.to_le_bytes());
        }
        let at = self.place(&limits);
        put(&mut record, 100, pair(at, terms.limits.len()));
        put(&mut record, 116, self.list([terms.renewal as u8]));
        if let Some(data) = terms.data {
            put(&mut record, 124, [1]);
            put(&mut record, 128, self.list(data));
        }
        record
    }

    fn denial(&mut self, no: &No) -> Vec<u8> {
        let mut record = vec![0; 68];
        put(&mut record, 0, [no.reason]);
        put(&mut record, 4, self.list(no.detail));
        for (at, words) in [(12, &no.message), (32, &no.server)] {
            if let Some(words) = words {
                put(&mut record, at, [1]);
                put(&mut record, at + 4, self.list(words));
            }
        }
        record
    }

    fn challenge(&mut self, question: &Question) -> Vec<u8> {
        let mut record = vec![0; 24];
        put(&mut record, 0, self.list(&question.data));
        put(&mut record, 8, self.list([&[question.then as u8], question.answer.as_bytes()].concat()));
        if let Some(seconds) = question.within {
            put(&mut record, 16, [1]);
            put(&mut record, 20, seconds.to_le_bytes());
        }
        record
    }

    /// What `describe` answers.
    fn description(&mut self) -> u32 {
        let mut record = vec![0; 48];
        put(&mut record, 0, self.list("rounds"));
        put(&mut record, 8, self.list("1.0.0"));
        let method = self.list(METHOD);
        let methods = self.place(&method);
        put(&mut record, 32, pair(methods, 1));
        self.place(&record)
    }

    /// The first address behind it, with room to align.
    fn end(&self) -> u32 {
        (TABLE + u32::try_from(self.0.len()).expect("a small table")).next_multiple_of(16)
    }

    /// As the text of a data segment.
    fn text(&self) -> String {
        self.0.iter().map(|octet| format!("\\{octet:02x}")).collect()
    }
}

fn pair(at: u32, length: usize) -> [u8; 8] {
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&at.to_le_bytes());
    octets[4..].copy_from_slice(&u32::try_from(length).expect("a short list").to_le_bytes());
    octets
}

fn put<const N: usize>(record: &mut [u8], at: usize, octets: [u8; N]) {
    record[at..at + N].copy_from_slice(&octets);
}

/// A case of a variant, with the payload behind its number.
fn case(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; VERDICT];
    record[0] = number;
    record[CASE..CASE + payload.len()].copy_from_slice(payload);
    record
}
