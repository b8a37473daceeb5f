//! Policies whose answers are constants: grants, renewals, decisions and responses that are laid out beforehand, as the
//! component model's canonical ABI has them in memory. Whatever else an export is to do is WebAssembly text.

use super::{FRAME, component};

/// Where the constants begin.
const BASE: u32 = 4096;

/// What a rule of a grant does with a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Everything may be done there.
    Allow,
    /// Nothing may.
    Deny,
    /// `authorize` decides.
    Ask,
}

/// The terms on which such a policy lets a client in. The scheme is `constant`.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who everybody is.
    pub subject: &'static str,
    /// Within what.
    pub tenant: Option<&'static str>,
    /// Rules about publishing, subscribing, retaining and wills.
    pub rules: Vec<(Effect, String)>,
    /// Seconds until the grant is looked at again.
    pub renew_after: Option<u32>,
    /// What it was derived from, such as `app:pumps`.
    pub depends_on: Vec<String>,
}

impl Terms {
    /// Everything on these filters.
    #[must_use]
    pub fn allowing(filters: &[&str]) -> Self {
        Self::with(&filters.iter().map(|filter| (Effect::Allow, *filter)).collect::<Vec<_>>())
    }

    /// These rules.
    #[must_use]
    pub fn with(rules: &[(Effect, &str)]) -> Self {
        let rules = rules.iter().map(|(effect, filter)| (*effect, (*filter).to_owned())).collect();
        Self { subject: "somebody", tenant: None, rules, renew_after: None, depends_on: Vec::new() }
    }
}

/// A policy in the making.
#[derive(Debug, Default)]
pub struct Answers {
    data: Vec<u8>,
    world: String,
    imports: String,
    functions: String,
}

/// Where a constant lies: the body of a function that answers with it.
#[derive(Clone, Copy, Debug)]
pub struct Constant(u32);

impl Constant {
    /// WebAssembly text that puts a number into it before it is answered.
    #[must_use]
    pub fn with_word(self, offset: u32, value: &str) -> String {
        format!("(i32.store offset={offset} (i32.const {}) {value})", self.0)
    }

    /// WebAssembly text that leaves its address.
    #[must_use]
    pub fn body(self) -> String {
        format!("(i32.const {})", self.0)
    }
}

/// A record as it lies in memory.
struct Record(Vec<u8>);

impl Record {
    fn of(size: usize) -> Self {
        Self(vec![0; size])
    }

