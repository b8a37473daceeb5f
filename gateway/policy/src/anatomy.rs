//! What a component is made of, read from its octets and without running it: core modules, who made it, whether its
//! functions have names.

use wasmparser::{Parser, Payload};

use crate::inspect::check_kind;
use crate::spec::Fault;

/// The most entries that are read of who made it.
const MOST_PRODUCERS: usize = 64;
/// The most octets of one word of them.
const LONGEST_WORD: usize = 128;

/// The parts of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// Core modules in it.
    pub core_modules: usize,
    /// Octets of them.
    pub core_octets: usize,
    /// Whether any of them has a name section, so that a trap names functions.
    pub names: bool,
    /// Who made it, as it says itself: a field (`language`, `processed-by`, `sdk`), a name and a version. Each once.
    pub producers: Vec<(String, String, String)>,
}

impl Anatomy {
    /// Reads a component.
    ///
    /// # Errors
    /// It is none.
    pub fn of(component: &[u8]) -> Result<Self, Fault> {
        check_kind(component)?;
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(|why| Fault::Compile(why.to_string()))? {
                Payload::ModuleSection { unchecked_range, .. } => {
                    found.core_modules += 1;
                    found.core_octets += unchecked_range.len();
                }
                Payload::CustomSection(section) if section.name() == "name" => found.names = true,
                Payload::CustomSection(section) if section.name() == "producers" => found.add(section.data()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Adds what a section says. One that is broken says nothing: it is for people.
    fn add(&mut self, section: &[u8]) {
        let reader = wasmparser::BinaryReader::new(section, 0);
        let Ok(fields) = wasmparser::ProducersSectionReader::new(reader) else { return };
        for field in fields.into_iter().flatten() {
            for value in field.values.into_iter().flatten() {
                let word = |text: &str| crate::capability::escaped(text).chars().take(LONGEST_WORD).collect::<String>();
                let entry = (word(field.name), word(value.name), word(value.version));
                if self.producers.len() < MOST_PRODUCERS && !self.producers.contains(&entry) {
                    self.producers.push(entry);
                }
            }
        }
    }
}
