//! Losses of one element against one.

use std::marker::PhantomData;
use std::ops::Range;

use super::Wanted;
use crate::element::relu;
use crate::isa::{Isa, dispatch};
use crate::lanes::{self, LANES};
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Elements that are summed in T before the sum goes into f64.
const RUN: usize = 128 * LANES;

/// The loss of x against a target y, with d = x − y. Where the derivative jumps it is PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pointwise<'a, T> {
    /// d².
    Squared,
    /// |d|, with the derivative 0 at 0.
    Absolute,
    /// d² / 2 where |d| is at most δ, else δ (|d| − δ / 2).
    Huber {
        /// δ, above 0.
        delta: f64,
    },
    /// d² / (2 β) where |d| is at most β, else |d| − β / 2.
    SmoothL1 {
        /// β, at least 0.
        beta: f64,
    },
    /// (1 − y) ln(1 + eˣ) + q y ln(1 + e⁻ˣ), with 0 · ∞ = 0.
    BceWithLogits {
        /// q, repeated over the elements; `None` is 1.
        positive_weights: Option<&'a [T]>,
    },
    /// b m^γ ((1 − y) ln(1 + eˣ) + y ln(1 + e⁻ˣ)), with p = σ(x), m = (1 − y) p + y (1 − p),
    /// b = α y + (1 − α) (1 − y) and 0 · ∞ = 0. γ = 2 is fast.
    SigmoidFocal {
        /// α, from 0 to 1; `None` makes b 1.
        alpha: Option<f64>,
        /// γ, at least 0.
        gamma: f64,
    },
    /// eʸ (y − x): the divergence of probabilities from their logarithms, with 0 · ∞ = 0.
    KullbackLeibler,
}

impl<T: Element> Pointwise<'_, T> {
    /// Σ wᵢ lᵢ of `x` against `target`, of one length.
    pub fn evaluate(self, x: &[T], target: &[T], wanted: Wanted<'_, T>) -> f64 {
        blocks(x, target, wanted, |block| dispatch!(I => self.block::<I>(block)))
    }

    /// Σ wᵢ lᵢ of one block, on this thread.
    #[inline(always)]
    fn block<I: Isa>(self, block: Block<'_, T>) -> f64 {
        match self {
            Self::Squared => block.run(None, |x, y, _| {
                let d = x - y;
                (d * d, d + d)
            }),
            Self::Absolute => block.run(None, absolute),
            Self::SmoothL1 { beta: 0.0 } => block.run(None, absolute),
            Self::Huber { delta } => {
                let delta = T::of(delta);
                block.run(None, |x, y, _| {
                    let d = x - y;
                    let clipped = clip(d, delta);
                    (clipped * (d - clipped * T::of(0.5)), clipped)
                })
            }
            Self::SmoothL1 { beta } => {
                let (beta, half) = (T::of(beta), T::of(beta / 2.0));
                block.run(None, |x, y, _| {
                    let d = x - y;
                    let clipped = clip(d / beta, T::ONE);
                    (clipped * (d - clipped * half), clipped)
                })
            }
            Self::BceWithLogits { positive_weights } => {
                block.run(positive_weights, bce_with_logits::<I, T>)
            }
            Self::SigmoidFocal { alpha, gamma } => {
                let balance = Balance::of(alpha);
                if gamma == 2.0 {
                    block.by(None, SigmoidFocal::<I, T, true>::new(balance, gamma))
                } else {
                    block.by(None, SigmoidFocal::<I, T, false>::new(balance, gamma))
                }
            }
            Self::KullbackLeibler => block.run(None, |x, y, _| {
                let p = y.exp::<I>();
                (if p == T::ZERO { T::ZERO } else { p * (y - x) }, -p)
            }),
        }
    }
}

