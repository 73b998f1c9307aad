//! The error that every Taper model crate returns.

/// What went wrong, in terms of the operation and the argument that the caller wrote.
///
/// It converts into [`candle_core::Error`], so `?` works inside a candle `forward`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument breaks the operation's contract.
    #[error("{operation}: {argument} should be {expected}, got {received}")]
    Argument {
        /// The operation as the caller spelled it, such as `cross_entropy`.
        operation: &'static str,
        /// The argument as the documentation names it, such as `target`.
        argument: String,
        /// What was expected and, where it is not plain, what to do.
        expected: String,
        /// What came.
        received: String,
    },
    /// A saved state does not fit the object that restores it.
    #[error("restore: {name}: {reason}")]
    State {
        /// The full dotted name of the entry.
        name: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The bytes are no safetensors file.
    #[error("safetensors: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An argument that breaks the contract of `operation`.
    pub fn argument(
        operation: &'static str,
        argument: impl Into<String>,
        expected: impl Into<String>,
        received: impl std::fmt::Display,
    ) -> Self {
        Self::Argument {
            operation,
            argument: argument.into(),
            expected: expected.into(),
            received: received.to_string(),
        }
    }

    /// A saved entry `name` that does not fit.
    pub fn state(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::State { name: name.into(), reason: reason.into() }
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => candle_core::Error::wrap(other),
        }
    }
}
