//! The normalised, temperature-scaled cross-entropy of two views: SimCLR's loss.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, DType, Device, Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::{self, Destination, Operation, Scalar, Values};
use taper_kernels::loss::{CrossEntropy, Labels, Target, Wanted, rescale};
use taper_kernels::threads::{self, Chunks};
use taper_kernels::{Element, Matrix, Update, buffer, matmul};

use crate::LossOptions;
use crate::classes::{expected, log_softmax};
use crate::elements::Elements;
use crate::embeddings::{
    SHORTEST, check_temperature, chosen, elements, none, placed, similarities, views,
    without_diagonal,
};
use crate::fused::Divisor;

/// The options of [`nt_xent`].
#[derive(Debug, Clone)]
pub struct NtXentOptions {
    /// What the cosines are divided by: τ, above 0.
    pub temperature: f64,
    /// What every loss has; the elements are the pairs.
    pub loss: LossOptions,
}

impl Default for NtXentOptions {
    fn default() -> Self {
        Self { temperature: 0.1, loss: LossOptions::default() }
    }
}

/// The normalised, temperature-scaled cross-entropy of two views of each sample: SimCLR's loss.
///
/// # Equation
/// lᵢ = (ℓ(i, i + N) + ℓ(i + N, i)) / 2 with ℓ(a, p) = − log (exp s_ap / Σ_{k ≠ a} exp s_ak)
///
/// for the 2N embeddings z of both views, row i of the first at i and of the second at i + N, and their cosines
/// s_ak = z_a · z_k / (‖z_a‖ ‖z_k‖ τ); reduced as [`Reduction`](crate::Reduction) says. The mean over the N pairs is the
/// paper's over the 2N anchors.
///
/// # Shapes
/// First and second view (N, D), of the same shape, of any scale; the value (), in nats, or (N), one for each pair,
/// with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`NtXentOptions`]:
/// - `temperature`: 0.1, the best of the paper's table 5; above 0 and finite.
/// - `loss`: [`LossOptions`]. `sample_weights` (N) weigh both anchors of a pair; a pair of weight 0 still is a
///   negative of the others. What the `mask` (N) leaves out is neither: the loss is that of the batch without it.
///
/// # Numerics
/// Both views have a gradient. An embedding with a norm below 1e-12 is divided by 1e-12, and has the gradient 0. One
/// operation on the CPU, with one product of matrices on the way there and one back; it holds two matrices
/// (2N, 2N). The norms are summed in f64. f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: the views are two arguments, not rows that take turns.
/// 2. From pytorch-metric-learning: the dtype's smallest normal number is not added inside the logarithm, so that
///    loss and gradient go on where a positive is far away; its default temperature is 0.07, and its losses
///    are one for each anchor.
/// 3. From `torch.nn.functional.normalize`: where the norm is below 1e-12 the gradient is 0, not 1e12 times
///    that of the direction, which f16 could not hold.
/// 4. Without negatives, as for a single pair, the loss is 0: pytorch-metric-learning has 0 there too, the
///    paper does not say.
///
/// # Errors
/// Views that are not (N, D) or of different shapes or dtypes or not floating-point; a temperature that is not above
/// 0 and finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to
/// average, unless `empty` says otherwise.
///
/// # References
/// - Chen et al. 2020, A simple framework for contrastive learning of visual representations,
///   <https://arxiv.org/abs/2002.05709>.
/// - `pytorch_metric_learning.losses.NTXentLoss`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/#ntxentloss>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{NtXentOptions, nt_xent};
///
/// // The views of a sample are in one direction, at a right angle to those of the other.
/// let first = Tensor::new(&[[1.0, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[3.0, 0.0], [0.0, 4.0]], &Device::Cpu)?;
/// let options = NtXentOptions { temperature: 0.5, ..Default::default() };
/// let loss = nt_xent(&first, &second, &options)?;
/// // Against the positive, exp(1 / 0.5), and two negatives, exp(0).
/// let by_hand = -(2f64.exp() / (2f64.exp() + 2.0)).ln();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn nt_xent(first: &Tensor, second: &Tensor, options: &NtXentOptions) -> Result<Tensor> {
    let temperature = options.temperature;
    check_temperature(NtXent::NAME, temperature)?;
    let (first, second) = views(NtXent::NAME, first, second)?;
    let elements = elements(NtXent::NAME, "first", &first, &options.loss)?;
    elements.reduce_together(
        &first,
        |weights, divisor| NtXent::apply(&first, &second, temperature, weights, divisor),
        |elements| composed(&first, &second, temperature, elements),
    )
}