/// Σ wᵢ lᵢ of `x` against `target`, of one length, for a loss that needs no speed: `rule` gives the loss of x against
/// y and its derivative, in f64.
pub fn pointwise_by<T: Element>(
    x: &[T],
    target: &[T],
    wanted: Wanted<'_, T>,
    rule: impl Fn(f64, f64) -> (f64, f64) + Sync,
) -> f64 {
    blocks(x, target, wanted, |block| {
        block.run(None, |x, y, _| {
            let (loss, derivative) = rule(x.to_f64(), y.to_f64());
            (T::of(loss), T::of(derivative))
        })
    })
}

/// The sum over blocks of elements, in order.
fn blocks<T: Element>(
    x: &[T],
    target: &[T],
    wanted: Wanted<'_, T>,
    of_block: impl Fn(Block<'_, T>) -> f64 + Sync,
) -> f64 {
    assert_eq!(x.len(), target.len(), "x and target are of one length");
    let Wanted { weights, scale, losses, gradient } = wanted;
    let size = work::block(x.len());
    let tasks = x.len().div_ceil(size);
    let weights = weights.map(|weights| (weights, x.len().div_ceil(weights.len().max(1))));
    let mut sums = vec![0.0; tasks];
    let parts = (
        Chunks::new(&mut sums, 1),
        losses.map(|losses| Chunks::new(losses, size)),
        gradient.map(|gradient| Chunks::new(gradient, size)),
    );
    threads::each(tasks, parts, |task, (sum, losses, gradient)| {
        let start = task * size;
        let end = (start + size).min(x.len());
        let (x, target) = (&x[start..end], &target[start..end]);
        sum[0] = of_block(Block { start, x, target, weights, scale, losses, gradient });
    });
    sums.iter().sum()
}

#[inline(always)]
fn absolute<T: Element>(x: T, y: T, _: T) -> (T, T) {
    let d = x - y;
    // What is neither is 0 or NaN.
    let sign = if d > T::ZERO {
        T::ONE
    } else if d < T::ZERO {
        -T::ONE
    } else {
        d
    };
    (d.abs(), sign)
}

/// `x` in [−limit, limit]; NaN stays.
#[inline(always)]
fn clip<T: Element>(x: T, limit: T) -> T {
    let x = if x < -limit { -limit } else { x };
    if x > limit { limit } else { x }
}

/// No term cancels another: both logarithms are positive, and both sigmoids keep their relative precision.
#[inline(always)]
fn bce_with_logits<I: Isa, T: Element>(x: T, y: T, positive_weight: T) -> (T, T) {
    let e = (-x.abs()).exp::<I>();
    let (log, of_larger) = (e.ln_1p_unit::<I>(), T::ONE / (T::ONE + e));
    let of_smaller = e * of_larger;
    let (plus, minus) =
        if x >= T::ZERO { (of_larger, of_smaller) } else { (of_smaller, of_larger) };
    let (negative, positive) = (T::ONE - y, positive_weight * y);
    let as_negative = if negative == T::ZERO { T::ZERO } else { negative * (relu(x) + log) };
    let as_positive = if positive == T::ZERO { T::ZERO } else { positive * (relu(-x) + log) };
    (as_negative + as_positive, negative * plus - positive * minus)
}

/// What positive and negative targets weigh.
#[derive(Clone, Copy)]
struct Balance<T> {
    positive: T,
    negative: T,
}

impl<T: Element> Balance<T> {
    fn of(alpha: Option<f64>) -> Self {
        let (positive, negative) = alpha.map_or((1.0, 1.0), |alpha| (alpha, 1.0 - alpha));
        Self { positive: T::of(positive), negative: T::of(negative) }
    }
}

/// The binary cross-entropy times the balance and m^γ, where `SQUARE` says that γ is 2.
struct SigmoidFocal<I, T, const SQUARE: bool> {
    balance: Balance<T>,
    gamma: f64,
    isa: PhantomData<I>,
}

impl<I: Isa, T: Element, const SQUARE: bool> SigmoidFocal<I, T, SQUARE> {
    fn new(balance: Balance<T>, gamma: f64) -> Self {
        Self { balance, gamma, isa: PhantomData }
    }
}

impl<I: Isa, T: Element, const SQUARE: bool> Rule<T> for SigmoidFocal<I, T, SQUARE> {
    #[inline(always)]
    fn of(&self, x: T, y: T, _: T) -> (T, T) {
        let e = (-x.abs()).exp::<I>();
        let (log, of_larger) = (e.ln_1p_unit::<I>(), T::ONE / (T::ONE + e));
        let of_smaller = e * of_larger;
        let (plus, minus) =
            if x >= T::ZERO { (of_larger, of_smaller) } else { (of_smaller, of_larger) };
        let negative = T::ONE - y;
        let as_negative = if negative == T::ZERO { T::ZERO } else { negative * (relu(x) + log) };
        let as_positive = if y == T::ZERO { T::ZERO } else { y * (relu(-x) + log) };
        let entropy = as_negative + as_positive;
        let m = negative * plus + y * minus;
        let (power, slope) = if SQUARE { (m * m, m + m) } else { power(m, self.gamma) };
        // Where the entropy is infinite m has no slope left, and the product is to be 0.
        let most = T::of(f64::from(f32::MAX));
        let bounded = if entropy > most { most } else { entropy };
        let turning = slope * (negative - y) * (plus * minus) * bounded;
        let weight = self.balance.positive * y + self.balance.negative * negative;
        let loss = if weight == T::ZERO { T::ZERO } else { weight * (power * entropy) };
        (loss, weight * (turning + power * (negative * plus - y * minus)))
    }
}

/// m^γ and its derivative, which at 0 is 0: there m has none itself.
#[inline(always)]
fn power<T: Element>(m: T, gamma: f64) -> (T, T) {
    let m = m.to_f64();
    let slope = if m == 0.0 { 0.0 } else { gamma * m.powf(gamma - 1.0) };
    (T::of(m.powf(gamma)), T::of(slope))
}

/// The loss and its derivative from x, y and what is repeated over the elements.
///
/// A closure will do where it is short. A long one is not inlined into the loop, which then has no vectors.
trait Rule<T> {
    fn of(&self, x: T, y: T, column: T) -> (T, T);
}

impl<T, F: Fn(T, T, T) -> (T, T)> Rule<T> for F {
    #[inline(always)]
    fn of(&self, x: T, y: T, column: T) -> (T, T) {
        self(x, y, column)
    }
}

/// The elements of one task.
struct Block<'a, T> {
    /// The place of the first among all elements.
    start: usize,
    x: &'a [T],
    target: &'a [T],
    /// The weights of all elements, and how many each is for.
    weights: Option<(&'a [f64], usize)>,
    scale: f64,
    losses: Option<&'a mut [T]>,
    gradient: Option<&'a mut [T]>,
}

impl<T: Element> Block<'_, T> {
    /// Σ wᵢ lᵢ by a function, for which `columns` are repeated over the elements.
    #[inline(always)]
    fn run(self, columns: Option<&[T]>, rule: impl Fn(T, T, T) -> (T, T)) -> f64 {
        self.by(columns, rule)
    }

    /// Σ wᵢ lᵢ by any rule.
    #[inline(always)]
    fn by(mut self, columns: Option<&[T]>, rule: impl Rule<T>) -> f64 {
        // The usual case, of which the compiler makes a loop without anything but the rule in it.
        let plain = self.weights.is_none() && columns.is_none() && self.losses.is_none();
        let mut sum = 0.0;
        for run in (0..self.x.len()).step_by(RUN) {
            let end = (run + RUN).min(self.x.len());
            let mut lanes = [T::ZERO; LANES];
            let mut start = run;
            if plain {
                start += (end - run) / LANES * LANES;
                lanes = self.plain(run..start, &rule);
            }
            for at in (start..end).step_by(LANES) {
                self.step(at, columns, &rule, &mut lanes);
            }
            sum += lanes::total(lanes).to_f64();
        }
        sum
    }

    /// Whole lanes without weights and columns, whose losses are added up only.
    #[inline(always)]
    fn plain(&mut self, range: Range<usize>, rule: &impl Rule<T>) -> [T; LANES] {
        let scale = T::of(self.scale);
        let mut sums = [T::ZERO; LANES];
        let x = self.x[range.clone()].chunks_exact(LANES);
        let pairs = x.zip(self.target[range.clone()].chunks_exact(LANES));
        if let Some(gradient) = &mut self.gradient {
            for ((x, target), gradient) in pairs.zip(gradient[range].chunks_exact_mut(LANES)) {
                for lane in 0..LANES {
                    let (loss, derivative) = rule.of(x[lane], target[lane], T::ONE);
                    sums[lane] += loss;
                    gradient[lane] = derivative * scale;
                }
            }
        } else {
            for (x, target) in pairs {
                for lane in 0..LANES {
                    sums[lane] += rule.of(x[lane], target[lane], T::ONE).0;
                }
            }
        }
        sums
    }

    /// The elements from `at`, one a lane.
    #[inline(always)]
    fn step(
        &mut self,
        at: usize,
        columns: Option<&[T]>,
        rule: &impl Rule<T>,
        sums: &mut [T; LANES],
    ) {
        let width = LANES.min(self.x.len() - at);
        let (mut padded_x, mut padded_target) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        let x = lanes_of(&self.x[at..][..width], &mut padded_x);
        let target = lanes_of(&self.target[at..][..width], &mut padded_target);
        let mut column = [T::ONE; LANES];
        if let Some(columns) = columns {
            repeat(columns, self.start + at, &mut column);
        }
        let mut weights = [T::ONE; LANES];
        if let Some((all, each)) = self.weights {
            spread(all, each, self.start + at, &mut weights[..width]);
        }
        // The lanes past the end are left out.
        weights[width..].fill(-T::ONE);
        let scale = T::of(self.scale);
        let (mut losses, mut gradient) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for lane in 0..LANES {
            let (loss, derivative) = rule.of(x[lane], target[lane], column[lane]);
            let weight = weights[lane];
            let (loss, derivative) = (loss * weight, derivative * (weight * scale));
            let counts = weight >= T::ZERO;
            losses[lane] = if counts { loss } else { T::ZERO };
            gradient[lane] = if counts { derivative } else { T::ZERO };
            sums[lane] += losses[lane];
        }
        if let Some(place) = &mut self.losses {
            put(&losses, &mut place[at..][..width]);
        }
        if let Some(place) = &mut self.gradient {
            put(&gradient, &mut place[at..][..width]);
        }
    }
}

