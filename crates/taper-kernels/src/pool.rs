//! Pooling of planes (height, width), such as the channels of images, each by itself.
//!
//! A row is computed over sixteen outputs at a time, whatever the stride: its elements are first sorted into
//! phases, so that what the neighbouring outputs read at one place of their windows lies side by side. With a
//! stride of 2 the phases are the even and the odd elements.

mod adaptive;
mod average;
mod max;

use std::ops::Range;

pub use adaptive::AdaptiveAveragePool;
pub use average::AveragePool;
pub use max::MaxPool;

use crate::Element;
use crate::matmul::Update;

/// Outputs that are computed together.
const BLOCK: usize = 16;

/// The windows along one axis: output o reads the inputs o · stride + t · dilation − padding, 0 ≤ t < window,
/// as far as they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolAxis {
    input: usize,
    output: usize,
    window: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    /// Elements of one phase of a row.
    phase_width: usize,
    /// How far inside a phase the last place of a window is from the first.
    reach: usize,
}

impl PoolAxis {
    /// The windows over `input` elements with `padding` more on both sides. With `ceil` a last window that
    /// begins inside the input or the padding before it counts, though it ends behind the padding.
    ///
    /// `None` where no window fits, or where the input, the window, the stride or the dilation is 0.
    pub fn new(
        input: usize,
        window: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
        ceil: bool,
    ) -> Option<Self> {
        if [input, window, stride, dilation].contains(&0) {
            return None;
        }
        let reach = (window - 1).checked_mul(dilation)?.checked_add(1)?;
        let padded = padding.checked_mul(2)?.checked_add(input)?;
        let slack = if ceil { stride - 1 } else { 0 };
        let mut output = padded.checked_add(slack)?.checked_sub(reach)? / stride + 1;
        if ceil && (output - 1) * stride >= input + padding {
            output -= 1;
        }
        // Of a single window the stride says nothing, and phases as many as a large stride would cost memory.
        let stride = if output == 1 { 1 } else { stride };
        let reach = (reach - 1) / stride;
        let read = output.next_multiple_of(BLOCK) + reach;
        let written = (input + padding).div_ceil(stride);
        let phase_width = read.max(written).next_multiple_of(BLOCK);
        Some(Self { input, output, window, stride, padding, dilation, phase_width, reach })
    }

    /// The number of inputs.
    pub fn input(self) -> usize {
        self.input
    }

    /// The number of outputs.
    pub fn output(self) -> usize {
        self.output
    }

    /// The places of a window.
    pub fn window(self) -> usize {
        self.window
    }

    /// The places t of the window of `output` whose input is there.
    pub fn taps(self, output: usize) -> Range<usize> {
        let start = output * self.stride;
        // Called for every row of every plane, where a division counts.
        let places = |distance: usize| match self.dilation {
            1 => distance,
            dilation => distance.div_ceil(dilation),
        };
        let first = places(self.padding.saturating_sub(start));
        let end = places((self.input + self.padding).saturating_sub(start));
        first..end.clamp(first, self.window.max(first))
    }

    /// The input at place `tap` of the window of `output`, which is one of its [`taps`](Self::taps).
    pub fn position(self, output: usize, tap: usize) -> usize {
        output * self.stride + tap * self.dilation - self.padding
    }

