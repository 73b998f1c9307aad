//! Normalization by the batch as one candle operation.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Storage, Tensor, WithDType};
use taper_core::Result;

use super::Moments;
use super::kernel::{Element, Normalization, Statistics};

/// Normalization by the batch in one operation, on the CPU.
pub(super) fn fused(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    divisor: f64,
    eps: f64,
) -> Result<(Tensor, Moments)> {
    let x = x.contiguous()?;
    let channels = weight.elem_count();
    let statistics = match x.dtype() {
        DType::F64 => statistics::<f64>(&x, channels)?,
        _ => statistics::<f32>(&x, channels)?,
    };
    let moments = Moments {
        mean: Tensor::new(statistics.mean.as_slice(), x.device())?,
        squares: Tensor::new(statistics.squares.as_slice(), x.device())?,
        count: statistics.count,
    };
    let op = FusedNormalization(Normalization { statistics, divisor, eps });
    Ok((x.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?, moments))
}

fn statistics<T: Element + WithDType>(x: &Tensor, channels: usize) -> Result<Statistics> {
    let places = x.dims()[2..].iter().product();
    let (storage, layout) = x.storage_and_layout();
    Ok(Statistics::new(elements::<T>(cpu(&storage)?, layout)?, channels, places))
}

/// [`Normalization`] as an operation on x, weight and bias, all contiguous.
struct FusedNormalization(Normalization);

impl FusedNormalization {
    fn backward<T: Element + WithDType>(
        &self,
        [x, weight, gradient]: [&Tensor; 3],
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = {
            let (x, x_layout) = x.storage_and_layout();
            let (weight, weight_layout) = weight.storage_and_layout();
            let (gradient, gradient_layout) = gradient.storage_and_layout();
            self.0.backward(
                elements::<T>(cpu(&x)?, x_layout)?,
                elements::<T>(cpu(&weight)?, weight_layout)?,
                elements::<T>(cpu(&gradient)?, gradient_layout)?,
            )
        };
        let tensor = |data, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        Ok((
            Some(tensor(gradients.x, x)?),
            Some(tensor(gradients.weight, weight)?),
            Some(tensor(gradients.bias, weight)?),
        ))
    }
}

impl CustomOp3 for FusedNormalization {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.0.forward(
                elements(x, x_layout)?,
                elements(weight, weight_layout)?,
                elements(bias, bias_layout)?,
            )),
            _ => CpuStorage::F32(self.0.forward(
                elements(x, x_layout)?,
                elements(weight, weight_layout)?,
                elements(bias, bias_layout)?,
            )),
        };
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        match x.dtype() {
            DType::F64 => self.backward::<f64>([x, weight, &gradient]),
            _ => self.backward::<f32>([x, weight, &gradient]),
        }
    }
}

fn cpu(storage: &Storage) -> candle_core::Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("batch_norm: the fused operation works on the CPU"),
    }
}

/// The elements of a contiguous tensor.
fn elements<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => candle_core::bail!("batch_norm: the fused operation needs contiguous tensors"),
    }
}
