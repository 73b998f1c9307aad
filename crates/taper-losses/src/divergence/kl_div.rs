//! The Kullback-Leibler divergence of distributions over classes.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::{self, Scalar};
use taper_kernels::loss::{
    CrossEntropy, Pointwise, Target, Wanted, negative_entropies, pointwise_by,
};
use taper_kernels::{Element, buffer};

use super::Distribution;
use super::distribution::{Form, Pair, Rows};
use crate::LossOptions;
use crate::classes::expected;
use crate::elements::Elements;
use crate::fused::Loss;

/// Which of the two divergences between input and target is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KlDirection {
    /// D(target ‖ input), that of PyTorch and Keras: the input has to put mass wherever the target has some.
    #[default]
    TargetFromInput,
    /// D(input ‖ target), the reverse one: the input may not put mass where the target has none.
    InputFromTarget,
}

/// The options of [`kl_div`].
#[derive(Debug, Clone, Default)]
pub struct KlDivOptions {
    /// Which of the two divergences it is.
    pub direction: KlDirection,
    /// The axis that holds the classes; `None` is 1, or 0 for a single sample (C).
    pub class_axis: Option<usize>,
    /// What every loss has; the elements are the samples.
    pub loss: LossOptions,
}

/// The Kullback-Leibler divergence of distributions over classes, in either direction.
///
/// # Equation
/// lᵢ = D(qᵢ ‖ pᵢ) = Σ_c qᵢ_c (log qᵢ_c − log pᵢ_c) for [`KlDirection::TargetFromInput`], the default, and
///
/// lᵢ = D(pᵢ ‖ qᵢ) = Σ_c pᵢ_c (log pᵢ_c − log qᵢ_c) for [`KlDirection::InputFromTarget`]
///
/// with the input's probabilities pᵢ and the target's qᵢ of sample i, and 0 · log 0 = 0; reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (N, C, ...) of the same shape, or (C) for a single sample; the class axis C may be any. The
/// value is (), in nats, or (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Each argument is a [`Distribution`], which says whether its numbers are probabilities, their logarithms or logits.
/// Of [`KlDivOptions`]:
/// - `direction`: [`KlDirection::TargetFromInput`].
/// - `class_axis`: none, which is 1, or 0 for (C).
/// - `loss`: [`LossOptions`]; its mean is that over the samples.
///
/// | PyTorch, of (N, C) | here |
/// |---|---|
/// | `batchmean` | the default |
/// | `mean` | the default, over C |
/// | `sum` | [`Reduction::Sum`](crate::Reduction::Sum) |
/// | `none`, (N, C) | [`Reduction::None`](crate::Reduction::None) has its sums over the classes, (N) |
///
/// # Numerics
/// D(target ‖ input) and its gradient take one pass over the input: of logits it is their cross-entropy less the
/// target's entropy, in which a large log Σ exp(z) does not show. Logits of ±1e4 are finite in both directions. Where
/// both distributions are almost the same the terms cancel, and a rounding error below 0 may be left. A class of
/// probability 0 has no part in the divergence from its distribution, and makes that to it infinite; the input's
/// probability 0 itself, given as such, has the gradient 0, as the true one is not finite. f64 stays f64; f32, bf16
/// and f16 are computed and returned in f32. Probabilities are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: the forms of the arguments are named, where its input is always log-probabilities and
///    `log_target` says what the target is; logits are a third. The order is the same: `kl_div(log p, q)` is D(q ‖
///    p), the divergence of the second argument from the first.
/// 2. From PyTorch: a loss is that of a sample, the sum over the classes. Its default, `mean`, also divides by the
///    number of classes, which is no divergence; for (N, C, T) its `batchmean` divides by N, the mean here by N T.
/// 3. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
/// 4. From Keras: probabilities are not clipped to 1e-7 and 1.
/// 5. From both: the reverse direction has a name. There it takes exchanged arguments, of which the first gets the
///    gradient here.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point, or without classes; the first probability
/// outside 0 to 1, with its position; weights and a mask that do not fit, a weight that is negative or not finite;
/// nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Kullback and Leibler 1951, On information and sufficiency, Annals of Mathematical Statistics 22(1),
///   <https://doi.org/10.1214/aoms/1177729694>.
/// - `torch.nn.KLDivLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Distribution, KlDirection, KlDivOptions, kl_div};
///
/// // Odds of 1 : 3 against even ones.
/// let input = Tensor::new(&[[0.0, 3f64.ln()]], &Device::Cpu)?;
/// let target = Tensor::new(&[[0.5, 0.5]], &Device::Cpu)?;
/// let of = |direction| -> taper_core::Result<f64> {
///     let options = KlDivOptions { direction, ..Default::default() };
///     let (input, target) = (Distribution::Logits(&input), Distribution::Probabilities(&target));
///     Ok(kl_div(input, target, &options)?.to_scalar::<f64>()?)
/// };
/// let from_input = 0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln();
/// assert!((of(KlDirection::TargetFromInput)? - from_input).abs() < 1e-12);
/// let from_target = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
/// assert!((of(KlDirection::InputFromTarget)? - from_target).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn kl_div(
    input: Distribution<'_>,
    target: Distribution<'_>,
    options: &KlDivOptions,
) -> Result<Tensor> {
    let arguments = (("input", input), ("target", target));
    let pair =
        Pair::new(FromInput::NAME, arguments.0, arguments.1, options.class_axis, &options.loss)?;
    match options.direction {
        KlDirection::TargetFromInput => {
            let target = pair.other()?.detach().contiguous()?;
            let (form, target_form) = (pair.form, pair.other_form);
            let loss = FromInput { classes: pair.classes, form, target, target_form };
            pair.elements.reduce(&pair.input, loss, None)
        }
        KlDirection::InputFromTarget => {
            let [input, target] = pair.rows()?;
            let divergences = divergence(&input, &target.detached())?;
            pair.reduce(&divergences)
        }
    }
}

