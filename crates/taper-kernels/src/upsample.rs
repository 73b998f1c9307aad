//! Resampling of planes (height, width), such as the channels of images, each by itself.
//!
//! Both axes are linear, one after the other: on the way forward each row of x is stretched once, then rows of y
//! are made of two stretched rows; the way back is the transpose, rows first.

use crate::isa::{Isa, dispatch};
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// What each output of one axis is made of: (1 − weight) · x\[low\] + weight · x\[high\], neighbours or the same.
#[derive(Debug, Clone, PartialEq)]
pub struct UpsampleAxis {
    input: usize,
    sources: Vec<Source>,
}

/// See [`UpsampleAxis`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    /// The input below, which is no larger than that of the next output.
    pub low: usize,
    /// The input above: `low` or the next one.
    pub high: usize,
    /// The weight of `high`, in [0, 1).
    pub weight: f64,
}

impl UpsampleAxis {
    /// The input nearest below: ⌊o / scale⌋ for output o, as far as there are inputs. `scale` is the number of
    /// outputs for each input; `None` is exactly output / input.
    ///
    /// # Panics
    /// Where there is no input.
    pub fn nearest(input: usize, output: usize, scale: Option<f64>) -> Self {
        assert!(input > 0, "an axis with an input");
        let source = |at: usize| {
            let low = match scale {
                Some(scale) => (at as f64 / scale) as usize,
                None => at * input / output,
            };
            let low = low.min(input - 1);
            Source { low, high: low, weight: 0.0 }
        };
        Self { input, sources: (0..output).map(source).collect() }
    }

    /// Linear between the two nearest inputs. With `align_corners` the first and the last output are the first
    /// and the last input; else output o is at (o + ½) / scale − ½, no less than 0, where `scale` is as for
    /// [`nearest`](Self::nearest).
    ///
    /// # Panics
    /// Where there is no input.
    pub fn linear(input: usize, output: usize, scale: Option<f64>, align_corners: bool) -> Self {
        assert!(input > 0, "an axis with an input");
        let place = |at: f64| match scale {
            _ if align_corners && output == 1 => 0.0,
            // One division, so that a whole number comes out whole.
            _ if align_corners => at * (input - 1) as f64 / (output - 1) as f64,
            Some(scale) => (at + 0.5) / scale - 0.5,
            None => (at + 0.5) * input as f64 / output as f64 - 0.5,
        };
        let source = |at: usize| {
            let place = place(at as f64);
            let low = (place.max(0.0) as usize).min(input - 1);
            let weight = (place - low as f64).clamp(0.0, 1.0);
            // At the edge there is one input only.
            if low + 1 == input || weight == 0.0 {
                return Source { low, high: low, weight: 0.0 };
            }
            Source { low, high: low + 1, weight }
        };
        Self { input, sources: (0..output).map(source).collect() }
    }

    /// The number of inputs.
    pub fn input(&self) -> usize {
        self.input
    }

    /// The number of outputs.
    pub fn output(&self) -> usize {
        self.sources.len()
    }

    /// What each output is made of.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The number of times that each input is repeated, where that is all that happens.
    fn repeats(&self) -> Option<usize> {
        let times = self.sources.len() / self.input;
        let repeated = |(at, source): (usize, &Source)| source.low * times == at / times * times;
        let exact = times > 0 && self.sources.len() == times * self.input;
        (exact
            && self.sources.iter().all(|source| source.weight == 0.0)
            && self.sources.iter().enumerate().all(repeated))
        .then_some(times)
    }

    /// For each input the outputs that are made of it: neighbours, by the first of them and their weights.
    fn readers<T: Element>(&self) -> Vec<(usize, Vec<T>)> {
        let mut readers = vec![(0, Vec::new()); self.input];
        for (output, source) in self.sources.iter().enumerate() {
            let mut add = |input: usize, weight: f64| {
                let (first, weights) = &mut readers[input];
                if weights.is_empty() {
                    *first = output;
                }
                weights.resize(output - *first, T::ZERO);
                weights.push(T::of(weight));
            };
            add(source.low, 1.0 - source.weight);
            if source.high != source.low {
                add(source.high, source.weight);
            }
        }
        readers
    }
}

/// The resampling of `planes` planes.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsample {
    /// The number of planes.
    pub planes: usize,
    /// Down the columns.
    pub rows: UpsampleAxis,
    /// Along the rows.
    pub columns: UpsampleAxis,
}

