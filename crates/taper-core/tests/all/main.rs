//! The integration tests of `taper-core`: goldens, properties, extremes, saving and restoring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clip;
mod convolutions;
mod gradients;
mod initial_values;
mod joining;
mod layers;
mod operations;
mod optim;
mod parameters;
mod pooling;
mod record;
mod schedule;
mod state;
mod stream;
mod upsample2d;

use candle_core::{DType, Tensor, Var};
use taper_core::Result;
use taper_core::testing::{Case, assert_close};

/// That values and gradients of a layer without parameters are those of the goldens, in each dtype within its tolerance.
fn images_agree(
    goldens: Vec<Case>,
    tolerances: [(DType, f64); 2],
    forward: impl Fn(&Case, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    assert!(!goldens.is_empty());
    for case in goldens {
        for (dtype, tolerance) in tolerances {
            let x = Var::from_tensor(&case.tensor("x", dtype)?)?;
            let y = forward(&case, &x)?;
            assert_close(&y, &case.tensor("y", dtype)?, tolerance);
            let gradients = (y * case.tensor("cotangent", dtype)?)?.sum_all()?.backward()?;
            assert_close(gradients.get(&x).unwrap(), &case.tensor("dx", dtype)?, tolerance);
        }
    }
    Ok(())
}
