//! Machine code that was made on another machine, for gateways that compile nothing.
//!
//! A directory with `index.json` and a file `<digest>.cwasm` for each component. Machine code is a program: whoever can
//! write it *is* the gateway. So nothing is loaded that lies about somewhere: the directory is named by the operator, its
//! index must satisfy a check that the operator asked for (a signature, a digest), and each file must have the SHA-256 that
//! the index says. The octets that were checked are the ones that are loaded. What a policy's *source* gives (a file, a
//! registry, an upload) is never machine code.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::code::MachineCode;
use crate::digest::digest_of;
use crate::target;

/// The file that says what is there.
pub const INDEX: &str = "index.json";
/// How the index is written. Another one is another number.
const FORMAT: u32 = 1;
/// The most octets of an index.
const MAX_INDEX: u64 = 1 << 20;
/// The most octets of one file of machine code.
const MAX_CODE: u64 = 512 << 20;

/// What is in a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// How this is written.
    pub format: u32,
    /// The gateway that compiled, for people.
    pub made_by: String,
    /// What all of the code is for.
    pub target: String,
    /// A digest of engine and settings: code of another one is of no use beside this.
    pub engine: String,
    /// The components.
    pub components: Vec<Entry>,
}

/// One component in an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// SHA-256 of the component.
    pub component: String,
    /// Where it came from, for people.
    pub origin: String,
    /// Octets of the machine code.
    pub octets: u64,
    /// SHA-256 of the machine code.
    pub code: String,
}

/// Whether an index may be believed: given the file and its content, what speaks against it.
pub type Check = Box<dyn Fn(&Path, &[u8]) -> Result<(), String> + Send + Sync>;

/// A directory that the operator has named.
pub struct Precompiled {
    directory: PathBuf,
    check: Check,
}

/// Why there is nothing to load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It is not among what the index has.
    Absent,
    /// There is something, and it is of no use; a phrase.
    Refused(String),
}

impl Precompiled {
    /// With what an index must satisfy beyond being one.
    #[must_use]
    pub fn new(directory: PathBuf, check: Check) -> Self {
        Self { directory, check }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The machine code for a component, checked. The index is read each time, so that what is added is found.
    pub(crate) fn load(&self, component: &str, runs: Option<&str>) -> Result<(MachineCode, Index), Lack> {
        let refused = |why: String| Lack::Refused(format!("the machine code in {}: {why}", self.directory.display()));
        let index = self.index().map_err(refused)?;
        let Some(entry) = index.components.iter().find(|entry| entry.component == component).cloned() else {
            return Err(Lack::Absent);
        };
        if !target::suits(&index.target, runs) {
            return Err(refused(format!("it is for {}, and this gateway runs {}", index.target, target::word(runs))));
        }
        let file = self.directory.join(file_name(component));
        let code = read(&file, entry.octets).map_err(|why| refused(format!("{}: {why}", file_name(component))))?;
        if digest_of(&code) != entry.code {
            return Err(refused(format!(
                "{} is not what {INDEX} says; it was changed or damaged",
                file_name(component)
            )));
        }
        Ok((code, index))
    }

    fn index(&self) -> Result<Index, String> {
        let path = self.directory.join(INDEX);
        for place in [&self.directory, &path] {
            let mode = fs::metadata(place).map_err(|why| format!("{} cannot be read: {why}", place.display()))?;
            // Where everybody may write, somebody else's code may lie.
            if mode.permissions().mode() & 0o002 != 0 {
                return Err(format!("everybody may write to {}: `chmod o-w` it", place.display()));
            }
        }
        let content = bounded(&path).map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
        (self.check)(&path, &content)?;
        parse(&content)
    }
}

impl std::fmt::Debug for Precompiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Precompiled").field(&self.directory).finish()
    }
}

/// A component and the machine code that was made of it.
#[derive(Debug)]
pub struct Made {
    /// SHA-256 of the component.
    pub component: String,
    /// Where it came from, for people.
    pub origin: String,
    /// The code.
    pub code: Vec<u8>,
}

