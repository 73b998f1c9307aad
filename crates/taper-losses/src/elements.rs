//! What every loss does around its equation: leave elements out, weigh them, reduce them.

use std::iter::repeat_n;

use candle_core::{DType, Device, Shape, Tensor};
use taper_core::op::has_kernels;
use taper_core::{Error, Result};

use crate::arguments::{checked_weights, element, to_host};
use crate::fused::{Divisor, Fused, Loss};
use crate::{Empty, LossOptions, Reduction};

/// Which of a loss's elements count, and how much.
pub(crate) struct Elements {
    operation: &'static str,
    shape: Shape,
    /// Each for the same number of consecutive elements: their weight, or below 0 where they do not count.
    /// `None` where all are 1.
    weights: Option<Vec<f64>>,
    has_sample_weights: bool,
    reduction: Reduction,
    empty: Empty,
    /// The argument to blame when nothing counts.
    emptied_by: &'static str,
}

impl Elements {
    /// The elements of the losses of this shape, which come from `argument`.
    pub(crate) fn new(
        operation: &'static str,
        argument: &'static str,
        shape: impl Into<Shape>,
        options: &LossOptions,
    ) -> Result<Self> {
        let mut elements = Self {
            operation,
            shape: shape.into(),
            weights: None,
            has_sample_weights: options.sample_weights.is_some(),
            reduction: options.reduction,
            empty: options.empty,
            emptied_by: argument,
        };
        if let Some(weights) = &options.sample_weights {
            elements.expect_leading("sample_weights", weights)?;
            elements.weights = Some(checked_weights(operation, "sample_weights", weights)?);
        }
        if let Some(mask) = &options.mask {
            elements.expect_leading("mask", mask)?;
            if mask.dtype() != DType::U8 {
                let received = format!("{:?}", mask.dtype());
                let expected = "u8, as comparisons give it: not 0 where an element counts";
                return Err(Error::argument(operation, "mask", expected, received));
            }
            let kept: Vec<bool> = to_host(mask)?.into_iter().map(|kept| kept != 0.0).collect();
            elements = elements.keep("mask", &kept);
        }
        Ok(elements)
    }

    /// Leaves out the elements where `kept`, which comes from `argument` and whose items are each for the same
    /// number of consecutive elements, is false.
    pub(crate) fn keep(mut self, argument: &'static str, kept: &[bool]) -> Self {
        let weights = self.weights.take().unwrap_or_else(|| vec![1.0]);
        let length =
            if kept.is_empty() || weights.is_empty() { 0 } else { kept.len().max(weights.len()) };
        let pairs = spread(&weights, length).zip(spread(kept, length));
        self.weights = Some(pairs.map(|(weight, kept)| if kept { weight } else { -1.0 }).collect());
        if self.shape.elem_count() > 0 {
            self.emptied_by = argument;
        }
        self
    }

    /// The shape of the losses.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which elements count; `None` where all do.
    pub(crate) fn counting(&self) -> Option<Vec<bool>> {
        let weights = self.weights.as_ref()?;
        Some(spread(weights, self.shape.elem_count()).map(|weight| weight >= 0.0).collect())
    }

    /// `x` with 0 in place of the elements that do not count.
    ///
    /// A loss applies it to what goes *into* its equation: a NaN that is only cut off afterwards still
    /// turns the gradient into NaN. `x` has the losses' elements in their order, or several numbers for each.
    pub(crate) fn hide(&self, x: &Tensor) -> Result<Tensor> {
        let Some(weights) = &self.weights else {
            return Ok(x.clone());
        };
        let rows = self.shape.elem_count();
        let counts: Vec<u8> = spread(weights, rows).map(|weight| u8::from(weight >= 0.0)).collect();
        let flat = x.reshape((rows, x.elem_count() / rows.max(1)))?;
        let counts = Tensor::from_vec(counts, (rows, 1), x.device())?.broadcast_as(flat.shape())?;
        Ok(counts.where_cond(&flat, &flat.zeros_like()?)?.reshape(x.shape())?)
    }