/// The twin in candle's operations: the loss of each pair, without its weight.
fn composed(
    first: &Tensor,
    second: &Tensor,
    temperature: f64,
    elements: &Elements,
) -> Result<Tensor> {
    let z = Tensor::cat(&[chosen(elements, first)?, chosen(elements, second)?], 0)?;
    let anchors = z.dim(0)?;
    if anchors == 0 {
        return none(&(first + second)?);
    }
    let log_p = log_softmax(&without_diagonal(&similarities(&z, &z, temperature)?)?)?;
    let pairs = anchors / 2;
    // Anchor i has its positive at i + N, anchor i + N at i.
    let eye = Tensor::eye(pairs, DType::U8, &Device::Cpu)?;
    let other = eye.zeros_like()?;
    let upper = Tensor::cat(&[&other, &eye], 1)?;
    let lower = Tensor::cat(&[&eye, &other], 1)?;
    let positives = Tensor::cat(&[upper, lower], 0)?.to_device(z.device())?;
    let losses = expected(&log_p.neg()?, &positives.to_dtype(z.dtype())?)?;
    placed(elements, &(losses.reshape((2, pairs))?.sum(0)? / 2.0)?)
}

/// The loss of one call as one operation.
struct NtXent {
    dimension: usize,
    temperature: f64,
    /// Of each pair, below 0 where it is left out.
    weights: Vec<f64>,
    divisor: Divisor,
    /// Whether a view has a gradient.
    wanted: bool,
    /// Of both views for an upstream of 1, from the forward pass to the first backward pass. Another one computes
    /// them again.
    gradients: Mutex<Option<[CpuStorage; 2]>>,
}

/// The losses of the pairs, their sum, and the gradients of the views if they are wanted.
struct Evaluated<T> {
    sum: f64,
    losses: Vec<T>,
    gradients: Option<[Vec<T>; 2]>,
}

/// What to compute beside the losses.
#[derive(Clone, Copy)]
enum Gradients<'a, T> {
    Unwanted,
    /// Of the reduced loss.
    OfOne,
    /// Of the sum of the losses, each times its upstream.
    OfEach(&'a [T]),
}

impl NtXent {
    fn apply(
        first: &Tensor,
        second: &Tensor,
        temperature: f64,
        weights: Vec<f64>,
        divisor: Divisor,
    ) -> Result<Tensor> {
        let (pairs, dimension) = first.dims2()?;
        let wanted = first.track_op() || second.track_op();
        let gradients = Mutex::new(None);
        let loss = Self { dimension, temperature, weights, divisor, wanted, gradients };
        Ok(match divisor {
            Some(_) => op::apply(loss, &[first, second], ())?,
            None => op::apply(loss, &[first, second], pairs)?,
        })
    }

    fn evaluate<T: Scalar>(&self, views: [&[T]; 2], wanted: Gradients<'_, T>) -> Evaluated<T> {
        let kept: Vec<usize> =
            (0..self.weights.len()).filter(|pair| self.weights[*pair] >= 0.0).collect();
        let mut losses = vec![T::ZERO; self.weights.len()];
        if kept.is_empty() {
            let nothing = || vec![T::ZERO; views[0].len()];
            let gradients = match wanted {
                Gradients::Unwanted => None,
                _ => Some([nothing(), nothing()]),
            };
            return Evaluated { sum: 0.0, losses, gradients };
        }
        let stacked = Stacked::new(views, &kept, self.dimension, self.temperature);
        let (pairs, anchors) = (kept.len(), 2 * kept.len());
        let mut similarities = stacked.similarities();
        let labels: Vec<u32> = (0..anchors).map(|at| ((at + pairs) % anchors) as u32).collect();
        let twice = |values: &dyn Fn(usize) -> f64| -> Vec<f64> {
            kept.iter().chain(&kept).map(|pair| values(*pair)).collect()
        };
        let weights = twice(&|pair| self.weights[pair]);
        let rows = CrossEntropy {
            classes: anchors,
            target: Target::Labels(Labels::U32(&labels)),
            class_weights: None,
            smoothing: 0.0,
        };
        let mut of_anchors: Vec<T> = buffer(anchors);
        let mut slopes: Option<Vec<T>> = match wanted {
            Gradients::Unwanted => None,
            _ => Some(buffer(similarities.len())),
        };
        let wanted_of_rows = Wanted {
            weights: Some(&weights),
            scale: 0.5 / self.divisor.unwrap_or(1.0),
            losses: Some(&mut of_anchors),
            gradient: slopes.as_deref_mut(),
        };
        let sum = 0.5 * rows.evaluate(&similarities, wanted_of_rows);
        for (at, pair) in kept.iter().enumerate() {
            losses[*pair] = T::of(0.5) * (of_anchors[at] + of_anchors[at + pairs]);
        }
        let gradients = slopes.map(|mut slopes| {
            if let Gradients::OfEach(upstream) = wanted {
                let factors: Vec<T> =
                    kept.iter().chain(&kept).map(|pair| upstream[*pair]).collect();
                rescale(&mut slopes, &factors);
            }
            // Each embedding is an anchor in its row and a candidate in its column.
            add_transposed(&slopes, anchors, &mut similarities);
            stacked.backward(&similarities, &kept, views[0].len())
        });
        Evaluated { sum, losses, gradients }
    }