/// `x` as lanes, by way of `padded` where it is shorter.
#[inline(always)]
fn lanes_of<'a, T: Element>(x: &'a [T], padded: &'a mut [T; LANES]) -> &'a [T; LANES] {
    match x.try_into() {
        Ok(lanes) => lanes,
        Err(_) => {
            padded[..x.len()].copy_from_slice(x);
            padded
        }
    }
}

#[inline(always)]
fn put<T: Element>(lanes: &[T; LANES], place: &mut [T]) {
    if let Ok(place) = <&mut [T; LANES]>::try_from(&mut *place) {
        *place = *lanes;
    } else {
        place.copy_from_slice(&lanes[..place.len()]);
    }
}

/// The weights of the elements from `start`, where each of `weights` is for `each` elements.
#[inline(always)]
fn spread<T: Element>(weights: &[f64], each: usize, start: usize, lanes: &mut [T]) {
    let first = start / each;
    if each == 1 {
        let weights = &weights[first..][..lanes.len()];
        lanes.iter_mut().zip(weights).for_each(|(lane, weight)| *lane = T::of(*weight));
    } else if start + lanes.len() <= (first + 1) * each {
        lanes.fill(T::of(weights[first]));
    } else {
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane = T::of(weights[(start + at) / each]);
        }
    }
}