/// D(a ‖ b) of each row.
fn divergence(a: &Rows, b: &Rows) -> Result<Tensor> {
    expected(&(&a.log_p - &b.log_p)?, &a.p)
}

impl Rows {
    fn detached(&self) -> Self {
        Self { p: self.p.detach(), log_p: self.log_p.detach() }
    }
}

/// D(target ‖ input), for one pass over the input.
struct FromInput {
    classes: usize,
    form: Form,
    /// (rows, C) in row-major order, without gradients.
    target: Tensor,
    target_form: Form,
}

impl FromInput {
    fn target(&self) -> Result<Rows> {
        Rows::new(self.target_form, &self.target)
    }

    /// The target's probabilities, and minus the entropy of each row.
    fn entropies<T: Scalar>(&self) -> CandleResult<(Tensor, Vec<f64>)> {
        if self.target_form == Form::Probabilities {
            let q = op::Elements::of(&self.target)?;
            return Ok((self.target.clone(), negative_entropies(q.slice::<T>()?, self.classes)));
        }
        let Rows { p, log_p } = self.target()?;
        let entropies = {
            let (q, log_q) = (op::Elements::of(&p)?, op::Elements::of(&log_p)?);
            let (q, log_q) = (q.slice::<T>()?, log_q.slice::<T>()?);
            let rows = q.chunks_exact(self.classes).zip(log_q.chunks_exact(self.classes));
            let entropy = |(q, log_q): (&[T], &[T])| {
                let terms = q.iter().zip(log_q).filter(|(q, _)| **q != T::ZERO);
                terms.map(|(q, log_q)| Element::to_f64(*q) * Element::to_f64(*log_q)).sum()
            };
            rows.map(entropy).collect()
        };
        Ok((p, entropies))
    }

    /// By the cross-entropy of logits, from which the entropy of the target is taken.
    fn of_logits<T: Scalar>(&self, z: &[T], wanted: Wanted<'_, T>) -> CandleResult<f64> {
        let Wanted { weights, scale, mut losses, gradient } = wanted;
        let (q, entropies) = self.entropies::<T>()?;
        let q = op::Elements::of(&q)?;
        let (classes, target) = (self.classes, Target::Probabilities(q.slice::<T>()?));
        let rows = CrossEntropy { classes, target, class_weights: None, smoothing: 0.0 };
        let wanted = Wanted { weights, scale, losses: losses.as_deref_mut(), gradient };
        let mut sum = rows.evaluate(z, wanted);
        let each = weights.map_or(1, |weights| entropies.len() / weights.len().max(1));
        for (row, entropy) in entropies.into_iter().enumerate() {
            let weight = weights.map_or(1.0, |weights| weights[row / each]);
            if weight > 0.0 {
                sum += weight * entropy;
                if let Some(losses) = &mut losses {
                    losses[row] += T::of(weight * entropy);
                }
            }
        }
        Ok(sum)
    }

