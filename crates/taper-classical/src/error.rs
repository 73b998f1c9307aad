//! The error that every method returns.

/// What went wrong, in terms of the operation and the argument that the caller wrote.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument breaks the operation's contract.
    #[error("{operation}: {argument} should be {expected}, got {received}")]
    Argument {
        /// The operation as the caller spelled it, such as `Pca::fit`.
        operation: &'static str,
        /// The argument as the documentation names it, such as `data`.
        argument: &'static str,
        /// What was expected and, where it is not plain, what to do.
        expected: String,
        /// What came.
        received: String,
    },
    /// An iteration did not converge.
    #[error("{operation}: no convergence after {iterations} iterations")]
    NoConvergence {
        /// The operation as the caller spelled it.
        operation: &'static str,
        /// How many iterations were tried.
        iterations: usize,
    },
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn argument(
        operation: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        received: impl std::fmt::Display,
    ) -> Self {
        Self::Argument {
            operation,
            argument,
            expected: expected.into(),
            received: received.to_string(),
        }
    }
}
