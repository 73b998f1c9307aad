//! Checks of arguments that every loss makes.

use candle_core::{DType, Device, Tensor};
use taper_core::op::Elements;
use taper_core::{Error, Result};

/// The dtype in which the loss of `tensor` is computed: half precision is widened to f32.
pub(crate) fn precision(operation: &'static str, argument: &str, tensor: &Tensor) -> Result<DType> {
    match tensor.dtype() {
        DType::F64 => Ok(DType::F64),
        DType::F32 | DType::F16 | DType::BF16 => Ok(DType::F32),
        other => {
            let received = format!("{other:?}");
            Err(Error::argument(operation, argument, "f64, f32, bf16 or f16", received))
        }
    }
}

/// That `tensor` has exactly this shape: nothing is broadcast in silence.
pub(crate) fn expect_shape(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<()> {
    if tensor.dims() == shape {
        return Ok(());
    }
    let (expected, received) = (format!("of shape {shape:?}"), format!("{:?}", tensor.dims()));
    Err(Error::argument(operation, argument, expected, received))
}

/// `target` without gradient, contiguous and in the dtype of the computation, if it has the shape and dtype of the
/// loss's first argument `like`, called `like_name`.
pub(crate) fn target_like(
    operation: &'static str,
    target: &Tensor,
    like_name: &str,
    like: &Tensor,
) -> Result<Tensor> {
    Ok(beside(operation, "target", &target.detach(), like_name, like)?.contiguous()?)
}

/// `tensor` with its gradient and in the dtype of the computation, if it has the shape and dtype of the loss's first
/// argument `like`, called `like_name`.
pub(crate) fn beside(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
    like_name: &str,
    like: &Tensor,
) -> Result<Tensor> {
    expect_shape(operation, argument, tensor, like.dims())?;
    if tensor.dtype() != like.dtype() {
        let expected = format!("{:?}, as {like_name}", like.dtype());
        let received = format!("{:?}", tensor.dtype());
        return Err(Error::argument(operation, argument, expected, received));
    }
    Ok(tensor.to_dtype(precision(operation, argument, tensor)?)?)
}

/// The values of `weights` in row-major order, if all of them are finite and none is negative.
pub(crate) fn checked_weights(
    operation: &'static str,
    argument: &str,
    weights: &Tensor,
) -> Result<Vec<f64>> {
    precision(operation, argument, weights)?;
    let values = to_host(weights)?;
    match values.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        None => Ok(values),
        Some(at) => Err(Error::argument(
            operation,
            element(argument, at, weights.dims()),
            "finite and not negative",
            values[at],
        )),
    }
}

/// That all elements of `tensor` are from 0 to 1.
pub(crate) fn expect_probabilities(
    operation: &'static str,
    argument: &str,
    tensor: &Tensor,
) -> Result<()> {
    if in_place(tensor)? {
        return Ok(());
    }
    let values = to_host(&tensor.detach())?;
    match values.iter().enumerate().find(|(_, value)| !(0.0..=1.0).contains(*value)) {
        None => Ok(()),
        Some((at, value)) => Err(Error::argument(
            operation,
            element(argument, at, tensor.dims()),
            "a probability from 0 to 1",
            value,
        )),
    }
}

/// Whether all elements are probabilities, where that can be read off without a copy.
fn in_place(tensor: &Tensor) -> Result<bool> {
    // Not a search, so that it is a loop without branches.
    fn all<T: PartialOrd + From<u8>>(values: &[T]) -> bool {
        let (zero, one) = (T::from(0), T::from(1));
        values.iter().fold(true, |good, value| good & (*value >= zero) & (*value <= one))
    }
    if !tensor.device().is_cpu() || !tensor.is_contiguous() {
        return Ok(false);
    }
    let values = Elements::of(tensor)?;
    Ok(match tensor.dtype() {
        DType::F32 => all(values.slice::<f32>()?),
        DType::F64 => all(values.slice::<f64>()?),
        _ => false,
    })
}

/// All elements in row-major order, whatever the dtype and device.
pub(crate) fn to_host(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let wide = match tensor.dtype() {
        DType::F64 | DType::F32 | DType::U8 => tensor,
        _ => tensor.to_dtype(DType::F64)?,
    };
    let values = Elements::of(&wide)?;
    Ok(match wide.dtype() {
        DType::F32 => values.slice::<f32>()?.iter().map(|value| f64::from(*value)).collect(),
        DType::U8 => values.slice::<u8>()?.iter().map(|value| f64::from(*value)).collect(),
        _ => values.slice::<f64>()?.to_vec(),
    })
}

/// How the element at `flat` in row-major order is written: `target[3, 1]`.
pub(crate) fn element(argument: &str, flat: usize, dims: &[usize]) -> String {
    if dims.is_empty() {
        return argument.to_owned();
    }
    let mut rest = flat;
    let mut index = vec![0; dims.len()];
    for (at, dim) in index.iter_mut().zip(dims).rev() {
        *at = rest % dim;
        rest /= dim;
    }
    format!("{argument}{index:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_with_their_index() {
        assert_eq!(element("target", 5, &[2, 3]), "target[1, 2]");
        assert_eq!(element("target", 4, &[7]), "target[4]");
        assert_eq!(element("target", 0, &[]), "target");
    }

    #[test]
    fn half_precision_is_widened() {
        for (dtype, expected) in
            [(DType::F16, DType::F32), (DType::BF16, DType::F32), (DType::F64, DType::F64)]
        {
            let x = Tensor::zeros(1, dtype, &Device::Cpu).unwrap();
            assert_eq!(precision("loss", "x", &x).unwrap(), expected);
        }
        let x = Tensor::zeros(1, DType::U32, &Device::Cpu).unwrap();
        let message = precision("loss", "x", &x).unwrap_err().to_string();
        assert_eq!(message, "loss: x should be f64, f32, bf16 or f16, got U32");
    }
}
