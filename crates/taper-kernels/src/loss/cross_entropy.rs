//! The cross-entropy of logits against classes.

use super::Wanted;
use crate::isa::{Isa, dispatch};
use crate::lanes::{self, LANES, NARROW};
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// A class for each row.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// As candle's indices.
    U32(&'a [u32]),
    /// As PyTorch's indices.
    I64(&'a [i64]),
}

impl Labels<'_> {
    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        let rows = match self {
            Self::U32(labels) => labels.len(),
            Self::I64(labels) => labels.len(),
        };
        (0..rows).map(|row| self.of(row))
    }

    #[inline(always)]
    fn of(&self, row: usize) -> i64 {
        match self {
            Self::U32(labels) => i64::from(labels[row]),
            Self::I64(labels) => labels[row],
        }
    }
}

/// What the logits of each row are compared with.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a, T> {
    /// The class of each row, from 0 to below the number of classes.
    Labels(Labels<'a>),
    /// q, (rows, classes).
    Probabilities(&'a [T]),
}

/// The cross-entropy of rows of logits z: − Σ_c t_c ln p_c with p the softmax of z.
///
/// t_c = w_c ((1 − ε) q_c + ε / C), where q is 1 at the class of an index target and 0 elsewhere, and
/// 0 · ln 0 = 0. Nothing is read of the target of a row that the weights leave out.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy<'a, T> {
    /// C, at least 1.
    pub classes: usize,
    /// What the rows are compared with.
    pub target: Target<'a, T>,
    /// w, one for each class; `None` is 1 for all.
    pub class_weights: Option<&'a [T]>,
    /// ε, from 0 to 1.
    pub smoothing: f64,
}