/// The elements from `start` of `columns` repeated for ever.
#[inline(always)]
fn repeat<T: Element>(columns: &[T], start: usize, lanes: &mut [T; LANES]) {
    let first = start % columns.len();
    if let Some(columns) = columns.get(first..first + LANES) {
        lanes.copy_from_slice(columns);
    } else {
        let repeated = columns.iter().cycle().skip(first);
        lanes.iter_mut().zip(repeated).for_each(|(lane, column)| *lane = *column);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [Pointwise<'_, f64>; 11] = [
        Pointwise::Squared,
        Pointwise::Absolute,
        Pointwise::Huber { delta: 0.7 },
        Pointwise::SmoothL1 { beta: 1.3 },
        Pointwise::SmoothL1 { beta: 0.0 },
        Pointwise::BceWithLogits { positive_weights: None },
        Pointwise::BceWithLogits { positive_weights: Some(&[0.5, 3.0, 1.0]) },
        Pointwise::SigmoidFocal { alpha: Some(0.25), gamma: 2.0 },
        Pointwise::SigmoidFocal { alpha: None, gamma: 0.5 },
        Pointwise::SigmoidFocal { alpha: Some(1.0), gamma: 0.0 },
        Pointwise::KullbackLeibler,
    ];

    /// The same rule for f32.
    fn narrow(rule: Pointwise<'_, f64>) -> Pointwise<'static, f32> {
        match rule {
            Pointwise::Squared => Pointwise::Squared,
            Pointwise::Absolute => Pointwise::Absolute,
            Pointwise::Huber { delta } => Pointwise::Huber { delta },
            Pointwise::SmoothL1 { beta } => Pointwise::SmoothL1 { beta },
            Pointwise::KullbackLeibler => Pointwise::KullbackLeibler,
            Pointwise::SigmoidFocal { alpha, gamma } => Pointwise::SigmoidFocal { alpha, gamma },
            Pointwise::BceWithLogits { positive_weights: None } => {
                Pointwise::BceWithLogits { positive_weights: None }
            }
            Pointwise::BceWithLogits { positive_weights: Some(_) } => {
                Pointwise::BceWithLogits { positive_weights: Some(&[0.5, 3.0, 1.0]) }
            }
        }
    }

    /// The loss of the element at a place, by its definition.
    fn oracle(rule: Pointwise<'_, f64>, at: usize, x: f64, y: f64) -> f64 {
        let d = x - y;
        let huber = |delta: f64| {
            if d.abs() <= delta { d * d / 2.0 } else { delta * (d.abs() - delta / 2.0) }
        };
        match rule {
            Pointwise::Squared => d * d,
            Pointwise::Absolute | Pointwise::SmoothL1 { beta: 0.0 } => d.abs(),
            Pointwise::Huber { delta } => huber(delta),
            Pointwise::SmoothL1 { beta } => huber(beta) / beta,
            Pointwise::BceWithLogits { positive_weights } => {
                let p = 1.0 / (1.0 + (-x).exp());
                let q = positive_weights.map_or(1.0, |weights| weights[at % weights.len()]);
                -(q * y * p.ln() + (1.0 - y) * (1.0 - p).ln())
            }
            Pointwise::SigmoidFocal { alpha, gamma } => {
                let p = 1.0 / (1.0 + (-x).exp());
                let balance = alpha.map_or(1.0, |alpha| alpha * y + (1.0 - alpha) * (1.0 - y));
                let entropy = -(y * p.ln() + (1.0 - y) * (1.0 - p).ln());
                balance * (p * (1.0 - y) + (1.0 - p) * y).powf(gamma) * entropy
            }
            Pointwise::KullbackLeibler => y.exp() * (y - x),
        }
    }

    /// Sum, losses and gradient.
    fn evaluated<T: Element>(
        rule: Pointwise<'_, T>,
        x: &[f64],
        y: &[f64],
        weights: Option<&[f64]>,
    ) -> (f64, Vec<f64>, Vec<f64>) {
        let of = |values: &[f64]| values.iter().map(|x| T::of(*x)).collect::<Vec<_>>();
        let wide = |values: Vec<T>| values.into_iter().map(T::to_f64).collect::<Vec<_>>();
        let (mut losses, mut gradient) =
            (of(&vec![f64::NAN; x.len()]), of(&vec![f64::NAN; x.len()]));
        let wanted = Wanted {
            weights,
            scale: 0.25,
            losses: Some(&mut losses),
            gradient: Some(&mut gradient),
        };
        let sum = rule.evaluate(&of(x), &of(y), wanted);
        let alone = Wanted { weights, scale: 1.0, losses: None, gradient: None };
        assert_eq!(rule.evaluate(&of(x), &of(y), alone), sum);
        (sum, wide(losses), wide(gradient))
    }

    /// Elements, and the number of consecutive ones that share a weight.
    fn sizes() -> impl Strategy<Value = (usize, usize)> {
        (prop_oneof![0usize..100, 30_000usize..36_000], prop_oneof![Just(1usize), 2usize..70])
            .prop_map(|(length, each)| (length / each * each, each))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn are_their_definitions((length, each) in sizes(), weighted: bool, seed in 0u64..1000) {
            let noise = |salt: u64| {
                let mut state = (seed * 31 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                move || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as f64 / (1u64 << 24) as f64
                }
            };
            let (mut first, mut second, mut third) = (noise(1), noise(2), noise(3));
            let mut x: Vec<f64> = (0..length).map(|_| 8.0 * first() - 4.0).collect();
            let y: Vec<f64> = (0..length).map(|_| second()).collect();
            let weights: Vec<f64> = (0..length / each).map(|_| 4.0 * third() - 1.0).collect();
            let weights = weighted.then_some(weights.as_slice());
            let weight = |at: usize| weights.map_or(1.0, |weights| weights[at / each]);
            for at in (0..length).filter(|at| weight(*at) < 0.0) {
                x[at] = f64::NAN;
            }
            for rule in RULES {
                let (sum, losses, gradient) = evaluated(rule, &x, &y, weights);
                let mut expected_sum = 0.0;
                for at in 0..length {
                    let loss = |x| match weight(at) {
                        weight if weight < 0.0 => 0.0,
                        weight => weight * oracle(rule, at, x, y[at]),
                    };
                    prop_assert!((losses[at] - loss(x[at])).abs() < 1e-12, "{rule:?} {at}");
                    expected_sum += loss(x[at]);
                    let slope = (loss(x[at] + 1e-5) - loss(x[at] - 1e-5)) / 2e-5;
                    let near = (gradient[at] - 0.25 * slope).abs() < 1e-7;
                    prop_assert!(near || kink(x[at] - y[at]), "{rule:?} {at}");
                }
                prop_assert!((sum - expected_sum).abs() < 1e-11 * (1.0 + expected_sum.abs()));
                let (f32_sum, f32_losses, f32_gradient) = evaluated(narrow(rule), &x, &y, weights);
                let magnitude: f64 = losses.iter().map(|loss| loss.abs()).sum();
                prop_assert!((f32_sum - sum).abs() < 2e-6 * (1.0 + magnitude));
                for (f32s, f64s) in [(f32_losses, losses), (f32_gradient, gradient)] {
                    for (at, (narrow, wide)) in f32s.iter().zip(&f64s).enumerate() {
                        let near = (narrow - wide).abs() < 2e-6 * (1.0 + wide.abs());
                        prop_assert!(near || kink(x[at] - y[at]), "{rule:?} {at}");
                    }
                }
            }
        }
    }

    /// Whether a slope may jump about here: no step and no rounding tells it.
    fn kink(d: f64) -> bool {
        [0.0, 0.7, 1.3].iter().any(|at| (d.abs() - at).abs() < 2e-5)
    }

    fn one(rule: Pointwise<'_, f32>, x: f32, y: f32) -> (f32, f32) {
        let (mut loss, mut gradient) = ([f32::NAN], [f32::NAN]);
        let wanted = Wanted {
            weights: None,
            scale: 1.0,
            losses: Some(&mut loss),
            gradient: Some(&mut gradient),
        };
        rule.evaluate(&[x], &[y], wanted);
        (loss[0], gradient[0])
    }

    #[test]
    fn kinks_and_extremes() {
        let bce = Pointwise::BceWithLogits { positive_weights: None };
        assert_eq!(one(Pointwise::Absolute, 2.0, 2.0), (0.0, 0.0));
        assert_eq!(one(Pointwise::SmoothL1 { beta: 0.0 }, 2.0, 2.0), (0.0, 0.0));
        assert_eq!(one(Pointwise::Huber { delta: 2.0 }, 1e30, 0.0), (2e30, 2.0));
        assert_eq!(one(bce, 1e4, 0.0), (1e4, 1.0));
        assert_eq!(one(bce, -1e4, 1.0), (1e4, -1.0));
        assert_eq!(one(bce, f32::INFINITY, 1.0), (0.0, 0.0));
        assert_eq!(one(bce, f32::NEG_INFINITY, 0.0), (0.0, 0.0));
        assert_eq!(one(bce, f32::INFINITY, 0.5), (f32::INFINITY, 0.5));
        assert_eq!(one(Pointwise::KullbackLeibler, -3.0, f32::NEG_INFINITY).0, 0.0);
        // Far on the right side, value and slope keep their relative precision.
        let (loss, slope) = one(bce, 50.0, 1.0);
        let tail = (-50f32).exp();
        assert!((loss / tail - 1.0).abs() < 1e-5 && (-slope / tail - 1.0).abs() < 1e-5);
        let infinity = f32::INFINITY;
        for (gamma, of_half) in [(0.0, 1.0), (0.5, 0.5f32.sqrt()), (1.0, 0.5), (2.0, 0.25)] {
            let focal = Pointwise::SigmoidFocal { alpha: None, gamma };
            assert_eq!(one(focal, 1e4, 0.0), (1e4, 1.0));
            assert_eq!(one(focal, -1e4, 1.0), (1e4, -1.0));
            assert_eq!(one(focal, 1e4, 1.0), (0.0, 0.0));
            assert_eq!(one(focal, infinity, 0.0), (infinity, 1.0));
            assert_eq!(one(focal, -infinity, 1.0), (infinity, -1.0));
            assert_eq!(one(focal, -infinity, 0.0), (0.0, 0.0));
            assert_eq!(one(focal, infinity, 0.5), (infinity, 0.5 * of_half));
            let unbalanced = Pointwise::SigmoidFocal { alpha: Some(1.0), gamma };
            assert_eq!(one(unbalanced, infinity, 0.0), (0.0, 0.0));
            let (loss, slope) = one(focal, 20.0, 1.0);
            let tail = (-20f64).exp().powf(gamma + 1.0);
            assert!((f64::from(loss) / tail - 1.0).abs() < 1e-5);
            assert!((-f64::from(slope) / tail / (gamma + 1.0) - 1.0).abs() < 1e-5);
        }
        for rule in RULES {
            let (loss, slope) = one(narrow(rule), f32::NAN, 0.5);
            let constant = rule == Pointwise::KullbackLeibler;
            assert!(loss.is_nan() && (slope.is_nan() || constant), "{rule:?}");
        }
    }
}
