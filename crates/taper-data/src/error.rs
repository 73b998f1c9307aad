//! What can go wrong with data that comes from outside.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data set could not be fetched, kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, or the content of a file.
    #[error(transparent)]
    Core(#[from] taper_core::Error),
    /// No data set is called so.
    #[error(
        "no data set is called `{name}`{near}; there are {known}, and each with `-` and the name of a variant"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, as a question; empty where none is near.
        near: String,
        /// The names that there are.
        known: String,
    },
    /// The data set is not on this machine.
    #[error("{name} is not on this machine (looked in {}); {remedy}", .folder.display())]
    Absent {
        /// Its name.
        name: String,
        /// Where it would be.
        folder: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// The content is not what it should be. Nothing was kept.
    #[error("{name}/{part}: {reason}")]
    Content {
        /// The data set.
        name: String,
        /// Its part.
        part: String,
        /// What differs, and what to do.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The hub did not give what was asked for.
    #[error("{what}: {reason}")]
    Hub {
        /// What was asked for.
        what: String,
        /// What came, and what to do.
        reason: String,
    },
    /// A file or folder could not be read or written.
    #[error("{}: could not {action}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