    /// A panic elsewhere leaves gradients that are whole or none.
    fn saved(&self) -> MutexGuard<'_, Option<[CpuStorage; 2]>> {
        self.gradients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation for NtXent {
    const NAME: &'static str = "nt_xent";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> CandleResult<Vec<T>> {
        let views = [arguments[0], arguments[1]];
        let Some(divisor) = self.divisor else {
            return Ok(self.evaluate(views, Gradients::Unwanted).losses);
        };
        let wanted = if self.wanted { Gradients::OfOne } else { Gradients::Unwanted };
        let evaluated = self.evaluate(views, wanted);
        *self.saved() = evaluated.gradients.map(|both| both.map(op::storage));
        Ok(vec![T::of(evaluated.sum / divisor)])
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> CandleResult<()> {
        let views = [values.arguments[0], values.arguments[1]];
        let both = match self.divisor {
            None => self.evaluate(views, Gradients::OfEach(values.upstream)).gradients,
            Some(_) => {
                let saved = self.saved().take();
                let saved = saved.and_then(|[mut first, mut second]| {
                    Some([T::take(&mut first)?, T::take(&mut second)?])
                });
                let both = saved.or_else(|| self.evaluate(views, Gradients::OfOne).gradients);
                both.map(|mut both| {
                    both.iter_mut().for_each(|gradient| rescale(gradient, values.upstream));
                    both
                })
            }
        };
        for (destination, gradient) in gradients.iter_mut().zip(both.into_iter().flatten()) {
            destination.hand_over(gradient);
        }
        Ok(())
    }
}

/// The embeddings that count: those of the first view, then those of the second.
struct Stacked<T> {
    /// Of length 1 / √τ, so that their products are the similarities; 0 where there is no direction.
    z: Vec<T>,
    /// The norms that they had.
    norms: Vec<f64>,
    dimension: usize,
    temperature: f64,
}

impl<T: Scalar> Stacked<T> {
    fn new(views: [&[T]; 2], kept: &[usize], dimension: usize, temperature: f64) -> Self {
        let mut z = Vec::with_capacity(2 * kept.len() * dimension);
        let mut norms = Vec::with_capacity(2 * kept.len());
        for view in views {
            for pair in kept {
                let x = &view[pair * dimension..][..dimension];
                let norm = dot(x, x).sqrt();
                let scale = 1.0 / (norm.max(SHORTEST) * temperature.sqrt());
                z.extend(x.iter().map(|x| T::of(Element::to_f64(*x) * scale)));
                norms.push(norm);
            }
        }
        Self { z, norms, dimension, temperature }
    }

    fn matrix(&self) -> Matrix<'_, T> {
        Matrix::new(&self.z, self.norms.len(), self.dimension)
    }

    /// Of all with all, −∞ of each with itself.
    fn similarities(&self) -> Vec<T> {
        let anchors = self.norms.len();
        let mut all = buffer(anchors * anchors);
        matmul(self.matrix(), self.matrix().transposed(), &mut all, Update::Replace);
        all.iter_mut().step_by(anchors + 1).for_each(|own| *own = T::NEG_INFINITY);
        all
    }

    /// The gradients of the views, of `length` elements each, from that of the similarities plus its transpose.
    fn backward(&self, slopes: &[T], kept: &[usize], length: usize) -> [Vec<T>; 2] {
        let (anchors, dimension) = (self.norms.len(), self.dimension);
        let mut of_z = buffer(self.z.len());
        matmul(Matrix::new(slopes, anchors, anchors), self.matrix(), &mut of_z, Update::Replace);
        let root = self.temperature.sqrt();
        let mut both = [vec![T::ZERO; length], vec![T::ZERO; length]];
        for (at, norm) in self.norms.iter().enumerate() {
            if *norm < SHORTEST {
                continue;
            }
            let (z, of_z) =
                (&self.z[at * dimension..][..dimension], &of_z[at * dimension..][..dimension]);
            let pair = kept[at % kept.len()];
            let gradient = &mut both[at / kept.len()][pair * dimension..][..dimension];
            // Of the direction only what is at a right angle to it.
            let along = T::of(dot(z, of_z) * root / norm);
            let scale = T::of(1.0 / (root * norm));
            for ((gradient, z), of_z) in gradient.iter_mut().zip(z).zip(of_z) {
                *gradient = *of_z * scale - *z * along;
            }
        }
        both
    }
}