    /// By losses of the classes, each of its own.
    fn of_classes<T: Scalar>(
        &self,
        x: &[T],
        wanted: Wanted<'_, T>,
        evaluate: impl Fn(&[T], &[T], Wanted<'_, T>) -> f64,
    ) -> CandleResult<f64> {
        let Wanted { weights, scale, losses, gradient } = wanted;
        let Rows { log_p: log_q, .. } = self.target()?;
        let log_q = log_q.contiguous()?;
        let log_q = op::Elements::of(&log_q)?;
        let log_q = log_q.slice::<T>()?;
        let mut terms = losses.as_ref().map(|_| buffer(x.len()));
        let wanted = Wanted { weights, scale, losses: terms.as_deref_mut(), gradient };
        let sum = evaluate(x, log_q, wanted);
        if let (Some(losses), Some(terms)) = (losses, terms) {
            for (loss, terms) in losses.iter_mut().zip(terms.chunks_exact(self.classes)) {
                *loss = T::of(terms.iter().map(|term| Element::to_f64(*term)).sum());
            }
        }
        Ok(sum)
    }
}

impl Loss for FromInput {
    const NAME: &'static str = "kl_div";

    fn evaluate<T: Scalar>(&self, x: &[T], wanted: Wanted<'_, T>) -> CandleResult<f64> {
        match self.form {
            Form::Logits => self.of_logits(x, wanted),
            Form::LogProbabilities => self.of_classes(x, wanted, |x, log_q, wanted| {
                Pointwise::KullbackLeibler.evaluate(x, log_q, wanted)
            }),
            Form::Probabilities => self.of_classes(x, wanted, |x, log_q, wanted| {
                pointwise_by(x, log_q, wanted, |p, log_q| match log_q.exp() {
                    0.0 => (0.0, 0.0),
                    q => (q * (log_q - p.ln()), if p == 0.0 { 0.0 } else { -q / p }),
                })
            }),
        }
    }

    fn composed(&self, x: &Tensor, elements: &Elements) -> Result<Tensor> {
        let rows = (elements.shape().elem_count(), self.classes);
        let input = Rows::new(self.form, &elements.hide(x)?.reshape(rows)?)?;
        Ok(divergence(&self.target()?, &input)?.reshape(elements.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), at in 0usize..3, zeros in any::<bool>()) {
            let form = [Form::Logits, Form::LogProbabilities, Form::Probabilities][at];
            let shape = (random.rows, random.columns);
            let mut x = random.normal("x", shape);
            if form == Form::Probabilities {
                x = Rows::new(Form::Logits, &x).unwrap().p;
            }
            let mut q = random.normal("target", shape).abs().unwrap();
            if zeros {
                q = q.gt(1.0).unwrap().where_cond(&q, &q.zeros_like().unwrap()).unwrap();
            }
            for target_form in [Form::Probabilities, Form::LogProbabilities] {
                let rows = Rows::new(Form::Probabilities, &q).unwrap();
                let target = if target_form == Form::Probabilities { rows.p } else { rows.log_p };
                let loss = || {
                    let (classes, target) = (random.columns, target.clone());
                    FromInput { classes, form, target, target_form }
                };
                random.twins_agree(&x, random.rows, loss);
            }
        }
    }

    #[test]
    fn hand_numbers_of_every_form() -> Result<()> {
        // 1/4 and 3/4 against 1/2 each, and against certainty.
        let p = Tensor::new(&[[0.25, 0.75], [0.25, 0.75]], &Device::Cpu)?;
        let q = Tensor::new(&[[0.5, 0.5], [0.0, 1.0]], &Device::Cpu)?;
        let (log_p, log_q) = (p.log()?, q.log()?);
        let shifted = (&log_p + 7.0)?;
        let expected = [0.5 * (4.0f64 / 3.0).ln(), (4.0f64 / 3.0).ln()];
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = KlDivOptions { loss, ..Default::default() };
        for input in [
            Distribution::Probabilities(&p),
            Distribution::LogProbabilities(&log_p),
            Distribution::Logits(&shifted),
        ] {
            for target in [
                Distribution::Probabilities(&q),
                Distribution::LogProbabilities(&log_q),
                Distribution::Logits(&log_q),
            ] {
                let losses = kl_div(input, target, &options)?.to_vec1::<f64>()?;
                for (loss, expected) in losses.iter().zip(expected) {
                    assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
                }
            }
        }
        Ok(())
    }
}
