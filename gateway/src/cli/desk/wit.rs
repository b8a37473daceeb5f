//! `portcullis policy wit [DIR]`: the contract that this binary was built with, as the files that generators read.

use std::path::Path;

use portcullis_policy::{WIT, contract_version};

use crate::cli::{Exit, Failure, out};

/// Writes the package into a directory, which is made if it is not there.
pub(in crate::cli) fn run(directory: &Path) -> Result<Exit, Failure> {
    write(directory)?;
    out::line(format_args!("{}: portcullis:policy {}, {} files", directory.display(), contract_version(), WIT.len()));
    Ok(Exit::Success)
}

/// Writes the files. One that is there and says something else is somebody's work and stays.
pub(super) fn write(directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(format!("{} cannot be written: {}", path.display(), crate::plain(&error)), Exit::Failure)
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, text) in WIT {
        let path = directory.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there != *text) {
            let words = format!("{} is there and differs; remove it, or name another directory", path.display());
            return Err(Failure::new(words, Exit::Failure));
        }
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
