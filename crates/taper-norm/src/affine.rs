//! A weight and a bias for each channel, which most norms end in.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use taper_core::Result;

use crate::arguments::expect_values;

/// `vb`'s `weight` and `bias` (channels), if they are wanted; new ones are 1 and 0.
pub(crate) fn affine(
    wanted: bool,
    channels: usize,
    vb: &VarBuilder,
) -> Result<Option<(Tensor, Tensor)>> {
    let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
    Ok(if wanted { Some((get("weight", 1.0)?, get("bias", 0.0)?)) } else { None })
}

/// That both, where they are there, have a value for each channel.
pub(crate) fn expect_affine(
    operation: &'static str,
    affine: &Option<(Tensor, Tensor)>,
    channels: usize,
) -> Result<()> {
    let Some((weight, bias)) = affine else {
        return Ok(());
    };
    expect_values(operation, "weight", weight, &[channels])?;
    expect_values(operation, "bias", bias, &[channels])
}