impl<T: Element> CrossEntropy<'_, T> {
    /// Σ of the weighted losses of the rows of `logits`, (rows, classes).
    ///
    /// # Panics
    /// If a class that is read is not below the number of classes.
    pub fn evaluate(self, logits: &[T], wanted: Wanted<'_, T>) -> f64 {
        self.rows(logits, wanted, None::<fn(f64) -> (f64, f64)>)
    }

    /// Σ of the weighted losses Σ_c t_c φ(ln p_c) of the rows of `logits`, where `rule` gives φ and its derivative.
    ///
    /// # Panics
    /// If a class that is read is not below the number of classes.
    pub fn evaluate_by(
        self,
        logits: &[T],
        wanted: Wanted<'_, T>,
        rule: impl Fn(f64) -> (f64, f64) + Sync,
    ) -> f64 {
        self.rows(logits, wanted, Some(rule))
    }

    /// By the rule, or with φ = −ln p.
    fn rows(
        self,
        logits: &[T],
        wanted: Wanted<'_, T>,
        rule: Option<impl Fn(f64) -> (f64, f64) + Sync>,
    ) -> f64 {
        let Wanted { weights, scale, losses, gradient } = wanted;
        let classes = self.classes;
        let rows = logits.len() / classes;
        let even = self.even();
        // A row costs several passes and its exponentials.
        let size = work::rows(rows, 4 * classes);
        let tasks = rows.div_ceil(size);
        let weights = weights.map(|weights| (weights, rows.div_ceil(weights.len().max(1))));
        let mut sums = vec![0.0; tasks];
        let parts = (
            Chunks::new(&mut sums, 1),
            losses.map(|losses| Chunks::new(losses, size)),
            gradient.map(|gradient| Chunks::new(gradient, size * classes)),
        );
        threads::each(tasks, parts, |task, (sum, mut losses, mut gradient)| {
            let first = task * size;
            let logits = &logits[first * classes..];
            // Where the exponentials go that become no gradient.
            let mut unwanted = vec![T::ZERO; if gradient.is_some() { 0 } else { classes }];
            dispatch!(I => for (at, z) in logits.chunks_exact(classes).take(size).enumerate() {
                let row = first + at;
                let weight = weights.map_or(1.0, |(weights, each)| weights[row / each]);
                let (place, factor) = match &mut gradient {
                    Some(all) => (&mut all[at * classes..][..classes], Some(weight * scale)),
                    None => (unwanted.as_mut_slice(), None),
                };
                let loss = if weight < 0.0 {
                    place.fill(T::ZERO);
                    0.0
                } else {
                    weight * self.row::<I>(row, z, &even, factor, rule.as_ref(), place)
                };
                sum[0] += loss;
                if let Some(losses) = &mut losses {
                    losses[at] = T::of(loss);
                }
            });
        });
        sums.iter().sum()
    }

    /// w_c ε / C; nothing without smoothing.
    fn even(&self) -> Vec<T> {
        if self.smoothing == 0.0 {
            return Vec::new();
        }
        let even = T::of(self.smoothing / self.classes as f64);
        (0..self.classes).map(|class| even * self.class_weight(class)).collect()
    }

    #[inline(always)]
    fn class_weight(&self, class: usize) -> T {
        self.class_weights.map_or(T::ONE, |weights| weights[class])
    }

    /// The loss of one row. Its gradient, times `factor` if there is one, goes to `place`, which is written in
    /// any case.
    #[inline(always)]
    fn row<I: Isa>(
        &self,
        row: usize,
        z: &[T],
        even: &[T],
        factor: Option<f64>,
        rule: Option<&impl Fn(f64) -> (f64, f64)>,
        place: &mut [T],
    ) -> f64 {
        let max = lanes::max_number(z);
        let sum = exponentials::<I, T>(z, max, place).to_f64();
        let terms = Terms { z, max, sum, factor };
        if let Some(rule) = rule {
            return self.ruled(row, &terms, rule, place);
        }
        let class = match self.target {
            Target::Labels(labels) => labels.of(row) as usize,
            Target::Probabilities(q) => {
                let q = &q[row * z.len()..][..z.len()];
                let own = T::of(1.0 - self.smoothing);
                return match (self.class_weights, even) {
                    (None, []) => terms.soft(place, |at| q[at]),
                    (None, even) => terms.soft(place, |at| own * q[at] + even[at]),
                    (Some(w), []) => terms.soft(place, |at| w[at] * q[at]),
                    (Some(w), even) => terms.soft(place, |at| own * w[at] * q[at] + even[at]),
                };
            }
        };
        let own = (1.0 - self.smoothing) * self.class_weight(class).to_f64();
        terms.hard(place, class, own, even)
    }

    /// The loss of one row by a rule. The gradient takes the place of the exponentials.
    fn ruled(
        &self,
        row: usize,
        terms: &Terms<'_, T>,
        rule: &impl Fn(f64) -> (f64, f64),
        place: &mut [T],
    ) -> f64 {
        let log_sum = terms.sum.ln();
        let log_p = |class: usize| (terms.z[class] - terms.max).to_f64() - log_sum;
        let weight = |class: usize| self.class_weight(class).to_f64();
        let own = 1.0 - self.smoothing;
        if let (Target::Labels(labels), true) = (self.target, own == 1.0) {
            let class = labels.of(row) as usize;
            let (loss, slope) = rule(log_p(class));
            if let Some(factor) = terms.factor {
                let slope = factor * weight(class) * slope;
                let scale = T::of(-slope / terms.sum);
                place.iter_mut().for_each(|gradient| *gradient *= scale);
                place[class] += T::of(slope);
            }
            return if weight(class) == 0.0 { 0.0 } else { weight(class) * loss };
        }
        let even = self.smoothing / self.classes as f64;
        let target = |class: usize| {
            let q = match self.target {
                Target::Labels(labels) => f64::from(u8::from(labels.of(row) == class as i64)),
                Target::Probabilities(q) => q[row * self.classes + class].to_f64(),
            };
            weight(class) * (own * q + even)
        };
        let term = |class: usize| match target(class) {
            0.0 => (0.0, 0.0),
            target => {
                let (loss, slope) = rule(log_p(class));
                (target * loss, target * slope)
            }
        };
        let (mut loss, mut slopes) = (0.0, 0.0);
        for (of_loss, slope) in (0..self.classes).map(term) {
            loss += of_loss;
            slopes += slope;
        }
        if let Some(factor) = terms.factor {
            for (class, gradient) in place.iter_mut().enumerate() {
                let p = gradient.to_f64() / terms.sum;
                *gradient = T::of(factor * (term(class).1 - p * slopes));
            }
        }
        loss
    }
}

/// A row: its logits, their maximum, Σ exp(z − max), and what its gradient is multiplied by if there is one.
struct Terms<'a, T> {
    z: &'a [T],
    max: T,
    sum: f64,
    factor: Option<f64>,
}

