//! Networks without memory.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// A builder of parameters that have a shape and no memory of their own, as PyTorch's `meta` device: a network that is built
/// with it can be [counted](crate::summary), whatever its size.
///
/// All values are 0, and nothing can be trained.
pub fn meta(dtype: DType) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Meta), dtype, Device::Cpu)
}

struct Meta;

impl SimpleBackend for Meta {
    fn get(
        &self,
        shape: Shape,
        _name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(
        &self,
        name: &str,
        _dtype: DType,
        _device: &Device,
    ) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name}: a network without memory is built from shapes that are known")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}
