//! Statistics of each sample by itself.

mod fused;
mod group_norm;
mod layer_norm;
mod masked;
mod rms_norm;
mod terms;

use candle_core::{Shape, Tensor};
use taper_core::{Error, Result};

use crate::arguments::expect_computable;

pub use group_norm::{GroupNorm, GroupNormConfig, group_norm};
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use rms_norm::{RmsNorm, RmsNormConfig, rms_norm};

/// That there is something to normalise over.
fn expect_normalized_shape(operation: &'static str, shape: &Shape) -> Result<()> {
    if shape.rank() > 0 && shape.elem_count() > 0 {
        return Ok(());
    }
    let expected = "at least one axis, none of them empty";
    Err(Error::argument(operation, "normalized_shape", expected, format!("{shape:?}")))
}

/// That `x` is one to compute with and ends in the shape that is normalised over.
fn expect_trailing(operation: &'static str, x: &Tensor, shape: &Shape) -> Result<()> {
    if !x.dims().ends_with(shape.dims()) {
        let expected = format!("of a shape that ends in {:?}", shape.dims());
        return Err(Error::argument(operation, "x", expected, format!("{:?}", x.dims())));
    }
    expect_computable(operation, "x", x)
}