impl<T: Element> Terms<'_, T> {
    /// The loss against `own` at `class` and `even` everywhere. The gradient takes the place of the exponentials.
    #[inline(always)]
    fn hard(&self, place: &mut [T], class: usize, own: f64, even: &[T]) -> f64 {
        let (mut total, mut cost) = (own, 0.0);
        if own != 0.0 {
            cost = own * (self.z[class] - self.max).to_f64();
        }
        if !even.is_empty() {
            let even = &even[..self.z.len()];
            total += lanes::sum(even).to_f64();
            cost += self.cost(|at| even[at]);
        }
        if let Some(factor) = self.factor {
            let scale = T::of(factor * total / self.sum);
            place.iter_mut().for_each(|gradient| *gradient *= scale);
            let wide = T::of(factor);
            for (gradient, even) in place.iter_mut().zip(even) {
                *gradient += -wide * *even;
            }
            place[class] += T::of(-factor * own);
        }
        total * self.sum.ln() - cost
    }

    /// The loss against the target t. The gradient takes the place of the exponentials.
    #[inline(always)]
    fn soft(&self, place: &mut [T], t: impl Fn(usize) -> T) -> f64 {
        let total = lanes::sum_by(self.z.len(), &t).to_f64();
        if let Some(factor) = self.factor {
            let (scale, factor) = (T::of(factor * total / self.sum), T::of(factor));
            for (at, gradient) in place.iter_mut().enumerate() {
                *gradient = *gradient * scale - factor * t(at);
            }
        }
        total * self.sum.ln() - self.cost(t)
    }

    /// Σ t (z − max), of which what is not in the target has no part even where z is −∞.
    #[inline(always)]
    fn cost(&self, t: impl Fn(usize) -> T) -> f64 {
        let term = |at: usize| {
            let (t, shifted) = (t(at), self.z[at] - self.max);
            if t == T::ZERO { T::ZERO } else { t * shifted }
        };
        lanes::sum_by(self.z.len(), term).to_f64()
    }
}

/// Σ exp(z − max), each of them into `place`, of the length of z.
#[inline(always)]
fn exponentials<I: Isa, T: Element>(z: &[T], max: T, place: &mut [T]) -> T {
    let mut sums = [T::ZERO; LANES];
    let (blocks, places) = (z.chunks_exact(LANES), place.chunks_exact_mut(LANES));
    for (z, place) in blocks.zip(places) {
        for lane in 0..LANES {
            place[lane] = (z[lane] - max).exp::<I>();
            sums[lane] += place[lane];
        }
    }
    // The rest of the row in narrower steps: a short row should not pay for all lanes.
    let length = z.len();
    let (mut start, mut first) = (length / LANES * LANES, 0);
    while start < length {
        let sums = &mut sums[first..first + NARROW];
        if start + NARROW <= length {
            narrow::<I, T>(&z[start..], max, 0, sums, &mut place[start..]);
        } else if length >= NARROW {
            // Again over some that are done: they come out the same, and have no part in the sum.
            let (start, done) = (length - NARROW, NARROW - (length - start));
            narrow::<I, T>(&z[start..], max, done, sums, &mut place[start..]);
        } else {
            let (mut padded, mut e) = ([T::NEG_INFINITY; NARROW], [T::ZERO; NARROW]);
            padded[..length].copy_from_slice(z);
            narrow::<I, T>(&padded, max, 0, sums, &mut e);
            place.copy_from_slice(&e[..length]);
        }
        (start, first) = (start + NARROW, first + NARROW);
    }
    lanes::total(sums)
}

