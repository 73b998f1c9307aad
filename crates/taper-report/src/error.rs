//! The error of this crate.

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the report breaks its contract.
    #[error("{operation}: {argument} should be {expected}, got `{received}`")]
    Argument {
        /// What was being made, such as `html`.
        operation: &'static str,
        /// The field, such as ``id of the claim `bn` ``.
        argument: String,
        /// What was expected.
        expected: &'static str,
        /// What came.
        received: String,
    },
    /// A template could not be filled in.
    #[error("template: {0}")]
    Template(#[from] minijinja::Error),
    /// A figure could not be drawn.
    #[error("figure {id}: {reason}")]
    Figure {
        /// The figure's id.
        id: String,
        /// What the drawing library said.
        reason: String,
    },
    /// The rows could not be written.
    #[error("csv: {0}")]
    Csv(String),
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
