//! Losses, forward and backward.

use candle_core::Tensor;
use taper_losses::{
    BceWithLogitsOptions, ClassOptions, Distribution, HuberOptions, KlDivOptions, LossOptions,
    NtXentOptions, SigmoidFocalOptions, Target,
};

use crate::inputs::{ELEMENTS, LOGITS, VIEWS, labels, loss, noise, pixels, probabilities};
use crate::peer::{Failure, Work};

pub(super) fn cross_entropy() -> Result<Work, Failure> {
    let (labels, options) = (labels(LOGITS.0, LOGITS.1 as u64)?, ClassOptions::default());
    Ok(loss(LOGITS, move |x| taper_losses::cross_entropy(x, Target::Indices(&labels), &options))?)
}

pub(super) fn binary_cross_entropy() -> Result<Work, Failure> {
    let options = BceWithLogitsOptions::default();
    elementwise(move |x, target| taper_losses::bce_with_logits(x, target, &options))
}

pub(super) fn mse() -> Result<Work, Failure> {
    let options = LossOptions::default();
    elementwise(move |x, target| taper_losses::mse(x, target, &options))
}

pub(super) fn mae() -> Result<Work, Failure> {
    let options = LossOptions::default();
    elementwise(move |x, target| taper_losses::mae(x, target, &options))
}

pub(super) fn huber() -> Result<Work, Failure> {
    let options = HuberOptions::default();
    elementwise(move |x, target| taper_losses::huber(x, target, &options))
}

pub(super) fn sigmoid_focal() -> Result<Work, Failure> {
    let options = SigmoidFocalOptions::default();
    elementwise(move |x, target| taper_losses::sigmoid_focal(x, target, &options))
}

fn elementwise(
    value: impl Fn(&Tensor, &Tensor) -> taper_core::Result<Tensor> + 'static,
) -> Result<Work, Failure> {
    let target = pixels("target", ELEMENTS)?;
    Ok(loss(ELEMENTS, move |x| value(x, &target))?)
}

pub(super) fn kl_div() -> Result<Work, Failure> {
    let (target, options) = (probabilities("target", LOGITS)?, KlDivOptions::default());
    Ok(loss(LOGITS, move |x| {
        taper_losses::kl_div(
            Distribution::Logits(x),
            Distribution::Probabilities(&target),
            &options,
        )
    })?)
}

/// The second view is given: a network's gradient would come to both.
pub(super) fn nt_xent() -> Result<Work, Failure> {
    let (second, options) = (noise("second", VIEWS)?, NtXentOptions::default());
    Ok(loss(VIEWS, move |first| taper_losses::nt_xent(first, &second, &options))?)
}