    /// That the elements of `tensor`, of the losses' shape or several for each loss, are as they should be, but for
    /// those that do not count.
    pub(crate) fn expect(
        &self,
        argument: &str,
        tensor: &Tensor,
        expected: &str,
        is_right: impl Fn(f64) -> bool,
    ) -> Result<()> {
        let values = to_host(tensor)?;
        let rows = self.shape.elem_count();
        let each = values.len() / rows.max(1);
        let counts = |at: usize| match &self.weights {
            Some(weights) => weights[at / each / (rows / weights.len())] >= 0.0,
            None => true,
        };
        let wrong = |(at, value): &(usize, &f64)| !is_right(**value) && counts(*at);
        match values.iter().enumerate().find(wrong) {
            None => Ok(()),
            Some((at, value)) => Err(Error::argument(
                self.operation,
                element(argument, at, tensor.dims()),
                expected,
                value,
            )),
        }
    }

    /// The value of the loss of `x`.
    ///
    /// `class_weights`, one for each element, are part of the losses; they count here as part of the weights
    /// over which a weighted mean is taken.
    pub(crate) fn reduce<L: Loss>(
        self,
        x: &Tensor,
        loss: L,
        class_weights: Option<&[f64]>,
    ) -> Result<Tensor> {
        match self.divisor(class_weights) {
            Some(divisor) if has_kernels(x) => {
                Ok(Fused::apply(x, loss, self.weights, self.shape, divisor)?)
            }
            Some(divisor) => self.divided(loss.composed(x, &self)?, divisor),
            None => self.nothing_left(x, class_weights.is_some()),
        }
    }

    /// The value of a loss without a kernel from the losses of its elements, into which nothing went that does not
    /// [count](Self::hide).
    pub(crate) fn reduce_losses(
        self,
        losses: Tensor,
        class_weights: Option<&[f64]>,
    ) -> Result<Tensor> {
        match self.divisor(class_weights) {
            Some(divisor) => self.divided(losses, divisor),
            None => self.nothing_left(&losses, class_weights.is_some()),
        }
    }

    /// The value of a loss in which elements meet each other: `fused` makes it of the weights, one for each element
    /// and below 0 where it does not count, and the divisor; `composed` gives the losses.
    pub(crate) fn reduce_together(
        self,
        x: &Tensor,
        fused: impl FnOnce(Vec<f64>, Divisor) -> Result<Tensor>,
        composed: impl FnOnce(&Self) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self.divisor(None) {
            Some(divisor) if has_kernels(x) => {
                let weights = self.weights.as_deref().unwrap_or(&[1.0]);
                fused(spread(weights, self.shape.elem_count()).collect(), divisor)
            }
            Some(divisor) => self.divided(composed(&self)?, divisor),
            None => self.nothing_left(x, false),
        }
    }

    /// The positions of the elements that count, unless all of them do.
    pub(crate) fn chosen(&self) -> Option<Vec<u32>> {
        let weights = self.weights.as_ref()?;
        let all = (0u32..).zip(spread(weights, self.shape.elem_count()));
        Some(all.filter(|(_, weight)| *weight >= 0.0).map(|(at, _)| at).collect())
    }

    /// What the sum of the losses is divided by, unless it is 0.
    fn divisor(&self, class_weights: Option<&[f64]>) -> Option<Divisor> {
        let divisor = match self.reduction {
            Reduction::None => None,
            Reduction::Sum => Some(1.0),
            Reduction::Mean => Some(self.count()),
            Reduction::WeightedMean => Some(self.total_weight(class_weights)),
        };
        divisor.is_none_or(|divisor| divisor > 0.0).then_some(divisor)
    }

