//! Regions of probabilities and how they overlap.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::LossOptions;
use crate::arguments::{expect_probabilities, precision, target_like};
use crate::elements::Elements;

/// The checked arguments of a loss of overlaps.
pub(super) struct Regions {
    /// The input (losses, elements of a region), 0 in what does not count.
    pub(super) input: Tensor,
    /// The target, likewise.
    pub(super) target: Tensor,
    elements: Elements,
}

impl Regions {
    /// Regions of each sample, or of each sample and class.
    pub(super) fn new(
        operation: &'static str,
        input: &Tensor,
        target: &Tensor,
        class_axis: Option<usize>,
        options: &LossOptions,
    ) -> Result<Self> {
        let dtype = precision(operation, "input", input)?;
        let target = target_like(operation, target, "input", input)?;
        let order = order(operation, input, class_axis)?;
        let leading = 1 + usize::from(class_axis.is_some());
        let (input, target) = (input.permute(&order[..])?, target.permute(&order[..])?);
        let shape = &input.dims()[..leading];
        let elements = Elements::new(operation, "input", shape, options)?;
        let (losses, each) = (shape.iter().product(), input.dims()[leading..].iter().product());
        let regions = |name: &str, x: &Tensor| {
            let x = elements.hide(x)?;
            let mut back = vec![0; order.len()];
            order.iter().enumerate().for_each(|(at, axis)| back[*axis] = at);
            expect_probabilities(operation, name, &x.detach().permute(back)?)?;
            Ok::<_, Error>(x.reshape::<(usize, usize)>((losses, each))?)
        };
        let (input, target) =
            (regions("input", &input.to_dtype(dtype)?)?, regions("target", &target)?);
        Ok(Self { input, target, elements })
    }

    /// The value of a loss from what disagrees in each region over what is there: 0 where nothing is.
    pub(super) fn reduce(self, disagreement: &Tensor, whole: &Tensor) -> Result<Tensor> {
        let nothing = whole.eq(0.0)?;
        let whole = nothing.where_cond(&whole.ones_like()?, whole)?;
        let part = nothing.where_cond(&whole.zeros_like()?, disagreement)?;
        let losses = (part / whole)?.reshape(self.elements.shape())?;
        self.elements.reduce_losses(losses, None)
    }

    /// Σ p g of each region.
    pub(super) fn both(&self) -> Result<Tensor> {
        Ok((&self.input * &self.target)?.sum(1)?)
    }

    /// Σ p (1 − g) of each region, the false positives.
    pub(super) fn too_much(&self) -> Result<Tensor> {
        Ok((&self.input * self.target.affine(-1.0, 1.0)?)?.sum(1)?)
    }

    /// Σ (1 − p) g of each region, the false negatives.
    pub(super) fn too_little(&self) -> Result<Tensor> {
        Ok((self.input.affine(-1.0, 1.0)? * &self.target)?.sum(1)?)
    }
}

/// The axes with those of the losses in front.
fn order(operation: &'static str, input: &Tensor, class_axis: Option<usize>) -> Result<Vec<usize>> {
    let rank = input.rank();
    if rank == 0 {
        return Err(Error::argument(operation, "input", "of at least one axis", "[]"));
    }
    let Some(class_axis) = class_axis else {
        return Ok((0..rank).collect());
    };
    if class_axis == 0 || class_axis >= rank {
        let expected = format!("none, or from 1 and below {rank}");
        let received = format!("{class_axis} for input of shape {:?}", input.dims());
        return Err(Error::argument(operation, "class_axis", expected, received));
    }
    Ok([0, class_axis].into_iter().chain((1..rank).filter(|axis| *axis != class_axis)).collect())
}

/// That a smoothing or weight is not negative.
pub(super) fn check_not_negative(operation: &'static str, name: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::argument(operation, name, "at least 0 and finite", value))
}