impl Upsample {
    /// x (planes, rows.input, columns.input), y (planes, rows.output, columns.output).
    pub fn forward<T: Element>(&self, x: &[T], y: &mut [T]) {
        let (size, out_size) = self.sizes();
        assert_eq!((x.len(), y.len()), (self.planes * size, self.planes * out_size));
        let stretch = Stretch::<T>::new(&self.columns);
        let some = work::rows(self.planes, size + out_size);
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(y, some * out_size), |task, y| {
            let x = &x[task * some * size..];
            dispatch!(I => {
                let mut rows = Rows::new(&stretch, &self.columns);
                for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(out_size)) {
                    self.plane::<I, T>(x, y, &mut rows);
                }
            });
        });
    }

    #[inline(always)]
    fn plane<I: Isa, T: Element>(&self, x: &[T], y: &mut [T], rows: &mut Rows<'_, T>) {
        let (width, out_width) = (self.columns.input, self.columns.output());
        rows.forget();
        for (output, source) in self.rows.sources.iter().enumerate() {
            let (done, y) = y.split_at_mut(output * out_width);
            let y = &mut y[..out_width];
            if source.weight == 0.0 {
                // The row above is often the same.
                if output > 0 && self.rows.sources[output - 1] == *source {
                    y.copy_from_slice(&done[(output - 1) * out_width..]);
                } else {
                    rows.stretch.forward::<I>(&x[source.low * width..][..width], y);
                }
                continue;
            }
            let weight = T::of(source.weight);
            let [low, high] = rows.pair::<I>(x, source.low);
            for ((y, low), high) in y.iter_mut().zip(low).zip(high) {
                *y = low.fma::<I>(T::ONE - weight, *high * weight);
            }
        }
    }

    /// The gradient of x from that of y.
    pub fn backward<T: Element>(&self, upstream: &[T], gradient: &mut [T], update: Update) {
        let (size, out_size) = self.sizes();
        let lengths = (self.planes * out_size, self.planes * size);
        assert_eq!((upstream.len(), gradient.len()), lengths);
        let stretch = Stretch::<T>::new(&self.columns);
        let readers = self.rows.readers::<T>();
        let (width, out_width) = (self.columns.input, self.columns.output());
        let some = work::rows(self.planes, size + out_size);
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(gradient, some * size), |task, gradient| {
            let upstream = &upstream[task * some * out_size..];
            dispatch!(I => {
                let mut sums = vec![T::ZERO; out_width];
                let planes = gradient.chunks_exact_mut(size).zip(upstream.chunks_exact(out_size));
                for (gradient, upstream) in planes {
                    for (gradient, (first, weights)) in
                        gradient.chunks_exact_mut(width).zip(&readers)
                    {
                        sums.fill(T::ZERO);
                        let rows = upstream[first * out_width..].chunks_exact(out_width);
                        for (row, weight) in rows.zip(weights) {
                            for (sum, upstream) in sums.iter_mut().zip(row) {
                                *sum = upstream.fma::<I>(*weight, *sum);
                            }
                        }
                        match update {
                            Update::Replace => stretch.backward::<I>(&sums, gradient, |_, x| x),
                            Update::Add => stretch.backward::<I>(&sums, gradient, |sum, x| sum + x),
                        }
                    }
                }
            });
        });
    }

    fn sizes(&self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.output() * self.columns.output())
    }
}

/// The way along a row.
enum Stretch<T> {
    /// Each element this many times.
    Repeat(usize),
    /// What each output is made of, and what each input goes to.
    Linear { sources: Vec<(u32, u32, T)>, readers: Vec<(usize, Vec<T>)> },
}

impl<T: Element> Stretch<T> {
    fn new(axis: &UpsampleAxis) -> Self {
        if let Some(times) = axis.repeats() {
            return Self::Repeat(times);
        }
        let sources =
            axis.sources.iter().map(|s| (s.low as u32, s.high as u32, T::of(s.weight))).collect();
        Self::Linear { sources, readers: axis.readers() }
    }

    #[inline(always)]
    fn forward<I: Isa>(&self, x: &[T], y: &mut [T]) {
        match self {
            Self::Repeat(1) => y.copy_from_slice(x),
            Self::Repeat(2) => {
                for (y, x) in y.chunks_exact_mut(2).zip(x) {
                    y[0] = *x;
                    y[1] = *x;
                }
            }
            Self::Repeat(times) => {
                y.chunks_exact_mut(*times).zip(x).for_each(|(y, x)| y.fill(*x));
            }
            Self::Linear { sources, .. } => {
                for (y, (low, high, weight)) in y.iter_mut().zip(sources) {
                    let (low, high) = (x[*low as usize], x[*high as usize]);
                    let between = low.fma::<I>(T::ONE - *weight, high * *weight);
                    // 0 times infinity would be NaN.
                    *y = if *weight == T::ZERO { low } else { between };
                }
            }
        }
    }

