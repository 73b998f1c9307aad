//! What the layers of this folder share: values normalised by a channel's statistics, with the affine part, the
//! residual and the activation.

mod composed;
mod fused;

use candle_core::{DType, Module, Tensor};
use taper_core::{Activation, Error, Result, op};

use super::Variance;
use crate::arguments::is_half;
use fused::Fused;
pub(super) use fused::numbers;

/// y = f(w x̂ + b + r), where x̂ is x normalised: one operation on the CPU (but for an f that is no rectifier),
/// its composed twin elsewhere.
pub(super) struct Normalize<'a> {
    /// Half precision is widened.
    x: Tensor,
    residual: Option<Tensor>,
    /// w and b.
    affine: Option<&'a (Tensor, Tensor)>,
    activation: Activation,
    eps: f64,
    /// The dtype of the result.
    dtype: DType,
    fused: bool,
}

/// How a batch normalises itself.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// What the sums of squares are divided by.
    pub(super) variance: Variance,
    /// The samples that share statistics; the last such part may have fewer.
    pub(super) part: usize,
    /// x̂ becomes r x̂ + d.
    pub(super) correction: Option<Correction>,
}

/// r = σ / `std` and d = (μ − `mean`) / `std`, clipped, of a batch's μ and σ: constants for the gradient.
#[derive(Debug, Clone)]
pub(super) struct Correction {
    pub(super) mean: Vec<f64>,
    pub(super) std: Vec<f64>,
    /// r is from 1 / `r_max` to `r_max`.
    pub(super) r_max: f64,
    /// d is from −`d_max` to `d_max`.
    pub(super) d_max: f64,
}

impl Correction {
    /// r and d of each channel with these means and standard deviations.
    fn of(&self, mean: &[f64], std: impl Iterator<Item = f64>) -> Vec<[f64; 2]> {
        let running = self.mean.iter().zip(&self.std);
        let channels = mean.iter().zip(std).zip(running);
        let pairs = channels.map(|((mean, std), (running_mean, running_std))| {
            // NaN stays NaN.
            let r = (std / running_std).clamp(1.0 / self.r_max, self.r_max);
            [r, ((mean - running_mean) / running_std).clamp(-self.d_max, self.d_max)]
        });
        pairs.collect()
    }
}

/// The statistics of a part of a batch.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    /// One a channel.
    pub(super) mean: Vec<f64>,
    /// The sums of the squared distances from the mean, one a channel.
    pub(super) squares: Vec<f64>,
    /// Values a channel.
    pub(super) count: usize,
}

impl Moments {
    /// The variances.
    pub(super) fn variance(&self, kind: Variance) -> Vec<f64> {
        let divisor = kind.divisor(self.count);
        self.squares.iter().map(|squares| squares / divisor).collect()
    }
}

impl<'a> Normalize<'a> {
    /// Of x (N, C, places...), a residual of the same shape and dtype, and w and b (C).
    pub(super) fn new(
        x: &Tensor,
        residual: Option<&Tensor>,
        affine: Option<&'a (Tensor, Tensor)>,
        activation: Activation,
        eps: f64,
    ) -> candle_core::Result<Self> {
        let dtype = x.dtype();
        let wide = if is_half(dtype) { DType::F32 } else { dtype };
        let x = x.to_dtype(wide)?;
        let residual = residual.map(|residual| residual.to_dtype(wide)).transpose()?;
        let fused = op::has_kernels(&x);
        Ok(Self { x, residual, affine, activation, eps, dtype, fused })
    }

    /// By composed operations, whatever the device.
    #[cfg(test)]
    pub(super) fn composed(self) -> Self {
        Self { fused: false, ..self }
    }

    /// Normalises by these means and variances, (C) each, which get no gradient.
    pub(super) fn by_given(&self, mean: &Tensor, variance: &Tensor) -> candle_core::Result<Tensor> {
        let (mean, variance) = (mean.detach(), variance.detach());
        match self.fused {
            true => self.finish(Fused::given(self, &mean, &variance)?, true),
            false => self.finish(self.composed_by_given(&mean, &variance)?, false),
        }
    }

    /// Normalises each part of the batch by its own statistics, and returns them in order.
    pub(super) fn by_batch(&self, batch: &Batch) -> candle_core::Result<(Tensor, Vec<Moments>)> {
        let (y, moments) = match self.fused {
            true => Fused::batch(self, batch)?,
            false => self.composed_by_batch(batch)?,
        };
        Ok((self.finish(y, self.fused)?, moments))
    }

    /// What the fused operation does not do: an activation that is no rectifier, a narrower dtype.
    fn finish(&self, y: Tensor, fused: bool) -> candle_core::Result<Tensor> {
        let y = match self.residual.as_ref().filter(|_| !fused) {
            Some(residual) => (y + residual)?,
            None => y,
        };
        let activated = fused && self.rectify();
        let y = if activated { y } else { self.activation.forward(&y)? };
        y.to_dtype(self.dtype)
    }

    fn rectify(&self) -> bool {
        self.activation == Activation::Relu
    }
}

/// As many samples as there are.
pub(super) const WHOLE: usize = usize::MAX;