/// exp(z − max) of the first elements of `z`, a narrow step of them, of which the first `done` are not added to
/// `sums`.
#[inline(always)]
fn narrow<I: Isa, T: Element>(z: &[T], max: T, done: usize, sums: &mut [T], place: &mut [T]) {
    let (z, place) = (&z[..NARROW], &mut place[..NARROW]);
    for lane in 0..NARROW {
        let e = (z[lane] - max).exp::<I>();
        place[lane] = e;
        sums[lane] += if lane < done { T::ZERO } else { e };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The loss of a row by its definition.
    fn oracle(z: &[f64], target: &[f64]) -> f64 {
        let sum: f64 = z.iter().map(|z| z.exp()).sum();
        z.iter().zip(target).map(|(z, t)| t * (sum.ln() - z)).sum()
    }

    /// Sum, losses and gradient, the latter times 1/2.
    fn evaluated<T: Element>(
        problem: CrossEntropy<'_, T>,
        logits: &[f64],
        weights: Option<&[f64]>,
    ) -> (f64, Vec<f64>, Vec<f64>) {
        let of = |values: &[f64]| values.iter().map(|x| T::of(*x)).collect::<Vec<_>>();
        let wide = |values: Vec<T>| values.into_iter().map(T::to_f64).collect::<Vec<_>>();
        let rows = logits.len() / problem.classes;
        let (mut losses, mut gradient) =
            (of(&vec![f64::NAN; rows]), of(&vec![f64::NAN; logits.len()]));
        let wanted = Wanted {
            weights,
            scale: 0.5,
            losses: Some(&mut losses),
            gradient: Some(&mut gradient),
        };
        let sum = problem.evaluate(&of(logits), wanted);
        let alone = Wanted { weights, scale: 1.0, losses: None, gradient: None };
        assert_eq!(problem.evaluate(&of(logits), alone), sum);
        (sum, wide(losses), wide(gradient))
    }

    fn close(actual: &[f64], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
        prop_assert_eq!(actual.len(), expected.len());
        for (actual, expected) in actual.iter().zip(expected) {
            let error = (actual - expected).abs();
            prop_assert!(error <= tolerance * (1.0 + expected.abs()), "{actual} {expected}");
        }
        Ok(())
    }

    /// Rows (times two) and classes.
    fn sizes() -> impl Strategy<Value = (usize, usize)> {
        prop_oneof![(0usize..20, 1usize..100), (60usize..80, 250usize..260)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn is_its_definition(
            (pairs, classes) in sizes(),
            (soft, weighted, class_weighted) in any::<(bool, bool, bool)>(),
            smoothing in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
            seed in 0u64..1000,
        ) {
            let mut state = seed * 2 + 1;
            let mut noise = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f64 / (1u64 << 24) as f64
            };
            let rows = 2 * pairs;
            let mut logits: Vec<f64> = (0..rows * classes).map(|_| 10.0 * noise() - 5.0).collect();
            let labels: Vec<u32> = (0..rows).map(|_| (noise() * classes as f64) as u32).collect();
            let probabilities: Vec<f64> =
                (0..rows * classes).map(|_| if noise() < 0.3 { 0.0 } else { noise() }).collect();
            let class_weights: Vec<f64> = (0..classes).map(|_| noise()).collect();
            // Each for two rows.
            let weights: Vec<f64> = (0..pairs).map(|_| 4.0 * noise() - 1.0).collect();
            let weights = weighted.then_some(weights.as_slice());
            let weight = |row: usize| weights.map_or(1.0, |weights| weights[row / 2]);
            let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * classes]);
            for row in 0..rows {
                let z = &mut logits[row * classes..][..classes];
                if weight(row) < 0.0 {
                    z.fill(f64::NAN);
                    continue;
                }
                let target: Vec<f64> = (0..classes).map(|class| {
                    let q = if soft {
                        probabilities[row * classes + class]
                    } else {
                        f64::from(class == labels[row] as usize)
                    };
                    let smoothed = (1.0 - smoothing) * q + smoothing / classes as f64;
                    smoothed * if class_weighted { class_weights[class] } else { 1.0 }
                }).collect();
                losses[row] = weight(row) * oracle(z, &target);
                let total: f64 = target.iter().sum();
                let sum: f64 = z.iter().map(|z| z.exp()).sum();
                for class in 0..classes {
                    gradient[row * classes + class] =
                        0.5 * weight(row) * (total * z[class].exp() / sum - target[class]);
                }
            }
            let sum: f64 = losses.iter().sum();

            let wide: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
            let problem = CrossEntropy {
                classes,
                target: if soft { Target::Probabilities(&probabilities) } else { Target::Labels(Labels::I64(&wide)) },
                class_weights: class_weighted.then_some(&class_weights),
                smoothing,
            };
            let actual = evaluated(problem, &logits, weights);
            close(&[actual.0], &[sum], 1e-12)?;
            close(&actual.1, &losses, 1e-12)?;
            close(&actual.2, &gradient, 1e-12)?;

            let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<_>>();
            let (probabilities, class_weights) = (narrow(&probabilities), narrow(&class_weights));
            let problem = CrossEntropy {
                classes,
                target: if soft { Target::Probabilities(&probabilities) } else { Target::Labels(Labels::U32(&labels)) },
                class_weights: class_weighted.then_some(class_weights.as_slice()),
                smoothing,
            };
            let actual = evaluated(problem, &logits, weights);
            close(&[actual.0], &[sum], 2e-6)?;
            close(&actual.1, &losses, 4e-6)?;
            close(&actual.2, &gradient, 4e-6)?;
        }
    }

    fn one(z: &[f32], class: u32) -> (f64, Vec<f32>) {
        let mut gradient = vec![f32::NAN; z.len()];
        let target = Target::Labels(Labels::U32(&[class]));
        let problem =
            CrossEntropy { classes: z.len(), target, class_weights: None, smoothing: 0.0 };
        let wanted =
            Wanted { weights: None, scale: 1.0, losses: None, gradient: Some(&mut gradient) };
        (problem.evaluate(z, wanted), gradient)
    }

    #[test]
    fn extremes() {
        assert_eq!(one(&[1e4, -1e4, 0.0], 1), (2e4, vec![1.0, -1.0, 0.0]));
        let (loss, gradient) = one(&[0.0, f32::NEG_INFINITY, 0.0], 2);
        assert_eq!((loss, gradient), (2f64.ln(), vec![0.5, 0.0, -0.5]));
        assert_eq!(one(&[0.0, f32::NEG_INFINITY], 1).0, f64::INFINITY);
        for poison in [f32::NAN, f32::INFINITY] {
            for place in [0, 40] {
                let mut z = [0.5; 41];
                z[place] = poison;
                let (loss, gradient) = one(&z, 3);
                assert!(loss.is_nan() && gradient.iter().all(|gradient| gradient.is_nan()));
            }
        }
        assert!(one(&[f32::NEG_INFINITY; 2], 0).0.is_nan());
    }
}
