//! The parameters that a weight is made of, under the names of PyTorch.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_core::Result;

/// The name, of the new and the old one, under which `vb` has a parameter; the new one where it has neither.
pub(super) fn known<'a>(vb: &VarBuilder, [new, old]: [&'a str; 2]) -> &'a str {
    if !vb.contains_tensor(new) && vb.contains_tensor(old) { old } else { new }
}

/// The parameter `name`, with `initial`'s values if `vb` makes it now.
pub(super) fn parameter(
    shape: impl Into<Shape>,
    name: &str,
    vb: &VarBuilder,
    initial: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    let is_new = !vb.contains_tensor(name);
    let parameter = vb.get_with_hints(shape.into(), name, Init::Const(1.0))?;
    if is_new {
        // A view: what is written there is in the parameter, and in the variable behind it.
        let flat = parameter.flatten_all()?;
        flat.slice_set(&initial()?.detach().to_dtype(flat.dtype())?.flatten_all()?, 0, 0)?;
    }
    Ok(parameter)
}
