use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What [`emit`](crate::emit) and [`sources`](crate::sources) return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a digest could not be made.
pub enum Error {
    /// Not called by a build script.
    NoBuildScript,
    /// A file or folder could not be read.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A Cargo.toml or Cargo.lock does not say what was expected of it.
    Manifest {
        /// Which.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        |source| Self::Io { path, source }
    }

    pub(crate) fn manifest(path: &Path, reason: impl Into<String>) -> Self {
        Self::Manifest { path: path.to_path_buf(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the digest of the sources: ")?;
        match self {
            Self::NoBuildScript => {
                write!(f, "CARGO_MANIFEST_DIR is not set; call `emit` from a build script")
            }
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Manifest { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

/// As it is displayed: a build script's `main` that returns an error prints it with `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NoBuildScript | Self::Manifest { .. } => None,
        }
    }
}
