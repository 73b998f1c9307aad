use crate::{Activation, Result};
use candle_core::{Module, Shape, Tensor};
/// stub
pub fn add(x: &Tensor, r: &Tensor, a: Activation) -> Result<Tensor> {
    Ok(a.forward(&(x + r)?)?)
}
/// stub
pub fn concat(t: &[&Tensor], d: usize) -> Result<Tensor> {
    Ok(Tensor::cat(t, d)?)
}
/// stub
pub fn scale(x: &Tensor, f: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_mul(f)?)
}
