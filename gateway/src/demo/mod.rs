//! What `portcullis serve` does without a configuration: a gateway on loopback, with people in it and commands to try.
//!
//! It is a configuration like any other (`text`), with certificates (`certificate`) and entries of the directory
//! (`people`) made for it. Nothing in the rest of the program knows that it is a demo.

mod certificate;
mod people;
mod text;
mod tour;

use std::path::{Path, PathBuf};

use crate::files::{self, Readers};

pub(crate) use people::{People, PeopleError};
pub(crate) use tour::tour;

/// Where the demo keeps what it makes, below the data directory.
pub(crate) const FOLDER: &str = "demo";

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    /// There are no people.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The configuration cannot be written.
    #[error("{} cannot be written: {}", path.display(), crate::plain(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Makes certificates and configuration, and returns the path of the configuration.
///
/// # Errors
/// The disk refuses, or what is there from an earlier start cannot be used.
pub(crate) fn prepare(data: &Path, any_port: bool) -> Result<PathBuf, DemoError> {
    certificate::Certificates::ensure(&data.join("tls"))?;
    let folder = data.join(FOLDER);
    let file = folder.join("portcullis.toml");
    let text = text::configuration(any_port);
    // What is there already is not written again: flash wears out.
    let write = || match std::fs::read_to_string(&file) {
        Ok(known) if known == text => Ok(()),
        _ => files::write(&file, text.as_bytes(), Readers::Owner),
    };
    files::make_directory(&folder)
        .and_then(|()| write())
        .map_err(|source| DemoError::Write { path: file.clone(), source })?;
    Ok(file)
}
