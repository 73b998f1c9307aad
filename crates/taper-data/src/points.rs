//! Made-up points of which everything is known.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result, Stream};

/// Labelled points of one dimension; what was drawn is what one knows of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// One point after the other.
    pub values: Vec<f64>,
    /// Numbers of a point: 1 at least.
    pub dimensions: usize,
    /// The class of each point.
    pub labels: Vec<u32>,
}

impl Points {
    /// Points (N, dimensions) and labels as u32 (N).
    pub fn tensors(&self, dtype: DType, device: &Device) -> Result<(Tensor, Tensor)> {
        let n = self.labels.len();
        let points = Tensor::from_slice(&self.values, (n, self.dimensions), &Device::Cpu)?;
        let labels = Tensor::from_slice(&self.labels, n, device)?;
        Ok((points.to_dtype(dtype)?.to_device(device)?, labels))
    }
}

/// `per_class` points around each center, normally distributed with this standard deviation in every direction.
///
/// # Errors
/// No point, no center, centers of different dimensions or that are not finite, a standard deviation below 0.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let points = taper_data::blobs(&[vec![0.0, 0.0], vec![4.0, 0.0]], 50, 1.0, &mut taper_core::stream(7, "blobs"))?;
/// assert_eq!((points.labels.len(), points.dimensions), (100, 2));
/// # Ok(())
/// # }
/// ```
pub fn blobs(
    centers: &[Vec<f64>],
    per_class: usize,
    std: f64,
    stream: &mut Stream,
) -> Result<Points> {
    let dimensions = centers.first().map_or(0, Vec::len);
    let fits = |center: &Vec<f64>| {
        center.len() == dimensions && center.iter().all(|value| value.is_finite())
    };
    if dimensions == 0 || !centers.iter().all(fits) {
        let expected = "at least one, all of the same finite coordinates, at least one each";
        return Err(Error::argument("blobs", "centers", expected, format!("{centers:?}")));
    }
    at_least("blobs", "per_class", 1, per_class)?;
    spread("blobs", "std", std)?;
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for (class, center) in centers.iter().enumerate() {
        for _ in 0..per_class {
            values.extend(center.iter().map(|value| value + std * stream.standard_normal()));
            labels.push(class as u32);
        }
    }
    Ok(Points { values, dimensions, labels })
}

/// Arms of a spiral in the plane, one a class, `per_class` points on each.
///
/// A point at t, drawn evenly from \[0, 1), lies at the radius t and at the angle 2π (c / K + `turns` t) of class c of K,
/// plus normal noise of this standard deviation in both directions.
///
/// # Errors
/// No point, no class, `turns` that are not finite, noise below 0.
pub fn spirals(
    classes: u32,
    per_class: usize,
    turns: f64,
    noise: f64,
    stream: &mut Stream,
) -> Result<Points> {
    at_least("spirals", "classes", 1, classes as usize)?;
    at_least("spirals", "per_class", 1, per_class)?;
    spread("spirals", "noise", noise)?;
    if !turns.is_finite() {
        return Err(Error::argument("spirals", "turns", "finite", turns));
    }
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for class in 0..classes {
        for _ in 0..per_class {
            let t = stream.unit();
            let angle = TAU * (f64::from(class) / f64::from(classes) + turns * t);
            for direction in [angle.cos(), angle.sin()] {
                values.push(t * direction + noise * stream.standard_normal());
            }
            labels.push(class);
        }
    }
    Ok(Points { values, dimensions: 2, labels })
}

/// `n` points of a Gaussian that is wide along few directions: x = Σ σₖ zₖ uₖ + `noise` · e, with the standard normal
/// numbers z and e and orthonormal u of `dimensions` numbers; all of class 0. The covariance is
/// U diag(σ²) Uᵀ + `noise`² I, so that its eigenvalues are known.
///
/// The directions are drawn from a child of `stream`: the same ones wherever it stands.
///
/// # Errors
/// No point, more standard deviations than dimensions or none, one below 0, noise below 0.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let mut stream = taper_core::stream(7, "manifold");
/// let points = taper_data::gaussian_manifold(200, 10, &[3.0, 1.0], 0.1, &mut stream)?;
/// assert_eq!(points.values.len(), 2000);
/// # Ok(())
/// # }
/// ```
pub fn gaussian_manifold(
    n: usize,
    dimensions: usize,
    stds: &[f64],
    noise: f64,
    stream: &mut Stream,
) -> Result<Points> {
    const NAME: &str = "gaussian_manifold";
    at_least(NAME, "n", 1, n)?;
    spread(NAME, "noise", noise)?;
    if stds.is_empty() || stds.len() > dimensions {
        let expected = format!("from 1 to {dimensions}, the number of dimensions");
        return Err(Error::argument(NAME, "stds", expected, stds.len()));
    }
    stds.iter().try_for_each(|std| spread(NAME, "stds", *std))?;
    let directions = orthonormal(stds.len(), dimensions, &mut stream.child("directions"));
    let mut values = Vec::new();
    for _ in 0..n {
        let mut point: Vec<f64> =
            (0..dimensions).map(|_| noise * stream.standard_normal()).collect();
        for (std, direction) in stds.iter().zip(&directions) {
            let along = std * stream.standard_normal();
            point.iter_mut().zip(direction).for_each(|(x, u)| *x += along * u);
        }
        values.extend(point);
    }
    Ok(Points { values, dimensions, labels: vec![0; n] })
}

/// Orthonormal vectors by Gram and Schmidt, twice over for the digits' sake.
fn orthonormal(count: usize, dimensions: usize, stream: &mut Stream) -> Vec<Vec<f64>> {
    let mut vectors: Vec<Vec<f64>> = Vec::new();
    while vectors.len() < count {
        let mut vector: Vec<f64> = (0..dimensions).map(|_| stream.standard_normal()).collect();
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vectors.push(vector);
    }
    vectors
}

fn at_least(operation: &'static str, argument: &str, least: usize, value: usize) -> Result<()> {
    if value < least {
        return Err(Error::argument(operation, argument, format!("at least {least}"), value));
    }
    Ok(())
}

/// A standard deviation.
fn spread(operation: &'static str, argument: &str, value: f64) -> Result<()> {
    // Written so that NaN is refused.
    if !(value >= 0.0 && value.is_finite()) {
        return Err(Error::argument(operation, argument, "at least 0 and finite", value));
    }
    Ok(())
}