/// Adds machine code to a directory, making it if it is not there. What is there for the same target and engine stays; of
/// another engine it goes, since nothing could use it together with this.
///
/// # Errors
/// The directory has something else in it, or the disk refuses; a sentence.
pub fn add(directory: &Path, made_by: &str, target: &str, engine: &str, made: &[Made]) -> Result<Index, String> {
    let at = |place: &Path, why: io::Error| format!("{} cannot be written: {why}", place.display());
    fs::create_dir_all(directory).map_err(|why| at(directory, why))?;
    let path = directory.join(INDEX);
    let mut index = Index {
        format: FORMAT,
        made_by: made_by.to_owned(),
        target: target.to_owned(),
        engine: engine.to_owned(),
        components: Vec::new(),
    };
    match bounded(&path) {
        Ok(content) => {
            let old = parse(&content).map_err(|why| format!("{}: {why}", directory.display()))?;
            if old.target != target {
                let there = directory.display();
                return Err(format!(
                    "{there} has machine code for {}; take another directory for {target}",
                    old.target
                ));
            }
            if old.engine == engine {
                index.components = old.components;
            } else {
                for entry in &old.components {
                    let _ = fs::remove_file(directory.join(file_name(&entry.component)));
                }
            }
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let mut there = fs::read_dir(directory).map_err(|why| at(directory, why))?;
            if there.next().is_some() {
                return Err(format!("{} has other things in it; take an empty directory", directory.display()));
            }
        }
        Err(why) => return Err(format!("{} cannot be read: {why}", path.display())),
    }
    for one in made {
        let file = directory.join(file_name(&one.component));
        replace(&file, &one.code).map_err(|why| at(&file, why))?;
        index.components.retain(|entry| entry.component != one.component);
        index.components.push(Entry {
            component: one.component.clone(),
            origin: one.origin.clone(),
            octets: one.code.len() as u64,
            code: digest_of(&one.code),
        });
    }
    let mut text = serde_json::to_vec_pretty(&index).map_err(|why| why.to_string())?;
    text.push(b'\n');
    // Last: until it is there, nothing is believed that it does not name.
    replace(&path, &text).map_err(|why| at(&path, why))?;
    Ok(index)
}

/// The digest of engine and settings for a target, or for this very processor, as an index has it.
///
/// # Errors
/// This build does not compile for it.
#[cfg(feature = "compiler")]
pub fn engine_digest(target: Option<&str>) -> Result<String, String> {
    Ok(crate::engine::compatibility(&crate::compile::engine_for(target)?))
}

/// # Errors
/// This build has no compiler.
#[cfg(not(feature = "compiler"))]
pub fn engine_digest(target: Option<&str>) -> Result<String, String> {
    crate::compile::compile_to_vec(&[], target).map(|_| String::new())
}

fn file_name(component: &str) -> String {
    format!("{component}.cwasm")
}

fn parse(content: &[u8]) -> Result<Index, String> {
    #[derive(Deserialize)]
    struct Only {
        format: u32,
    }
    let unreadable = |why: serde_json::Error| format!("{INDEX} is not one of `portcullis policy precompile`: {why}");
    let Only { format } = serde_json::from_slice(content).map_err(unreadable)?;
    if format != FORMAT {
        return Err(format!("{INDEX} is written in format {format}, and this gateway reads {FORMAT}"));
    }
    let index: Index = serde_json::from_slice(content).map_err(unreadable)?;
    // The digest is the name of a file, and leads nowhere else.
    let is_digest =
        |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match index.components.iter().find(|entry| !is_digest(&entry.component)) {
        Some(entry) => Err(format!("{INDEX}: {:?} is not the SHA-256 of a component", entry.component)),
        None => Ok(index),
    }
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_INDEX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_INDEX {
        return Err(io::Error::other(format!("it is larger than {} KiB", MAX_INDEX >> 10)));
    }
    Ok(content)
}

fn read(path: &Path, octets: u64) -> io::Result<MachineCode> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length != octets || length > MAX_CODE {
        return Err(io::Error::other(format!("it has {length} octets, and {INDEX} says {octets}")));
    }
    MachineCode::from_file(&mut file, usize::try_from(length).map_err(io::Error::other)?)
}

