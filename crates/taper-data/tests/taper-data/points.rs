use std::f64::consts::TAU;

use candle_core::{DType, Device};
use taper_core::{Result, stream};
use taper_data::{blobs, gaussian_manifold, spirals};

#[test]
fn blobs_lie_around_their_centers() -> Result<()> {
    let centers = [vec![1.0, -2.0, 0.0], vec![5.0, 5.0, 5.0]];
    let points = blobs(&centers, 4000, 0.5, &mut stream(1, "blobs"))?;
    for (class, center) in centers.iter().enumerate() {
        let of = points.values.chunks_exact(3).zip(&points.labels);
        let of: Vec<_> =
            of.filter(|(_, label)| **label == class as u32).map(|(point, _)| point).collect();
        assert_eq!(of.len(), 4000);
        for (axis, center) in center.iter().enumerate() {
            let mean = of.iter().map(|point| point[axis]).sum::<f64>() / 4000.0;
            let variance =
                of.iter().map(|point| (point[axis] - mean).powi(2)).sum::<f64>() / 4000.0;
            // Five standard errors.
            assert!((mean - center).abs() < 5.0 * 0.5 / 4000f64.sqrt());
            assert!((variance / 0.25 - 1.0).abs() < 5.0 * (2.0 / 4000f64).sqrt());
        }
    }
    let (tensor, labels) = points.tensors(DType::F32, &Device::Cpu)?;
    assert_eq!(
        (tensor.dims(), tensor.dtype(), labels.dims()),
        (&[8000, 3][..], DType::F32, &[8000][..])
    );
    Ok(())
}

#[test]
fn a_point_of_a_spiral_is_at_its_angle() -> Result<()> {
    let points = spirals(3, 100, 1.5, 0.0, &mut stream(1, "spirals"))?;
    for (point, label) in points.values.chunks_exact(2).zip(&points.labels) {
        let radius = point[0].hypot(point[1]);
        assert!((0.0..1.0).contains(&radius));
        let angle = TAU * (f64::from(*label) / 3.0 + 1.5 * radius);
        assert!((point[0] - radius * angle.cos()).abs() < 1e-12);
        assert!((point[1] - radius * angle.sin()).abs() < 1e-12);
    }
    let noisy = spirals(3, 100, 1.5, 0.1, &mut stream(1, "spirals"))?;
    assert_ne!(noisy.values, points.values);
    Ok(())
}

#[test]
fn a_manifold_has_the_spread_that_was_asked_for() -> Result<()> {
    let of =
        |stds: &[f64], noise| gaussian_manifold(20_000, 6, stds, noise, &mut stream(1, "manifold"));
    // Without noise the points of two directions have rank two: any three of them are dependent.
    let flat = of(&[3.0, 1.0], 0.0)?;
    let [a, b, c] = [0, 1, 2].map(|at| &flat.values[6 * at..6 * at + 6]);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let [aa, ab, bb] = [dot(a, a), dot(a, b), dot(b, b)];
    let determinant = aa * bb - ab * ab;
    let (ca, cb) = (dot(c, a), dot(c, b));
    let (s, t) = ((ca * bb - cb * ab) / determinant, (cb * aa - ca * ab) / determinant);
    let rest: f64 = (0..6).map(|axis| (c[axis] - s * a[axis] - t * b[axis]).powi(2)).sum();
    assert!(rest < 1e-20 * dot(c, c));
    // The trace of the covariance: 9 + 1 + 6 · 0.25.
    let points = of(&[3.0, 1.0], 0.5)?;
    let total = points.values.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
    assert!((total / 11.5 - 1.0).abs() < 0.05, "{total}");
    // The directions are the same for another number of points.
    let other = gaussian_manifold(3, 6, &[3.0, 1.0], 0.0, &mut stream(1, "manifold"))?;
    assert_eq!(other.values, flat.values[..18]);
    Ok(())
}

#[test]
fn refusals_name_the_argument() {
    let mut stream = stream(1, "points");
    let message = |result: Result<taper_data::Points>| result.unwrap_err().to_string();
    for (message, expected) in [
        (message(blobs(&[], 1, 1.0, &mut stream)), "blobs: centers should be at least one"),
        (message(blobs(&[vec![]], 1, 1.0, &mut stream)), "blobs: centers should be"),
        (
            message(blobs(&[vec![1.0], vec![1.0, 2.0]], 1, 1.0, &mut stream)),
            "blobs: centers should be",
        ),
        (
            message(blobs(&[vec![1.0]], 0, 1.0, &mut stream)),
            "per_class should be at least 1, got 0",
        ),
        (
            message(blobs(&[vec![1.0]], 1, -1.0, &mut stream)),
            "std should be at least 0 and finite, got -1",
        ),
        (message(spirals(0, 1, 1.0, 0.0, &mut stream)), "classes should be at least 1, got 0"),
        (message(spirals(1, 1, f64::NAN, 0.0, &mut stream)), "turns should be finite, got NaN"),
        (
            message(gaussian_manifold(0, 2, &[1.0], 0.0, &mut stream)),
            "n should be at least 1, got 0",
        ),
        (message(gaussian_manifold(1, 2, &[], 0.0, &mut stream)), "stds should be from 1 to 2"),
        (message(gaussian_manifold(1, 2, &[1.0; 3], 0.0, &mut stream)), "got 3"),
        (
            message(gaussian_manifold(1, 2, &[f64::INFINITY], 0.0, &mut stream)),
            "stds should be at least 0",
        ),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}
