//! Percentiles of a layer's units over a batch.

use candle_core::{DType, Tensor};
use taper_core::{Error, Result};

/// For each unit of a layer the values that given parts of its batch are at or below.
///
/// # Equation
/// p_q = v_⌊h⌋ + (h − ⌊h⌋) (v_⌈h⌉ − v_⌊h⌋), h = q (n − 1)
///
/// with a unit's values in ascending order v_0, …, v_{n−1}.
///
/// # Shapes
/// activations (N, C) with any more axes, n = N times their sizes; C rows with one percentile a q, in the unit of the
/// activations.
///
/// # Parameters
/// - `activations`: of any layer.
/// - `qs`: each from 0 to 1; 0.15, 0.5 and 0.85 are those of figure 1 of the paper.
///
/// # Numerics
/// Sorted and interpolated in f64. NaN of any sign comes after all numbers.
///
/// # Deviations
/// None: this is type 7 of Hyndman and Fan, the default of NumPy and PyTorch.
///
/// # Errors
/// Activations with fewer than two axes, or with no value a unit; a q out of range.
///
/// # References
/// - Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal
///   covariate shift, figure 1, <https://arxiv.org/abs/1502.03167>.
/// - Hyndman and Fan 1996, Sample quantiles in statistical packages.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_norm::percentiles;
///
/// let x = Tensor::new(&[[3.0, 10.0], [1.0, 30.0], [2.0, 20.0]], &Device::Cpu)?;
/// assert_eq!(percentiles(&x, &[0.25, 1.0])?, [[1.5, 3.0], [15.0, 30.0]]);
/// # Ok(())
/// # }
/// ```
pub fn percentiles(activations: &Tensor, qs: &[f64]) -> Result<Vec<Vec<f64>>> {
    if activations.rank() < 2 || activations.elem_count() == 0 {
        let received = format!("{:?}", activations.dims());
        let expected = "(N, C) with any more axes and at least one value a unit";
        return Err(Error::argument("percentiles", "activations", expected, received));
    }
    if let Some(q) = qs.iter().find(|q| !(0.0..=1.0).contains(*q)) {
        return Err(Error::argument("percentiles", "qs", "each from 0 to 1", q));
    }
    let units = activations.detach().transpose(0, 1)?.flatten_from(1)?;
    let units: Vec<Vec<f64>> = units.to_dtype(DType::F64)?.to_vec2()?;
    Ok(units.into_iter().map(|values| of_unit(values, qs)).collect())
}

fn of_unit(mut values: Vec<f64>, qs: &[f64]) -> Vec<f64> {
    values.sort_unstable_by(|a, b| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b)));
    let percentile = |q: &f64| quantile_of_sorted(&values, *q);
    qs.iter().map(percentile).collect()
}

/// The quantile `q` in [0, 1] of at least one value, in ascending order.
pub(super) fn quantile_of_sorted(values: &[f64], q: f64) -> f64 {
    let place = q * values.len().saturating_sub(1) as f64;
    let at = |place: f64| values.get(place as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn places_count_as_values_and_nan_comes_last() -> Result<()> {
        let x = Tensor::new(
            &[[[4f32, 1.0], [0.0, -f32::NAN]], [[3.0, 2.0], [1.0, 2.0]]],
            &Device::Cpu,
        )?;
        let found = percentiles(&x, &[0.0, 0.5, 1.0])?;
        assert_eq!(found[0], [1.0, 2.5, 4.0]);
        assert_eq!(found[1][..2], [0.0, 1.5]);
        assert!(found[1][2].is_nan());
        // One value is every percentile.
        let one = Tensor::new(&[[5f32]], &Device::Cpu)?;
        assert_eq!(percentiles(&one, &[0.0, 0.15, 1.0])?, [[5.0; 3]]);
        Ok(())
    }

    #[test]
    fn errors() -> Result<()> {
        let message = |x: &Tensor, q| percentiles(x, &[q]).unwrap_err().to_string();
        let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
        let expected = "percentiles: activations should be (N, C) with any more axes and at least one value a \
                        unit, got [0, 3]";
        assert_eq!(message(&x, 0.5), expected);
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        assert_eq!(message(&x, 1.5), "percentiles: qs should be each from 0 to 1, got 1.5");
        Ok(())
    }
}
