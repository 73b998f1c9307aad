//! What the tests of every Taper crate share: golden files, closeness, gradient checks.
//!
//! Behind the feature `testing`; a crate asks for it in its `dev-dependencies`.

mod close;
mod golden;
mod gradients;

pub use close::assert_close;
pub use golden::{Case, goldens};
pub use gradients::{gradcheck, gradients_reach};
