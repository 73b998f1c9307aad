//! Channels times factors: gates, layer scale, drop path.

use candle_core::{Shape, Tensor};
use taper_kernels::{Scale, buffer};

use crate::op::{self, Destination, Operation, Scalar, Values, Work};
use crate::{Error, Result};

/// Samples, channels, or the channels of each sample times a factor each.
///
/// # Equation
/// y\[n, c, ...\] = s\[n, c\] · x\[n, c, ...\]
///
/// # Shapes
/// x (N, C) with any number of further axes, y as x; the factor s (N, C), (1, C), (N, 1) or (1, 1) with a 1 for each
/// further axis of x, or (C) or (1) with fewer ones behind it: a gate has a factor for each channel of each sample, layer
/// scale for each channel, drop path for each sample.
///
/// # Parameters
/// None.
///
/// # Numerics
/// One product an element; f16 and bf16 are computed in f32. The gradient of a factor is a sum of products in f64 over
/// sums of at most 4096 in the dtype, of which none depends on the number of threads.
///
/// # Deviations
/// 1. From `broadcast_mul` of candle and `*` of PyTorch: only the factor is broadcast, and only along these axes. With
///    fewer axes than x its first one is that of the channels, wherever the others would put it.
///
/// # Errors
/// An x that is not floating-point or has less than two axes; a factor of another dtype or device, of no or more axes, or
/// with one that is neither 1 nor, for samples and channels, that of x.
///
/// # References
/// - Hu, Shen and Sun 2018, Squeeze-and-excitation networks (gates), <https://arxiv.org/abs/1709.01507>.
/// - Touvron, Cord, Sablayrolles, Synnaeve and Jégou 2021, Going deeper with image transformers (layer scale),
///   <https://arxiv.org/abs/2103.17239>.
/// - Huang, Sun, Liu, Sedra and Weinberger 2016, Deep networks with stochastic depth (drop path),
///   <https://arxiv.org/abs/1603.09382>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_core::scale;
///
/// // Two samples of two channels of two places.
/// let x = Tensor::new(&[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], &Device::Cpu)?;
/// let channels = Tensor::new(&[[[10.0], [0.5]]], &Device::Cpu)?;
/// let y = scale(&x, &channels)?.to_vec3::<f64>()?;
/// assert_eq!(y, [[[10.0, 20.0], [1.5, 2.0]], [[50.0, 60.0], [3.5, 4.0]]]);
/// let samples = Tensor::new(&[[[2.0]], [[0.0]]], &Device::Cpu)?;
/// let y = scale(&x, &samples)?.to_vec3::<f64>()?;
/// assert_eq!(y, [[[2.0, 4.0], [6.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]);
/// # Ok(())
/// # }
/// ```
pub fn scale(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let [samples, channels, ..] = *x.dims() else {
        let received = format!("{:?}", x.dims());
        return Err(Error::argument("scale", "x", "(N, C) with any further axes", received));
    };
    if !x.dtype().is_float() {
        return Err(Error::argument("scale", "x", "floating-point", format!("{:?}", x.dtype())));
    }
    let of = factors(x.dims(), factor.dims()).filter(|_| factor.dtype() == x.dtype());
    let Some(of) = of else {
        let expected = format!(
            "{:?} of shape (1 or {samples}, 1 or {channels}{}), or (1 or {channels}) and fewer ones behind it, for \
             an x of {:?}",
            x.dtype(),
            ", 1".repeat(x.rank() - 2),
            x.dims()
        );
        let received = format!("{:?} of shape {:?}", factor.dtype(), factor.dims());
        return Err(Error::argument("scale", "factor", expected, received));
    };
    let (wide, by) = (op::widen(x)?, op::widen(factor)?);
    let y = if op::has_kernels(&wide) {
        op::apply(Fused(sizes(x, of)), &[&wide, &by], x.shape())?
    } else {
        composed(&wide, &by, of)?
    };
    Ok(y.to_dtype(x.dtype())?)
}

/// How many factors there are for samples and for channels, each 1 or as many; `None` where a factor of these axes does
/// not fit an x of those.
fn factors(x: &[usize], factor: &[usize]) -> Option<[usize; 2]> {
    let (of, rest) = match *factor {
        [samples, channels, ref rest @ ..] if factor.len() == x.len() => {
            ([samples, channels], rest)
        }
        [channels, ref rest @ ..] if factor.len() < x.len() => ([1, channels], rest),
        _ => return None,
    };
    let fits = of.iter().zip(x).all(|(of, size)| [1, *size].contains(of));
    (fits && rest.iter().all(|dim| *dim == 1)).then_some(of)
}

/// The sizes of the kernel: a factor for each of its channels, the same for each of its samples.
fn sizes(x: &Tensor, of: [usize; 2]) -> Scale {
    let [samples, channels] = [0, 1].map(|axis| x.dims()[axis]);
    let places: usize = x.dims()[2..].iter().product();
    match [of[0] == samples, of[1] == channels] {
        [true, true] => Scale { samples: 1, channels: samples * channels, places },
        [false, true] => Scale { samples, channels, places },
        [true, false] => Scale { samples: 1, channels: samples, places: channels * places },
        [false, false] => Scale { samples, channels: 1, places: channels * places },
    }
}

