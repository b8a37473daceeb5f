//! The file of the audit stream: appended to, turned over at a size, taken up again under its name when it was moved.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How large the file may become, and how many older ones stay beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turnover {
    /// Octets of one file.
    pub(crate) size: u64,
    /// `FILE.1` (the youngest) to `FILE.N`.
    pub(crate) files: u16,
}

/// An open file of the stream.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    turnover: Turnover,
    /// None: it could not be opened again, and is tried at each writing.
    file: Option<File>,
    /// Octets up to the end of the last whole line.
    length: u64,
}

impl AuditFile {
    /// Opens or makes it.
    pub(super) fn open(path: &Path, turnover: Turnover) -> io::Result<Self> {
        let mut file = Self { path: path.to_owned(), turnover, file: None, length: 0 };
        file.reopen()?;
        Ok(file)
    }

    /// Takes it up under its name again: whoever turns files over by name has moved the old one away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        // It names clients and their addresses: not for everybody.
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&self.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        // What a crash left half written ends here; it must not swallow the next line.
        let mut last = [0];
        if let Some(file) = &mut self.file
            && self.length > 0
            && (file.read_exact_at(&mut last, self.length - 1).is_err() || last != *b"\n")
        {
            file.write_all(b"\n")?;
            self.length += 1;
        }
        Ok(())
    }

    /// Appends whole lines, or nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        if self.length > 0 && self.length + lines.len() as u64 > self.turnover.size {
            self.turn_over()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        match file.write_all(lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(why) => {
                // Half a line would spoil the next one.
                let _ = file.set_len(self.length);
                Err(why)
            }
        }
    }

    /// The file becomes `.1`, what was `.1` becomes `.2`, and the oldest goes.
    fn turn_over(&mut self) -> io::Result<()> {
        let older = |number: u16| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.turnover.files).rev() {
            match std::fs::rename(older(number), older(number + 1)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
        }
        std::fs::rename(&self.path, older(1))?;
        self.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_stated_number_of_files_of_a_stated_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = AuditFile::open(&path, Turnover { size: 100, files: 2 }).unwrap();
        for number in 0..20 {
            file.append(format!("{number:039}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(directory.path()), ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        let all = read("audit.jsonl.2") + &read("audit.jsonl.1") + &read("audit.jsonl");
        let numbers: Vec<u32> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, [14, 15, 16, 17, 18, 19], "the latest, in order, none twice");
    }

    #[test]
    fn a_moved_file_is_left_when_it_is_opened_again_and_half_a_line_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, "half").unwrap();
        let mut file = AuditFile::open(&path, Turnover { size: 1000, files: 1 }).unwrap();
        file.append(b"one\n").unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        file.append(b"two\n").unwrap();
        file.reopen().unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(std::fs::read(directory.path().join("moved")).unwrap(), b"half\none\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
    }
}