/// Writes a file that appears whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(what: &str) -> Made {
        let code = what.as_bytes().to_vec();
        Made { component: digest_of(what.as_bytes()), origin: what.to_owned(), code }
    }

    fn open(directory: &Path) -> Precompiled {
        Precompiled::new(directory.to_owned(), Box::new(|_, _| Ok(())))
    }

    fn refused(directory: &Path, what: &str) -> String {
        match open(directory).load(&digest_of(what.as_bytes()), None) {
            Err(Lack::Refused(why)) => why,
            other => panic!("{what}: {other:?}"),
        }
    }

    const HERE: &str = std::env::consts::ARCH;

    #[test]
    fn what_was_added_is_found_by_the_digest_of_its_component() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        add(directory.path(), "a test", HERE, "e", &[made("two"), made("one")]).expect("added");
        let found = open(directory.path());
        for what in ["one", "two"] {
            let (code, _) = found.load(&digest_of(what.as_bytes()), None).expect("found");
            assert_eq!(&*code, what.as_bytes());
        }
        assert_eq!(found.load(&digest_of(b"three"), None).err(), Some(Lack::Absent));
    }

    #[test]
    fn code_of_another_engine_goes_when_new_code_comes() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        add(directory.path(), "a test", HERE, "f", &[made("two")]).expect("added");
        assert_eq!(open(directory.path()).load(&digest_of(b"one"), None).err(), Some(Lack::Absent));
        assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 2);
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", "pulley64", "e", &[made("one")]).expect("added");
        let why = add(directory.path(), "a test", "pulley32", "e", &[made("one")]).expect_err("another target");
        assert!(why.contains("pulley64"), "{why}");
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("letter"), "dear").expect("written");
        let why = add(directory.path(), "a test", HERE, "e", &[made("one")]).expect_err("not ours");
        assert!(why.contains("empty directory"), "{why}");
    }

    #[test]
    fn every_changed_octet_of_the_code_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        let file = directory.path().join(file_name(&digest_of(b"one")));
        for bad in ["One", "onE", "on", "one "] {
            fs::write(&file, bad).expect("written");
            let why = refused(directory.path(), "one");
            assert!(why.contains(INDEX), "{why}");
        }
        fs::remove_file(&file).expect("removed");
        refused(directory.path(), "one");
    }

    #[test]
    fn an_index_must_satisfy_what_the_operator_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        let strict = Precompiled::new(directory.path().to_owned(), Box::new(|_, _| Err("it is not signed".to_owned())));
        let refused = strict.load(&digest_of(b"one"), None);
        assert!(matches!(&refused, Err(Lack::Refused(why)) if why.contains("not signed")), "{refused:?}");
    }

    #[test]
    fn where_everybody_may_write_nothing_is_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        for place in [directory.path().to_owned(), directory.path().join(INDEX)] {
            let before = fs::metadata(&place).expect("there").permissions();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("changed");
            let why = refused(directory.path(), "one");
            assert!(why.contains("chmod o-w"), "{why}");
            fs::set_permissions(&place, before).expect("changed");
        }
        open(directory.path()).load(&digest_of(b"one"), None).expect("found");
    }

    #[test]
    fn an_index_cannot_lead_elsewhere() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", HERE, "e", &[made("one")]).expect("added");
        let path = directory.path().join(INDEX);
        let text = fs::read_to_string(&path).expect("the index");
        let mut changed = text.replace(&digest_of(b"one"), "../../etc/passwd");
        fs::write(&path, &changed).expect("written");
        assert!(refused(directory.path(), "one").contains("SHA-256 of a component"));
        changed = text.replace("\"format\": 1", "\"format\": 2");
        fs::write(&path, &changed).expect("written");
        assert!(refused(directory.path(), "one").contains("format 2"));
    }

    #[test]
    fn code_for_another_processor_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        add(directory.path(), "a test", "s390x-unknown-linux-gnu", "e", &[made("one")]).expect("added");
        let why = refused(directory.path(), "one");
        assert!(why.contains("s390x-unknown-linux-gnu") && why.contains(HERE), "{why}");
    }
}