    fn octet(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    fn word(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// A string or list.
    fn list(&mut self, at: usize, (address, length): (u32, u32)) {
        self.word(at, address);
        self.word(at + 4, length);
    }
}

impl Answers {
    /// A policy that exports nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn put(&mut self, octets: &[u8]) -> u32 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = BASE + self.data.len() as u32;
        self.data.extend(octets);
        at
    }

    fn text(&mut self, text: &str) -> (u32, u32) {
        (self.put(text.as_bytes()), text.len() as u32)
    }

    /// A variant whose payload begins at `offset`.
    fn variant(&mut self, case: u8, offset: usize, payload: &[u8]) -> Constant {
        let mut octets = vec![0; offset];
        octets[0] = case;
        octets.extend(payload);
        Constant(self.put(&octets))
    }

    fn grant_record(&mut self, terms: &Terms) -> Vec<u8> {
        let mut rules = Vec::new();
        for (effect, filter) in &terms.rules {
            let mut rule = Record::of(16);
            rule.octet(0, *effect as u8);
            rule.octet(1, 0b1111);
            rule.list(4, self.text(filter));
            rule.octet(12, 2);
            rules.extend(rule.0);
        }
        let mut depends_on = Vec::new();
        for name in &terms.depends_on {
            let mut entry = Record::of(8);
            entry.list(0, self.text(name));
            depends_on.extend(entry.0);
        }
        let mut grant = Record::of(144);
        grant.list(0, self.text("constant"));
        grant.list(8, self.text(terms.subject));
        if let Some(tenant) = terms.tenant {
            grant.octet(16, 1);
            grant.list(20, self.text(tenant));
        }
        if let Some(seconds) = terms.renew_after {
            grant.octet(72, 1);
            grant.word(76, seconds);
        }
        grant.list(92, (self.put(&rules), terms.rules.len() as u32));
        grant.list(108, (self.put(&depends_on), terms.depends_on.len() as u32));
        grant.0
    }

    /// The contract's `denial` with this reason (its position among the reasons) and detail.
    fn denial_record(&mut self, reason: u8, detail: &str) -> Vec<u8> {
        let mut denial = Record::of(68);
        denial.octet(0, reason);
        denial.list(4, self.text(detail));
        denial.0
    }

    /// A case of a variant whose payload is a denial that says what is no UTF-8.
    pub fn garbled(&mut self, case: u8, offset: usize) -> Constant {
        let mut denial = Record::of(68);
        denial.list(4, (self.put(b"\xff\xfe"), 2));
        self.variant(case, offset, &[denial.0, vec![0; 76]].concat())
    }

    /// An HTTP response with a header whose name is no UTF-8.
    pub fn garbled_header(&mut self) -> Constant {
        let mut header = Record::of(16);
        header.list(0, (self.put(b"\xff\xfe"), 2));
        let mut response = Record::of(20);
        response.0[0] = 200;
        response.list(4, (self.put(&header.0), 1));
        Constant(self.put(&response.0))
    }

    /// The verdict `allow`, with rules whose actions are these flags, whether there are such or not.
    pub fn allow_with_flags(&mut self, rules: &[(Effect, &str, u8)]) -> Constant {
        let terms = Terms::with(&rules.iter().map(|(effect, filter, _)| (*effect, *filter)).collect::<Vec<_>>());
        let grant = self.grant_record(&terms);
        let at = u32::from_le_bytes([grant[92], grant[93], grant[94], grant[95]]) - BASE;
        for (index, (_, _, flags)) in rules.iter().enumerate() {
            self.data[at as usize + 16 * index + 1] = *flags;
        }
        self.variant(0, 8, &grant)
    }

    /// The verdict `allow`.
    pub fn allow(&mut self, terms: &Terms) -> Constant {
        let grant = self.grant_record(terms);
        self.variant(0, 8, &grant)
    }

    /// The verdict `challenge`, with nothing in it.
    pub fn challenge(&mut self) -> Constant {
        self.variant(3, 8, &[0; 24])
    }

    /// `renew`: look again after so many seconds.
    pub fn keep(&mut self, seconds: u32) -> Constant {
        self.variant(0, 8, &[seconds.to_le_bytes().as_slice(), &[0; 140]].concat())
    }

    /// `renew`: another grant.
    pub fn replace(&mut self, terms: &Terms) -> Constant {
        let grant = self.grant_record(terms);
        self.variant(1, 8, &grant)
    }

    /// `renew`: the end, as `not-authorized`.
    pub fn revoke(&mut self, detail: &str) -> Constant {
        let denial = self.denial_record(1, detail);
        self.variant(2, 8, &[denial, vec![0; 76]].concat())
    }

    /// `authorize`: yes or no, and for how many seconds that holds.
    pub fn decision(&mut self, allowed: bool, valid_for: u32) -> Constant {
        let denial = if allowed { vec![0; 68] } else { self.denial_record(1, "not any more") };
        self.variant(u8::from(!allowed), 4, &[denial.as_slice(), &valid_for.to_le_bytes()].concat())
    }

    /// An HTTP response without headers.
    pub fn response(&mut self, status: u16, body: &str) -> Constant {
        let mut response = Record::of(20);
        response.0[..2].copy_from_slice(&status.to_le_bytes());
        response.list(12, self.text(body));
        Constant(self.put(&response.0))
    }

    /// `filter`: the message passes.
    pub fn pass_on(&mut self) -> Constant {
        self.variant(0, 40, &[])
    }

    /// Exports a function of an interface, with a body that leaves the address of its answer. Its one parameter is the
    /// address of what it was asked.
    #[must_use]
    pub fn export(mut self, interface: &str, function: &str, body: &str) -> Self {
        self.world += &format!("export portcullis:policy/{interface}@VERSION;");
        self.functions += &format!(
            r#"(func (export "portcullis:policy/{interface}@VERSION#{function}") (param i32) (result i32) {body})"#
        );
        self
    }

    /// Imports a function of an interface, such as `"now" (func $now (result i64))`.
    #[must_use]
    pub fn import(mut self, interface: &str, function: &str) -> Self {
        self.world += &format!("import portcullis:policy/{interface}@VERSION;");
        self.imports += &format!(r#"(import "portcullis:policy/{interface}@VERSION" {function})"#);
        self
    }

    /// With further functions, data or globals.
    #[must_use]
    pub fn also(mut self, text: &str) -> Self {
        self.functions += text;
        self
    }

    /// Exports `authentication` with this answer.
    #[must_use]
    pub fn authenticate(self, answer: Constant) -> Self {
        self.export("authentication", "authenticate", &answer.body())
    }

    /// Exports `renewal` with this answer.
    #[must_use]
    pub fn renew(self, answer: Constant) -> Self {
        self.export("renewal", "renew", &answer.body())
    }

    /// Exports `authorization` with this answer.
    #[must_use]
    pub fn authorize(self, answer: Constant) -> Self {
        self.export("authorization", "authorize", &answer.body())
    }

    /// The component.
    #[must_use]
    pub fn component(self) -> Vec<u8> {
        let end = (BASE + self.data.len() as u32).next_multiple_of(16);
        let frame = FRAME
            .replace("(memory (export \"memory\") 1)", &format!("(memory (export \"memory\") {})", end / 65_536 + 1))
            .replace(
                "(global $free (mut i32) (i32.const 4096))",
                &format!("(global $free (mut i32) (i32.const {end}))"),
            );
        let data: String = self.data.iter().map(|octet| format!("\\{octet:02x}")).collect();
        let Self { world, imports, functions, .. } = self;
        let module = format!(r#"(module {imports} {frame} (data (i32.const {BASE}) "{data}") {functions})"#);
        component(&world, &module)
    }
}