    /// For each input the outputs that read it.
    fn readers(self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.input];
        for output in 0..self.output {
            for tap in self.taps(output) {
                readers[self.position(output, tap)].push(output);
            }
        }
        readers
    }

    /// The phase that `tap` reads, and how far inside it the tap is from the first.
    fn phase(self, tap: usize) -> (usize, usize) {
        let at = tap * self.dilation;
        (at % self.stride, at / self.stride)
    }

    /// Where in the phases of a row, one after the other, each tap of output 0 is.
    fn offsets(self) -> Vec<usize> {
        let width = self.phase_width;
        let offset = |tap| {
            let (phase, inside) = self.phase(tap);
            phase * width + inside
        };
        (0..self.window).map(offset).collect()
    }

    /// For each phase how far inside it are its taps.
    fn taps_by_phase(self) -> Vec<Vec<usize>> {
        let mut phases = vec![Vec::new(); self.stride];
        for tap in 0..self.window {
            let (phase, inside) = self.phase(tap);
            phases[phase].push(inside);
        }
        phases
    }

    /// The first input in `phase`, and its place there.
    fn first_of(self, phase: usize) -> (usize, usize) {
        let first = (phase + self.stride - self.padding % self.stride) % self.stride;
        (first, (first + self.padding) / self.stride)
    }

    /// Sorts a row into its phases; what the row does not reach is left as it is.
    #[inline(always)]
    fn split<T: Element>(self, row: &[T], phases: &mut [T]) {
        let width = self.phase_width;
        match self.stride {
            1 => phases[self.padding..][..row.len()].copy_from_slice(row),
            2 => {
                let (first, second) = self.halves(phases, width);
                let pairs = row.chunks_exact(2);
                if let (&[last], Some(place)) = (pairs.remainder(), first.get_mut(row.len() / 2)) {
                    *place = last;
                }
                for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs) {
                    *first = pair[0];
                    *second = pair[1];
                }
            }
            stride => {
                for (phase, places) in phases.chunks_exact_mut(width).enumerate() {
                    let (first, place) = self.first_of(phase);
                    let elements = row.iter().skip(first).step_by(stride);
                    places[place..].iter_mut().zip(elements).for_each(|(place, x)| *place = *x);
                }
            }
        }
    }

    /// The way back: `row` = what its phases hold, or += that.
    #[inline(always)]
    fn merge<T: Element>(self, phases: &mut [T], row: &mut [T], update: Update) {
        match update {
            Update::Replace => self.merge_by(phases, row, |_, x| x),
            Update::Add => self.merge_by(phases, row, |sum, x| sum + x),
        }
    }

    #[inline(always)]
    fn merge_by<T: Element>(self, phases: &mut [T], row: &mut [T], f: impl Fn(T, T) -> T) {
        let width = self.phase_width;
        match self.stride {
            1 => row.iter_mut().zip(&phases[self.padding..]).for_each(|(x, p)| *x = f(*x, *p)),
            2 => {
                let length = row.len();
                let (first, second) = self.halves(phases, width);
                let mut pairs = row.chunks_exact_mut(2);
                for ((pair, first), second) in pairs.by_ref().zip(first.iter()).zip(second.iter()) {
                    pair[0] = f(pair[0], *first);
                    pair[1] = f(pair[1], *second);
                }
                if let ([last], Some(place)) = (pairs.into_remainder(), first.get(length / 2)) {
                    *last = f(*last, *place);
                }
            }
            stride => {
                for (phase, places) in phases.chunks_exact(width).enumerate() {
                    let (first, place) = self.first_of(phase);
                    let elements = row.iter_mut().skip(first).step_by(stride);
                    elements.zip(&places[place..]).for_each(|(x, p)| *x = f(*x, *p));
                }
            }
        }
    }

    /// Of a stride of 2: the phase of the row's first element from there on, and that of the second.
    fn halves<T>(self, phases: &mut [T], width: usize) -> (&mut [T], &mut [T]) {
        let (even, odd) = phases.split_at_mut(width);
        let place = self.padding / 2;
        if self.padding.is_multiple_of(2) {
            (&mut even[place..], &mut odd[place..])
        } else {
            (&mut odd[place..], &mut even[place + 1..])
        }
    }
}

/// y of one plane: for each window the fold of its elements from `start` on, first down the columns, then
/// along the row; then `finish(output row, y row)`.
#[inline(always)]
fn fold<T: Element>(
    [rows, columns]: [PoolAxis; 2],
    x: &[T],
    y: &mut [T],
    scratch: &mut Scratch<T>,
    (start, join): (T, impl Fn(T, T) -> T),
    finish: impl Fn(usize, &mut [T]),
) {
    let Scratch { column, phases, offsets } = scratch;
    for (output, y) in y.chunks_exact_mut(columns.output).enumerate() {
        let mut taps = rows.taps(output);
        let row = |tap| &x[rows.position(output, tap) * columns.input..][..columns.input];
        match taps.next() {
            Some(tap) => column.copy_from_slice(row(tap)),
            None => column.fill(start),
        }
        for tap in taps {
            join_rows(column, row(tap), &join);
        }
        columns.split(column, phases);
        for (block, y) in y.chunks_mut(BLOCK).enumerate() {
            let mut all = [start; BLOCK];
            for offset in &*offsets {
                let x = &phases[offset + block * BLOCK..][..BLOCK];
                for lane in 0..BLOCK {
                    all[lane] = join(all[lane], x[lane]);
                }
            }
            y.copy_from_slice(&all[..y.len()]);
        }
        finish(output, y);
    }
}