/// That each `part` samples of x, (N, C, places...), have a variance; `policy` says whether there could be
/// [`OneValue::Running`](super::OneValue::Running) instead.
pub(super) fn expect_variance(
    operation: &'static str,
    x: &Tensor,
    part: usize,
    policy: bool,
) -> Result<()> {
    let samples = x.dims()[0];
    let places: usize = x.dims()[2..].iter().product();
    let last = match samples % part {
        0 => part.min(samples),
        rest => rest,
    };
    let count = last * places;
    if count >= 2 {
        return Ok(());
    }
    let (remedies, of, which) = if samples > part {
        let which = format!(" in the last virtual batch, of {last} of {samples} samples");
        ("another size of the batch or of the virtual batches", "virtual batches of ", which)
    } else if policy {
        let remedies = "a larger batch, one that is left out, `OneValue::Running`, or `train` false with \
                        running statistics";
        (remedies, "", String::new())
    } else {
        let remedies =
            "a larger batch, one that is left out, or `train` false with running statistics";
        (remedies, "", String::new())
    };
    let expected = format!("of {of}at least 2 values a channel to have a variance ({remedies})");
    let received = format!("shape {:?}, {count} a channel{which}", x.dims());
    Err(Error::argument(operation, "x", expected, received))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_core::testing::assert_close;
    use taper_core::{Gradients, stream};

    use super::*;

    /// Variables: x, the residual, w and b.
    struct Case {
        variables: Vec<Var>,
        upstream: Tensor,
        batch: Batch,
        activation: Activation,
        affine: bool,
    }

    impl Case {
        /// y and the moments.
        fn run(&self, composed: bool) -> (Tensor, Vec<Moments>) {
            let [x, residual, weight, bias] =
                [0, 1, 2, 3].map(|at| self.variables[at].as_tensor().clone());
            let affine = (weight, bias);
            let affine = self.affine.then_some(&affine);
            let call = Normalize::new(&x, Some(&residual), affine, self.activation, 1e-5).unwrap();
            let call = if composed { call.composed() } else { call };
            call.by_batch(&self.batch).unwrap()
        }

        /// y, means and squares in a row, and the gradients of the variables that take part.
        fn results(&self, composed: bool) -> Result<Vec<Tensor>> {
            let (y, moments) = self.run(composed);
            let numbers: Vec<f64> = moments
                .iter()
                .flat_map(|part| [&part.mean[..], &part.squares, &[part.count as f64]].concat())
                .collect();
            let mut gradients = (&y * &self.upstream)?.sum_all()?.backward()?;
            let mut results = vec![y, Tensor::new(numbers, &Device::Cpu)?];
            results.extend(self.variables.iter().filter_map(|var| gradients.remove(var)));
            Ok(results)
        }
    }

    fn cases(dtype: DType) -> Result<Vec<Case>> {
        let mut noise = stream(3, "test");
        let mut cases = Vec::new();
        for shape in [vec![12, 3], vec![5, 3, 7], vec![4, 3, 5, 5]] {
            for case in 0..12 {
                let mut normal = |shape: &[usize]| {
                    Var::from_tensor(&noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu).unwrap())
                };
                let variables =
                    vec![normal(&shape)?, normal(&shape)?, normal(&[3])?, normal(&[3])?];
                let correction = Correction {
                    mean: vec![0.5, 1.0, -8.0],
                    std: vec![1.5, 2.0, 0.25],
                    r_max: 1.25,
                    d_max: 0.5,
                };
                let batch = Batch {
                    variance: Variance::Biased,
                    part: [3, 4, WHOLE][case % 3],
                    correction: (case >= 6).then_some(correction),
                };
                let activation =
                    if case % 2 == 0 { Activation::Relu } else { Activation::Identity };
                let upstream = normal(&shape)?.as_tensor().clone();
                let affine = case % 4 < 2;
                cases.push(Case { variables, upstream, batch, activation, affine });
            }
        }
        Ok(cases)
    }

    #[test]
    fn parts_and_corrections_are_those_of_the_composed_twin() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            for case in cases(dtype)? {
                let (fused, composed) = (case.results(false)?, case.results(true)?);
                let expected = if case.affine { 6 } else { 4 };
                assert_eq!((fused.len(), composed.len()), (expected, expected));
                for (fused, composed) in fused.iter().zip(&composed) {
                    assert_close(fused, composed, tolerance);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_in_place_are_those_of_a_fresh_backward() -> Result<()> {
        for case in cases(DType::F64)? {
            let (y, _) = case.run(false);
            let loss = (&y * &case.upstream)?.sum_all()?;
            let fresh = loss.backward()?;
            let variables = &case.variables[..if case.affine { 4 } else { 2 }];
            let mut in_place = Gradients::new(variables)?;
            in_place.backward(&loss)?;
            in_place.accumulate(&loss)?;
            for variable in variables {
                let expected = (fresh.get(variable).expect("a gradient") * 2.0)?;
                let twice = in_place.gradient(variable)?.expect("a gradient");
                assert_close(&twice, &expected, 1e-12);
            }
        }
        Ok(())
    }
}
