//! What normalization is said to do to training, measured on any model: a closure that gives a loss, and its variables.
//!
//! None of it changes the model: variables and running statistics are put back to the bit, after an error too.

mod covariate_shift;
mod drift;
mod gradient_norms;
mod landscape;
mod percentiles;
mod restoring;
mod slope;

pub use covariate_shift::{Shift, covariate_shift};
pub use drift::{Drift, DriftConfig};
pub use gradient_norms::{GradientNorms, gradient_norms};
pub use landscape::{Landscape, landscape};
pub use percentiles::percentiles;
pub use restoring::restoring;