    /// x = join(x, what the transpose makes of `upstream`).
    #[inline(always)]
    fn backward<I: Isa>(&self, upstream: &[T], x: &mut [T], join: impl Fn(T, T) -> T) {
        match self {
            Self::Repeat(1) => x.iter_mut().zip(upstream).for_each(|(x, g)| *x = join(*x, *g)),
            Self::Repeat(2) => {
                for (x, g) in x.iter_mut().zip(upstream.chunks_exact(2)) {
                    *x = join(*x, g[0] + g[1]);
                }
            }
            Self::Repeat(times) => {
                for (x, g) in x.iter_mut().zip(upstream.chunks_exact(*times)) {
                    *x = join(*x, g.iter().fold(T::ZERO, |sum, g| sum + *g));
                }
            }
            Self::Linear { readers, .. } => {
                for (x, (first, weights)) in x.iter_mut().zip(readers) {
                    let terms = upstream[*first..].iter().zip(weights);
                    let sum = terms.fold(T::ZERO, |sum, (g, weight)| g.fma::<I>(*weight, sum));
                    *x = join(*x, sum);
                }
            }
        }
    }
}

/// Two neighbouring rows of a plane, stretched.
struct Rows<'a, T> {
    stretch: &'a Stretch<T>,
    /// Elements of a row that is not stretched.
    width: usize,
    low: Vec<T>,
    high: Vec<T>,
    /// Which row `low` is; `high` is the next one.
    at: Option<usize>,
}

impl<'a, T: Element> Rows<'a, T> {
    fn new(stretch: &'a Stretch<T>, axis: &UpsampleAxis) -> Self {
        let row = vec![T::ZERO; axis.output()];
        Self { stretch, width: axis.input, low: row.clone(), high: row, at: None }
    }

    /// The next plane begins.
    fn forget(&mut self) {
        self.at = None;
    }

    /// The rows `at` and `at + 1` of x.
    #[inline(always)]
    fn pair<I: Isa>(&mut self, x: &[T], at: usize) -> [&[T]; 2] {
        let row = |at: usize| &x[at * self.width..][..self.width];
        match self.at {
            Some(before) if before == at => {}
            Some(before) if before + 1 == at => {
                std::mem::swap(&mut self.low, &mut self.high);
                self.stretch.forward::<I>(row(at + 1), &mut self.high);
            }
            _ => {
                self.stretch.forward::<I>(row(at), &mut self.low);
                self.stretch.forward::<I>(row(at + 1), &mut self.high);
            }
        }
        self.at = Some(at);
        [&self.low, &self.high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resample(axis: UpsampleAxis, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let one = UpsampleAxis::nearest(1, 1, None);
        let mut both = Vec::new();
        for (rows, columns) in [(one.clone(), axis.clone()), (axis, one)] {
            let upsample = Upsample { planes: 1, rows, columns };
            let mut y = vec![f64::NAN; upsample.sizes().1];
            upsample.forward(x, &mut y);
            let mut gradient = vec![f64::NAN; x.len()];
            upsample.backward(&vec![1.0; y.len()], &mut gradient, Update::Replace);
            upsample.backward(&vec![1.0; y.len()], &mut gradient, Update::Add);
            both.push((y, gradient));
        }
        assert_eq!(both[0], both[1], "along a row and down a column");
        both.swap_remove(0)
    }

    #[test]
    fn nearest_by_hand() {
        let axis = UpsampleAxis::nearest;
        assert_eq!(
            resample(axis(2, 4, None), &[1.0, 2.0]),
            (vec![1.0, 1.0, 2.0, 2.0], vec![4.0; 2])
        );
        assert_eq!(resample(axis(2, 3, None), &[1.0, 2.0]), (vec![1.0, 1.0, 2.0], vec![4.0, 2.0]));
        assert_eq!(
            resample(axis(3, 2, None), &[1.0, 2.0, 3.0]),
            (vec![1.0, 2.0], vec![2.0, 2.0, 0.0])
        );
        // A scale of 1.6 makes 3 of 2, at 0, 0.625 and 1.25.
        assert_eq!(resample(axis(2, 3, Some(1.6)), &[1.0, 2.0]).0, [1.0, 1.0, 2.0]);
    }

    #[test]
    fn linear_by_hand() {
        let axis = UpsampleAxis::linear;
        let (y, gradient) = resample(axis(2, 4, None, false), &[1.0, 2.0]);
        assert_eq!((y, gradient), (vec![1.0, 1.25, 1.75, 2.0], vec![4.0, 4.0]));
        let (y, gradient) = resample(axis(2, 3, None, true), &[1.0, 2.0]);
        assert_eq!((y, gradient), (vec![1.0, 1.5, 2.0], vec![3.0, 3.0]));
        assert_eq!(resample(axis(3, 1, None, true), &[1.0, 2.0, 3.0]).0, [1.0]);
        assert_eq!(resample(axis(3, 1, None, false), &[1.0, 2.0, 3.0]).0, [2.0]);
    }

    #[test]
    fn infinity_stays_where_it_is() {
        let axis = UpsampleAxis::linear(3, 5, None, true);
        let y = resample(axis, &[f64::INFINITY, 1.0, 2.0]).0;
        assert_eq!(y, [f64::INFINITY, f64::INFINITY, 1.0, 1.5, 2.0]);
    }
}