    /// The value from the losses of the elements, in candle's operations.
    pub(crate) fn divided(&self, mut losses: Tensor, divisor: Divisor) -> Result<Tensor> {
        if let Some(weights) = &self.weights {
            let weights: Vec<f64> = spread(weights, self.shape.elem_count()).collect();
            let weights = Tensor::from_vec(weights, &self.shape, &Device::Cpu)?;
            let weights = weights.to_dtype(losses.dtype())?.to_device(losses.device())?;
            losses = self.hide(&(losses * weights)?)?;
        }
        Ok(match divisor {
            None => losses,
            Some(divisor) => (losses.sum_all()? / divisor)?,
        })
    }

    /// How many elements count.
    fn count(&self) -> f64 {
        let all = self.shape.elem_count();
        match &self.weights {
            None => all as f64,
            Some(weights) => {
                let kept = weights.iter().filter(|weight| **weight >= 0.0).count();
                (kept * (all / weights.len().max(1))) as f64
            }
        }
    }

    fn total_weight(&self, class_weights: Option<&[f64]>) -> f64 {
        let all = self.shape.elem_count();
        match (&self.weights, class_weights) {
            (None, None) => all as f64,
            (None, Some(class_weights)) => class_weights.iter().sum(),
            (Some(weights), None) => {
                let kept: f64 = weights.iter().filter(|weight| **weight >= 0.0).sum();
                kept * (all / weights.len().max(1)) as f64
            }
            (Some(weights), Some(class_weights)) => {
                let pairs = spread(weights, all).zip(class_weights);
                pairs.filter(|(weight, _)| *weight >= 0.0).map(|(a, b)| a * b).sum()
            }
        }
    }

    /// What the policy says of a mean over nothing, of the dtype and on the device of `x`.
    fn nothing_left(&self, x: &Tensor, has_class_weights: bool) -> Result<Tensor> {
        match self.empty {
            Empty::Zero => Ok(Tensor::full(0.0, (), x.device())?.to_dtype(x.dtype())?),
            Empty::Nan => Ok(Tensor::full(f64::NAN, (), x.device())?.to_dtype(x.dtype())?),
            Empty::Error => Err(self.nothing_error(has_class_weights)),
        }
    }

    fn nothing_error(&self, has_class_weights: bool) -> Error {
        let argument = match (self.count() > 0.0, self.has_sample_weights, has_class_weights) {
            (false, ..) => self.emptied_by,
            (true, true, false) => "sample_weights",
            (true, false, _) => "class_weights",
            (true, true, true) => "sample_weights or class_weights",
        };
        let expected = "such that a mean has something to average (or set `empty` to Empty::Zero or \
                        Empty::Nan)";
        let received =
            format!("{} of {} elements, of total weight 0", self.count(), self.shape.elem_count());
        Error::argument(self.operation, argument, expected, received)
    }

    fn expect_leading(&self, argument: &str, tensor: &Tensor) -> Result<()> {
        let shape = self.shape.dims();
        if shape.starts_with(tensor.dims()) {
            return Ok(());
        }
        let expected = format!("of the leading part of the losses' shape {shape:?}");
        let received = format!("{:?}", tensor.dims());
        Err(Error::argument(self.operation, argument, expected, received))
    }
}

