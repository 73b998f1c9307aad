//! What the normalizations of samples have in common: y = f(w x̂ + b + r).

use candle_core::{D, DType, Module, Tensor};
use taper_core::{Activation, Result, op};

use crate::arguments::{expect_like_x, is_half};

/// The tensors of a normalization.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) x: &'a Tensor,
    pub(super) residual: Option<&'a Tensor>,
    pub(super) weight: Option<&'a Tensor>,
    pub(super) bias: Option<&'a Tensor>,
}

impl Terms<'_> {
    /// That the residual is one of x.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        self.residual.map_or(Ok(()), |it| expect_like_x(operation, "residual", it, self.x))
    }

    /// y in the dtype of x: by the operation `fused`, which adds the residual and may rectify, where there are
    /// kernels, else by `composed`, which leaves residual and activation to this.
    pub(super) fn forward(
        self,
        activation: Activation,
        fused: impl FnOnce(Terms<'_>, bool) -> candle_core::Result<Tensor>,
        composed: impl FnOnce(Terms<'_>) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let dtype = self.x.dtype();
        if is_half(dtype) {
            let residual = self.residual.map(|it| it.to_dtype(DType::F32)).transpose()?;
            let x = self.x.to_dtype(DType::F32)?;
            let wide = Terms { x: &x, residual: residual.as_ref(), ..self };
            return wide.forward(activation, fused, composed)?.to_dtype(dtype);
        }
        if !op::has_kernels(self.x) {
            return self.composed(activation, composed);
        }
        let rectify = activation == Activation::Relu;
        let y = fused(self, rectify)?;
        if rectify { Ok(y) } else { activation.forward(&y) }
    }

    /// The twin of the fused operation.
    pub(super) fn composed(
        self,
        activation: Activation,
        normalize: impl FnOnce(Terms<'_>) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let y = normalize(self)?;
        let y = match self.residual {
            Some(residual) => (y + residual)?,
            None => y,
        };
        activation.forward(&y)
    }

    /// w `normal` + b with weight and bias in this shape, which broadcasts to that of `normal`.
    pub(super) fn affine(self, normal: Tensor, shape: &[usize]) -> candle_core::Result<Tensor> {
        let like = |it: &Tensor| it.to_dtype(normal.dtype())?.reshape(shape);
        let y = match self.weight {
            Some(weight) => normal.broadcast_mul(&like(weight)?)?,
            None => normal.clone(),
        };
        match self.bias {
            Some(bias) => y.broadcast_add(&like(bias)?),
            None => Ok(y),
        }
    }
}

/// Each row of `rows`, along the last axis, minus its mean.
pub(super) fn centred(rows: &Tensor) -> candle_core::Result<Tensor> {
    // Any shift leaves the result as it is and needs no gradient; one near the mean makes the distances
    // small, so that their own mean has no rounding of the mean's size.
    let rows = rows.broadcast_sub(&rows.detach().mean_keepdim(D::Minus1)?)?;
    rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)
}

/// Each row divided by the root of the mean of its squares and ε.
pub(super) fn scaled(rows: &Tensor, eps: f64) -> candle_core::Result<Tensor> {
    rows.broadcast_div(&(rows.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
}

/// The shape in which one value a channel broadcasts to x (N, C, ...).
pub(super) fn channel_shape(x: &Tensor) -> Vec<usize> {
    let mut shape = vec![1; x.rank()];
    shape[1] = x.dims()[1];
    shape
}
