//! Checks of arguments that every layer makes.

use candle_core::{DType, Tensor};
use taper_core::{Error, Result};

/// That `tensor`, an input, is one to compute with.
pub(crate) fn expect_computable(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
) -> Result<()> {
    if is_computable(tensor.dtype()) {
        return Ok(());
    }
    let received = format!("{:?}", tensor.dtype());
    Err(Error::argument(operation, argument, "f64, f32, bf16 or f16", received))
}

/// That `x` is one to compute with and has `channels` along its second axis.
pub(crate) fn expect_channels(operation: &'static str, x: &Tensor, channels: usize) -> Result<()> {
    if !(2..=5).contains(&x.rank()) || x.dims()[1] != channels {
        let expected = format!("(N, {channels}) with up to 3 more axes");
        return Err(Error::argument(operation, "x", expected, format!("{:?}", x.dims())));
    }
    expect_computable(operation, "x", x)
}

/// That `tensor`, a parameter or a state, is one to compute with and of this shape.
pub(crate) fn expect_values(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<()> {
    if tensor.dims() == shape && is_computable(tensor.dtype()) {
        return Ok(());
    }
    let expected = format!("f64, f32, bf16 or f16 of shape {shape:?}");
    Err(Error::argument(operation, argument, expected, described(tensor)))
}

/// That `tensor` is of the shape and dtype of `x`.
pub(crate) fn expect_like_x(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
    x: &Tensor,
) -> Result<()> {
    if tensor.shape() == x.shape() && tensor.dtype() == x.dtype() {
        return Ok(());
    }
    let expected = format!("as x, {}", described(x));
    Err(Error::argument(operation, argument, expected, described(tensor)))
}

/// That `mask` is one of the places of `x` (N, C, places...).
pub(crate) fn expect_mask(operation: &'static str, mask: &Tensor, x: &Tensor) -> Result<()> {
    let mut shape = x.dims().to_vec();
    shape.remove(1);
    if mask.dims() == shape && mask.dtype() == DType::U8 {
        return Ok(());
    }
    let expected = format!("U8 of shape {shape:?}, that of x without its channels");
    Err(Error::argument(operation, "mask", expected, described(mask)))
}

/// That ε can keep a square root from zero.
pub(crate) fn expect_eps(operation: &'static str, eps: f64) -> Result<()> {
    // Written so that NaN is refused.
    if eps > 0.0 && eps.is_finite() {
        return Ok(());
    }
    Err(Error::argument(operation, "eps", "above 0 and finite", eps))
}

/// Dtype and shape, for a message.
pub(crate) fn described(tensor: &Tensor) -> String {
    format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims())
}

/// Whether half precision is widened to f32 to compute with it.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

fn is_computable(dtype: DType) -> bool {
    is_half(dtype) || matches!(dtype, DType::F64 | DType::F32)
}