/// `values`, each repeated so that there are `length` of them, a multiple of theirs.
fn spread<T: Copy>(values: &[T], length: usize) -> impl Iterator<Item = T> {
    let each = length / values.len().max(1);
    values.iter().flat_map(move |value| repeat_n(*value, each))
}

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::Var;
    use proptest::prelude::*;
    use taper_core::stream;

    use super::*;

    /// What is random in a comparison of twins.
    #[derive(Debug, Clone)]
    pub(crate) struct Random {
        pub(crate) rows: usize,
        pub(crate) columns: usize,
        pub(crate) seed: u64,
        weighted: bool,
        masked: bool,
        divisor: Divisor,
    }

    pub(crate) fn random() -> impl Strategy<Value = Random> {
        let sizes = (0usize..6, prop_oneof![1usize..6, 30usize..70]);
        let divisor = prop_oneof![Just(None), Just(Some(1.0)), Just(Some(7.0))];
        (sizes, any::<(u64, bool, bool)>(), divisor).prop_map(|(sizes, random, divisor)| Random {
            rows: sizes.0,
            columns: sizes.1,
            seed: random.0,
            weighted: random.1,
            masked: random.2,
            divisor,
        })
    }

    impl Random {
        /// With sizes of choice.
        pub(crate) fn of(rows: usize, columns: usize) -> Self {
            Self { rows, columns, seed: 1, weighted: false, masked: false, divisor: None }
        }

        /// Numbers of a normal distribution.
        pub(crate) fn normal(&self, name: &str, shape: impl Into<Shape>) -> Tensor {
            stream(self.seed, name).normal(0.0, 2.0, shape, DType::F64, &Device::Cpu).unwrap()
        }

        /// That the fused and the composed loss of `x` agree in value and gradient, the latter in two backward
        /// passes over one graph. `shape` is that of the losses, of which the first axis is weighed.
        pub(crate) fn twins_agree<L: Loss>(
            &self,
            x: &Tensor,
            shape: impl Into<Shape>,
            loss: impl Fn() -> L,
        ) {
            let shape = shape.into();
            let weights = self.normal("weights", shape.dims()[0]).abs().unwrap();
            let mask = self.normal("mask", shape.clone()).gt(0.5).unwrap();
            let options = LossOptions {
                sample_weights: self.weighted.then_some(weights),
                mask: self.masked.then_some(mask),
                ..Default::default()
            };
            let elements = || Elements::new("twins", "x", shape.clone(), &options).unwrap();
            let x = Var::from_tensor(x).unwrap();
            let fused =
                Fused::apply(&x, loss(), elements().weights, shape.clone(), self.divisor).unwrap();
            let losses = loss().composed(&x, &elements()).unwrap();
            let composed = elements().divided(losses, self.divisor).unwrap();
            assert_eq!(fused.dims(), composed.dims());
            near(&fused, &composed);
            let upstream = self.normal("upstream", fused.shape());
            let gradient = |value: &Tensor, factor: f64| {
                let value = ((value * &upstream).unwrap() * factor).unwrap();
                value.sum_all().unwrap().backward().unwrap().remove(&x).unwrap()
            };
            if x.elem_count() > 0 {
                let expected = gradient(&composed, 1.0);
                near(&gradient(&fused, 1.0), &expected);
                near(&gradient(&fused, 0.5), &(expected * 0.5).unwrap());
            }
        }
    }

    /// That each number is as expected, to an absolute error for those below 1.
    pub(crate) fn near(actual: &Tensor, expected: &Tensor) {
        let list = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (actual, expected) in list(actual).into_iter().zip(list(expected)) {
            let error = (actual - expected).abs();
            assert!(error <= 1e-12 * (1.0 + expected.abs()), "{actual} is not {expected}");
        }
    }

    #[test]
    fn masks_and_weights_of_other_axes_meet() {
        let weights = Tensor::new(&[2.0, 3.0], &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[1u8, 0, 1], [0, 1, 1]], &Device::Cpu).unwrap();
        let one = Tensor::new(&[1u8, 0], &Device::Cpu).unwrap();
        let weights_of = |weights: Option<&Tensor>, mask: &Tensor| {
            let (sample_weights, mask) = (weights.cloned(), Some(mask.clone()));
            let options = LossOptions { sample_weights, mask, ..Default::default() };
            Elements::new("", "", (2, 3), &options).unwrap()
        };
        let both = weights_of(Some(&weights), &mask);
        assert_eq!(both.weights, Some(vec![2.0, -1.0, 2.0, -1.0, 3.0, 3.0]));
        assert_eq!((both.count(), both.total_weight(None)), (4.0, 10.0));
        assert_eq!(both.total_weight(Some(&[1.0, 9.0, 2.0, 9.0, 3.0, 4.0])), 27.0);
        let rows = weights_of(None, &one);
        assert_eq!(rows.weights, Some(vec![1.0, -1.0]));
        assert_eq!((rows.count(), rows.total_weight(None)), (3.0, 3.0));
        assert_eq!(rows.keep("", &[false; 6]).count(), 0.0);
    }
}