/// The twin in candle's operations.
fn composed(x: &Tensor, factor: &Tensor, of: [usize; 2]) -> candle_core::Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[..2].copy_from_slice(&of);
    x.broadcast_mul(&factor.reshape(shape)?)
}

struct Fused(Scale);

impl Operation for Fused {
    const NAME: &'static str = "scale";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(arguments[0].len());
        self.0.forward(arguments[0], arguments[1], &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let [of_x, of_factor] = op::places(gradients);
        let (x, factor) = (values.arguments[0], values.arguments[1]);
        self.0.backward(x, factor, values.upstream, of_x, of_factor);
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        Work::of_elements(arguments[0].elem_count(), 1)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::assert_close;
    use crate::{Gradients, stream};

    const CPU: &Device = &Device::Cpu;

    #[test]
    fn hand_numbers() -> Result<()> {
        let x = Var::new(&[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], CPU)?;
        let upstream = Tensor::new(&[[[1.0, 1.0], [2.0, 2.0]], [[3.0, 3.0], [4.0, 4.0]]], CPU)?;
        let run = |shape: [usize; 3], numbers: &[f64]| -> Result<[Vec<f64>; 3]> {
            let factor = Var::from_tensor(&Tensor::new(numbers, CPU)?.reshape(&shape)?)?;
            let y = scale(&x, &factor)?;
            let gradients = (&y * &upstream)?.sum_all()?.backward()?;
            let of = |var| gradients.get(var).map(|it| it.flatten_all()?.to_vec1::<f64>());
            let gradients = [of(&x), of(&factor)].map(|it| it.transpose());
            let [of_x, of_factor] = gradients.map(|it| it.map(Option::unwrap_or_default));
            Ok([y.flatten_all()?.to_vec1()?, of_x?, of_factor?])
        };
        // A gate: Σ g x is 3, 14, 33 and 60.
        let [y, of_x, of_factor] = run([2, 2, 1], &[1.0, 0.5, 2.0, 0.0])?;
        assert_eq!(y, [1.0, 2.0, 1.5, 2.0, 10.0, 12.0, 0.0, 0.0]);
        assert_eq!(of_x, [1.0, 1.0, 1.0, 1.0, 6.0, 6.0, 0.0, 0.0]);
        assert_eq!(of_factor, [3.0, 14.0, 33.0, 60.0]);
        assert_eq!(run([1, 2, 1], &[1.0, 2.0])?[2], [36.0, 74.0]);
        assert_eq!(run([2, 1, 1], &[1.0, 2.0])?[2], [17.0, 93.0]);
        let [y, of_x, of_factor] = run([1, 1, 1], &[2.0])?;
        assert_eq!(y, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]);
        assert_eq!((of_x, of_factor), (vec![2.0, 2.0, 4.0, 4.0, 6.0, 6.0, 8.0, 8.0], vec![110.0]));
        Ok(())
    }

    #[test]
    fn channels_may_stand_first() -> Result<()> {
        let x = Tensor::arange(0f64, 24.0, CPU)?.reshape((2, 3, 2, 2))?;
        let gamma = Var::new(&[1.0, 2.0, 3.0], CPU)?;
        let expected = scale(&x, &gamma.reshape((1, 3, 1, 1))?)?;
        for shape in [vec![3], vec![3, 1], vec![3, 1, 1]] {
            assert_close(&scale(&x, &gamma.reshape(shape)?)?, &expected, 0.0);
        }
        let gradients = scale(&x, &gamma)?.sum_all()?.backward()?;
        let gradient = gradients.get(&gamma).map(|it| it.to_vec1::<f64>()).transpose()?;
        assert_eq!(gradient, Some(vec![60.0, 92.0, 124.0]));
        assert_close(&composed(&x, &gamma, [1, 3])?, &expected, 0.0);
        Ok(())
    }

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        let mut noise = stream(1, "scale");
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for shape in [vec![5, 9], vec![4, 3, 7], vec![3, 40, 20, 17], vec![1, 1, 2, 2, 2]] {
                let mut variable =
                    |shape: &[usize]| Var::from_tensor(&noise.normal(0.0, 1.0, shape, dtype, CPU)?);
                let (x, upstream) = (variable(&shape)?, variable(&shape)?);
                for (samples, channels) in
                    [(1, 1), (1, shape[1]), (shape[0], 1), (shape[0], shape[1])]
                {
                    let mut of_factor = vec![1; shape.len()];
                    (of_factor[0], of_factor[1]) = (samples, channels);
                    let factor = variable(&of_factor)?;
                    let run = |y: Tensor| -> Result<_> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        Ok((y, loss))
                    };
                    let (y, loss) = run(scale(&x, &factor)?)?;
                    let (expected, twin) = run(composed(&x, &factor, [samples, channels])?)?;
                    assert_close(&y, &expected, 0.0);
                    let (fresh, twin) = (loss.backward()?, twin.backward()?);
                    let mut in_place = Gradients::new([&x, &factor])?;
                    in_place.backward(&loss)?;
                    in_place.accumulate(&loss)?;
                    for variable in [&x, &factor] {
                        let expected = twin.get(variable).expect("a gradient");
                        assert_close(fresh.get(variable).expect("a gradient"), expected, tolerance);
                        let twice = in_place.gradient(variable)?.expect("a gradient");
                        assert_close(&twice, &(expected * 2.0)?, tolerance);
                    }
                }
            }
        }
        Ok(())
    }
}
