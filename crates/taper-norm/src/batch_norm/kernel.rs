//! Batch normalization over slices.
//!
//! The input (N, C, L) is N rows of C · L elements. Every sum goes over the rows first and then over the L
//! places of a channel, so that the inner loops run along the memory whatever L is. All arithmetic is
//! in f64: the mean of many f32 would lose the digits in which they differ.

/// An element type: f32 or f64.
pub(super) trait Element: Copy {
    fn widen(self) -> f64;
    fn narrow(value: f64) -> Self;
}

impl Element for f32 {
    fn widen(self) -> f64 {
        f64::from(self)
    }

    fn narrow(value: f64) -> Self {
        value as f32
    }
}

impl Element for f64 {
    fn widen(self) -> f64 {
        self
    }

    fn narrow(value: f64) -> Self {
        value
    }
}

/// The statistics of a batch, one value a channel.
pub(super) struct Statistics {
    pub(super) mean: Vec<f64>,
    /// The sum of the squared distances from the mean.
    pub(super) squares: Vec<f64>,
    /// The number of values in a channel.
    pub(super) count: usize,
    /// The number of places that a channel has in a row.
    places: usize,
}

impl Statistics {
    /// Of `x`, rows of `channels` times `places` elements.
    pub(super) fn new<T: Element>(x: &[T], channels: usize, places: usize) -> Self {
        let row = channels * places;
        let count = x.len() / channels;
        let mut sums = vec![0.0; row];
        for x in x.chunks_exact(row) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x.widen();
            }
        }
        let mean: Vec<f64> = gather(&sums, places).iter().map(|sum| sum / count as f64).collect();
        let means = spread(&mean, places);
        let mut squares = vec![0.0; row];
        for x in x.chunks_exact(row) {
            for ((square, x), mean) in squares.iter_mut().zip(x).zip(&means) {
                let distance = x.widen() - mean;
                *square += distance * distance;
            }
        }
        Self { mean, squares: gather(&squares, places), count, places }
    }
}

/// Normalization by these statistics.
pub(super) struct Normalization {
    pub(super) statistics: Statistics,
    /// What the sum of squares is divided by to give the variance.
    pub(super) divisor: f64,
    pub(super) eps: f64,
}

/// The gradients of what went into [`Normalization::forward`].
pub(super) struct Gradients<T> {
    pub(super) x: Vec<T>,
    pub(super) weight: Vec<T>,
    pub(super) bias: Vec<T>,
}