/// all = join(all, x), in blocks: most rows are too short for the compiler's own choice of unrolling.
#[inline(always)]
fn join_rows<T: Element>(all: &mut [T], x: &[T], join: impl Fn(T, T) -> T) {
    let (blocks, rest) = all.as_chunks_mut::<BLOCK>();
    let (x_blocks, x_rest) = x.as_chunks::<BLOCK>();
    for (all, x) in blocks.iter_mut().zip(x_blocks) {
        for lane in 0..BLOCK {
            all[lane] = join(all[lane], x[lane]);
        }
    }
    rest.iter_mut().zip(x_rest).for_each(|(all, x)| *all = join(*all, *x));
}

/// What [`fold`] writes besides its result.
struct Scratch<T> {
    column: Vec<T>,
    /// Places that no input reaches hold the start of the fold.
    phases: Vec<T>,
    offsets: Vec<usize>,
}

impl<T: Element> Scratch<T> {
    fn new(columns: PoolAxis, start: T) -> Self {
        Self {
            column: vec![start; columns.input],
            phases: vec![start; columns.stride * columns.phase_width],
            offsets: columns.offsets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_by_hand() {
        let output = |input, window, stride, padding, dilation, ceil| {
            PoolAxis::new(input, window, stride, padding, dilation, ceil).map(PoolAxis::output)
        };
        assert_eq!(output(7, 3, 2, 0, 1, false), Some(3));
        assert_eq!(output(8, 3, 2, 0, 1, false), Some(3));
        assert_eq!(output(8, 3, 2, 0, 1, true), Some(4));
        assert_eq!(output(8, 3, 2, 1, 1, false), Some(4));
        assert_eq!(output(7, 3, 1, 0, 3, false), Some(1));
        // Would begin behind the input.
        assert_eq!(output(4, 2, 3, 1, 1, true), Some(2));
        assert_eq!(output(4, 5, 1, 0, 1, false), None);
        assert_eq!(output(4, 5, 2, 0, 1, true), Some(1));
        for zero in 0..4 {
            let mut sizes = [4, 2, 1, 1];
            sizes[zero] = 0;
            let [input, window, stride, dilation] = sizes;
            assert_eq!(output(input, window, stride, 0, dilation, false), None);
        }
        assert_eq!(output(4, usize::MAX, 1, 0, 2, false), None);
        assert_eq!(output(4, 2, 1, usize::MAX, 1, true), None);
        assert_eq!(output(4, 2, usize::MAX, 1, 1, true), None);
    }

    #[test]
    fn phases_there_and_back() {
        for (input, window, stride, padding, dilation) in [
            (1, 1, 1, 0, 1),
            (9, 3, 1, 1, 2),
            (9, 2, 2, 0, 1),
            (40, 3, 2, 1, 1),
            (41, 5, 3, 2, 2),
            (7, 2, 5, 1, 1),
        ] {
            let axis = PoolAxis::new(input, window, stride, padding, dilation, false).unwrap();
            let row: Vec<f64> = (0..input).map(|at| at as f64).collect();
            let mut phases = vec![f64::NAN; axis.stride * axis.phase_width];
            axis.split(&row, &mut phases);
            let offsets = axis.offsets();
            for output in 0..axis.output {
                for tap in 0..window {
                    let x = phases[offsets[tap] + output];
                    let there = axis.taps(output).contains(&tap);
                    assert_eq!(x.is_nan(), !there, "{axis:?} {output} {tap}");
                    if there {
                        assert_eq!(x, axis.position(output, tap) as f64);
                    }
                }
            }
            let mut back = vec![f64::NAN; input];
            axis.merge(&mut phases, &mut back, Update::Replace);
            assert_eq!(back, row);
            axis.merge(&mut phases, &mut back, Update::Add);
            assert!(back.iter().zip(&row).all(|(back, x)| *back == 2.0 * x));
        }
    }
}