/// Σ xᵢ yᵢ.
fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += Element::to_f64(*x) * Element::to_f64(*y);
        }
    }
    sums.iter().sum()
}

/// `out` = x + xᵀ for a matrix of `size` rows and columns.
fn add_transposed<T: Scalar>(x: &[T], size: usize, out: &mut [T]) {
    // Squares of which two fit into the first cache.
    const SIDE: usize = 32;
    let tasks = size.div_ceil(SIDE);
    threads::each(tasks, Chunks::new(out, SIDE * size), |task, out| {
        for start in (0..size).step_by(SIDE) {
            let columns = start..(start + SIDE).min(size);
            for (at, out) in out.chunks_exact_mut(size).enumerate() {
                let row = task * SIDE + at;
                for column in columns.clone() {
                    out[column] = x[row * size + column] + x[column * size + row];
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use proptest::prelude::*;
    use taper_core::testing::assert_close;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::{Random, near, random};

    fn reductions() -> impl Strategy<Value = Reduction> {
        prop_oneof![
            Just(Reduction::None),
            Just(Reduction::Sum),
            Just(Reduction::Mean),
            Just(Reduction::WeightedMean),
        ]
    }

    /// Value and gradients, of two backward passes, of the fused and the composed loss.
    fn twins_agree(random: &Random, options: &NtXentOptions) -> Result<()> {
        let view = |name| Var::from_tensor(&random.normal(name, (random.rows, random.columns)));
        let (first, second) = (view("first")?, view("second")?);
        let fused = nt_xent(&first, &second, options)?;
        let elements = elements(NtXent::NAME, "first", &first, &options.loss)?;
        let losses = composed(&first, &second, options.temperature, &elements)?;
        let composed = elements.reduce_losses(losses, None)?;
        near(&fused, &composed);
        let upstream = random.normal("upstream", fused.shape());
        for factor in [1.0, 0.5] {
            let gradients = |value: &Tensor| {
                let value = ((value * &upstream).unwrap() * factor).unwrap();
                value.sum_all().unwrap().backward().unwrap()
            };
            let (fused, composed) = (gradients(&fused), gradients(&composed));
            for view in [&first, &second].into_iter().filter(|view| view.elem_count() > 0) {
                // A gradient goes with one over the norm, and so does its rounding.
                let norms = view.sqr()?.sum_keepdim(1)?.sqrt()?;
                let [fused, composed] =
                    [&fused, &composed].map(|all| all.get(view).unwrap().broadcast_mul(&norms));
                near(&fused?, &composed?);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            temperature in 0.05..2.0,
            reduction in reductions(),
            (weighted, masked) in any::<(bool, bool)>(),
        ) {
            let weights = random.normal("weights", random.rows).abs().unwrap();
            let mask = random.normal("mask", random.rows).gt(-1.0).unwrap();
            let left = mask.to_dtype(DType::F64).unwrap().sum_all().unwrap();
            let means = matches!(reduction, Reduction::Mean | Reduction::WeightedMean);
            prop_assume!(!means || left.to_scalar::<f64>().unwrap() > 0.0);
            let loss = LossOptions {
                reduction,
                sample_weights: weighted.then_some(weights),
                mask: masked.then_some(mask),
                ..Default::default()
            };
            twins_agree(&random, &NtXentOptions { temperature, loss }).unwrap();
        }
    }

    #[test]
    fn the_twins_agree_of_many_rows() -> Result<()> {
        for rows in [33, 80] {
            let random = Random::of(rows, 19);
            twins_agree(&random, &NtXentOptions::default())?;
        }
        Ok(())
    }

    #[test]
    fn the_twins_agree_without_a_direction() -> Result<()> {
        let first = Var::new(&[[0.0, 0.0], [1.0, 2.0]], &Device::Cpu)?;
        let second = Var::new(&[[1.0, 0.5], [0.0, 1e-13]], &Device::Cpu)?;
        let options = NtXentOptions::default();
        let fused = nt_xent(&first, &second, &options)?;
        let elements = elements(NtXent::NAME, "first", &first, &options.loss)?;
        let losses = composed(&first, &second, options.temperature, &elements)?;
        let composed = elements.reduce_losses(losses, None)?;
        assert_close(&fused, &composed, 1e-13);
        let (fused, composed) = (fused.backward()?, composed.backward()?);
        for view in [&first, &second] {
            let [fused, composed] = [&fused, &composed].map(|all| all.get(view).unwrap());
            assert_close(fused, composed, 1e-13);
        }
        let without = fused.get(&first).map(|all| all.get(0)).transpose()?.unwrap();
        assert_eq!(without.to_vec1::<f64>()?, [0.0, 0.0]);
        Ok(())
    }
}