impl Normalization {
    /// (x − mean) · weight / √(variance + ε) + bias.
    pub(super) fn forward<T: Element>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let means = self.spread(|channel| self.statistics.mean[channel]);
        let scales = self.spread(|channel| self.inverse_std(channel) * weight[channel].widen());
        let biases = self.spread(|channel| bias[channel].widen());
        let mut y = Vec::with_capacity(x.len());
        for x in x.chunks_exact(means.len()) {
            let channels = means.iter().zip(&scales).zip(&biases);
            y.extend(
                x.iter()
                    .zip(channels)
                    .map(|(x, ((mean, scale), bias))| T::narrow((x.widen() - mean) * scale + bias)),
            );
        }
        y
    }

    /// From the gradient g of the output, with d = x − mean, i = 1 / √(variance + ε) and the sums over a
    /// channel: weight i Σ g d; bias Σ g; x weight · i · (g − Σ g / count − d · i² Σ g d / divisor).
    pub(super) fn backward<T: Element>(&self, x: &[T], weight: &[T], g: &[T]) -> Gradients<T> {
        let Statistics { mean, count, places, .. } = &self.statistics;
        let means = self.spread(|channel| mean[channel]);
        let (mut sums, mut products) = (vec![0.0; means.len()], vec![0.0; means.len()]);
        for (x, g) in x.chunks_exact(means.len()).zip(g.chunks_exact(means.len())) {
            let row = sums.iter_mut().zip(&mut products).zip(x).zip(g).zip(&means);
            for ((((sum, product), x), g), mean) in row {
                *sum += g.widen();
                *product += g.widen() * (x.widen() - mean);
            }
        }
        let (sums, products) = (gather(&sums, *places), gather(&products, *places));
        let scale = |channel: usize| self.inverse_std(channel) * weight[channel].widen();
        let scales = self.spread(scale);
        let shifts = self.spread(|channel| scale(channel) * sums[channel] / *count as f64);
        let slopes = self.spread(|channel| {
            let variance = self.inverse_std(channel).powi(2);
            scale(channel) * variance * products[channel] / self.divisor
        });
        let mut gradient = Vec::with_capacity(x.len());
        for (x, g) in x.chunks_exact(means.len()).zip(g.chunks_exact(means.len())) {
            let channels = means.iter().zip(&scales).zip(slopes.iter().zip(&shifts));
            gradient.extend(x.iter().zip(g).zip(channels).map(
                |((x, g), ((mean, scale), (slope, shift)))| {
                    T::narrow(g.widen() * scale - (x.widen() - mean) * slope - shift)
                },
            ));
        }
        let of_weight = products.iter().enumerate();
        Gradients {
            x: gradient,
            weight: of_weight.map(|(at, sum)| T::narrow(sum * self.inverse_std(at))).collect(),
            bias: sums.into_iter().map(T::narrow).collect(),
        }
    }

    fn inverse_std(&self, channel: usize) -> f64 {
        (self.statistics.squares[channel] / self.divisor + self.eps).sqrt().recip()
    }

    fn spread(&self, of_channel: impl Fn(usize) -> f64) -> Vec<f64> {
        let values: Vec<f64> = (0..self.statistics.mean.len()).map(of_channel).collect();
        spread(&values, self.statistics.places)
    }
}

/// Each channel's value at all of its places in a row.
fn spread(values: &[f64], places: usize) -> Vec<f64> {
    values.iter().flat_map(|value| std::iter::repeat_n(*value, places)).collect()
}

/// The sum over each channel's places in a row.
fn gather(row: &[f64], places: usize) -> Vec<f64> {
    row.chunks_exact(places).map(|places| places.iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of two channels of two places: 1, 3, 5, 7 and 10, 10, 10, 14.
    const X: [f32; 8] = [1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 14.0];

    #[test]
    fn hand_numbers() {
        let statistics = Statistics::new(&X, 2, 2);
        assert_eq!(statistics.mean, [4.0, 11.0]);
        assert_eq!(statistics.squares, [20.0, 12.0]);
        // Variances of 5 and 3; with ε, standard deviations of √6 and 2.
        let normalization = Normalization { statistics, divisor: 4.0, eps: 1.0 };
        let y = normalization.forward(&X, &[6f32.sqrt(), 2.0], &[0.0, 0.5]);
        let expected = [-3.0, -1.0, -0.5, -0.5, 1.0, 3.0, -0.5, 3.5];
        assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-6), "{y:?}");

        // The second channel: Σ g = 3, Σ g d = 2 · (−1) + 1 · 3 = 1, and i = 1/2.
        let g = [0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0];
        let gradients = normalization.backward(&X, &[1.0, 2.0], &g);
        assert_eq!(gradients.weight, [0.0, 0.5]);
        assert_eq!(gradients.bias, [0.0, 3.0]);
        // weight · i = 1; g − 3/4 − d · (1/4) (1/4).
        let expected = [0.0, 0.0, -0.6875, 1.3125, 0.0, 0.0, -0.6875, 0.0625];
        assert_eq!(gradients.x, expected);
    }

    #[test]
    fn a_far_mean_leaves_the_variance() {
        let x: Vec<f32> = (0..1000).map(|at| 1e4 + 0.01 * (at % 2) as f32).collect();
        // f32 holds 1e4 + 0.01 as 1e4 + 0.009765625.
        let variance = Statistics::new(&x, 1, 1).squares[0] / 1000.0;
        assert!((variance - (0.009_765_625f64 / 2.0).powi(2)).abs() < 1e-15);
    }
}
