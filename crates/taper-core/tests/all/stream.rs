//! Streams against an independent implementation, their independence, and their statistics.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens};
use taper_core::{Result, Snapshot, Stream, stream};

const CPU: &Device = &Device::Cpu;

fn draws<T>(stream: &Stream, n: usize, draw: impl Fn(&mut Stream) -> T) -> Vec<T> {
    let mut stream = stream.clone();
    (0..n).map(|_| draw(&mut stream)).collect()
}

fn bits64(values: &[f64]) -> Vec<String> {
    values.iter().map(|value| format!("{:016x}", value.to_bits())).collect()
}

fn bits32(tensor: &Tensor) -> Result<Vec<String>> {
    let values = tensor.to_vec1::<f32>()?;
    Ok(values.iter().map(|value| format!("{:08x}", value.to_bits())).collect())
}

#[test]
fn every_distribution_has_the_frozen_bits() -> Result<()> {
    for case in goldens(include_str!("../golden/stream.json"))? {
        let stream = stream(case.text("seed")?.parse().unwrap(), case.text("name")?);
        let start = || stream.clone();
        assert_eq!(bits64(&draws(&stream, 40, Stream::unit)), case.texts("unit")?);
        let normals = draws(&stream, 40, Stream::standard_normal);
        assert_eq!(bits64(&normals), case.texts("standard_normal")?);
        let below = |n, count| {
            draws(&stream, count, |s| s.below(n)).iter().map(u64::to_string).collect::<Vec<_>>()
        };
        assert_eq!(below(10, 40), case.texts("below_10")?);
        assert_eq!(below(3 * (1 << 62) + 1, 10), case.texts("below_large")?);
        let mut items: Vec<String> = (0..20).map(|item: u32| item.to_string()).collect();
        start().shuffle(&mut items);
        assert_eq!(items, case.texts("shuffle_20")?);

        let uniform = |dtype| start().uniform(-1.0, 2.0, 5, dtype, CPU);
        assert_eq!(bits64(&uniform(DType::F64)?.to_vec1()?), case.texts("uniform_f64")?);
        assert_eq!(bits32(&uniform(DType::F32)?)?, case.texts("uniform_f32")?);
        let normal = |dtype| start().normal(1.0, 0.1, 5, dtype, CPU);
        assert_eq!(bits64(&normal(DType::F64)?.to_vec1()?), case.texts("normal_f64")?);
        assert_eq!(bits32(&normal(DType::F32)?)?, case.texts("normal_f32")?);
        for (name, [a, b]) in [("beta_0.4_0.4", [0.4; 2]), ("beta_2_3", [2.0, 3.0])] {
            let beta = draws(&stream, 20, |s| s.beta(a, b).unwrap());
            assert_close(&Tensor::new(beta, CPU)?, &case.tensor(name, DType::F64)?, 1e-13);
        }
        let bernoulli = start().bernoulli(0.3, 20, DType::F32, CPU)?;
        assert_eq!(bits32(&bernoulli)?, case.texts("bernoulli")?);
    }
    Ok(())
}

#[test]
fn a_child_ignores_where_its_parent_stands() {
    let mut parent = stream(3, "data");
    let before = parent.child("shuffle").next_u64();
    parent.next_u64();
    assert_eq!(parent.child("shuffle").next_u64(), before);
    assert_eq!(stream(3, "data/shuffle").next_u64(), before);
}

#[test]
fn names_and_seeds_are_independent() {
    // The correlation of 10,000 pairs of independent units is within 5 / sqrt(10,000) of 0.
    let correlation = |a: Stream, b: Stream| {
        let (a, b) = (draws(&a, 10_000, Stream::unit), draws(&b, 10_000, Stream::unit));
        let products = a.iter().zip(&b).map(|(a, b)| 12.0 * (a - 0.5) * (b - 0.5));
        products.sum::<f64>() / 10_000.0
    };
    let one = || stream(1, "init");
    assert!(correlation(one(), one()) > 0.9);
    for other in [stream(1, "shuffle"), stream(2, "init"), one().child("a"), stream(1, "inis")] {
        let name = format!("{} {}", other.seed(), other.name());
        let found = correlation(one(), other);
        assert!(found.abs() < 0.05, "{name}: {found}");
    }
}

#[test]
fn below_is_even() {
    let mut stream = stream(5, "chi-square");
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[stream.below(7) as usize] += 1;
    }
    // Chi-square with 6 degrees of freedom: 22.46 is exceeded once in a thousand.
    let chi: f64 = counts.iter().map(|n| (f64::from(*n) - 1e4).powi(2) / 1e4).sum();
    assert!(chi < 22.46, "{chi}: {counts:?}");
}

#[test]
fn shuffle_gives_each_order_equally() {
    let mut stream = stream(5, "orders");
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..60_000 {
        let mut items = [0, 1, 2];
        stream.shuffle(&mut items);
        *counts.entry(items).or_insert(0u32) += 1;
    }
    // Chi-square with 5 degrees of freedom: 20.52 is exceeded once in a thousand.
    let chi: f64 = counts.values().map(|n| (f64::from(*n) - 1e4).powi(2) / 1e4).sum();
    assert!(counts.len() == 6 && chi < 20.52, "{chi}: {counts:?}");
}

#[test]
fn the_normal_has_its_moments() {
    let values = draws(&stream(5, "moments"), 100_000, Stream::standard_normal);
    let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / 1e5;
    // Five standard errors each: of x, x^2 (variance 2) and x^4 (variance 96).
    assert!(moment(1).abs() < 5.0 / 1e5f64.sqrt());
    assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / 1e5f64).sqrt());
    assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / 1e5f64).sqrt());
}

#[test]
fn the_beta_has_its_moments_and_its_distribution() {
    let count = 20_000;
    let root = f64::from(count).sqrt();
    let betas = |a, b| draws(&stream(5, "beta"), count as usize, |s| s.beta(a, b).unwrap());
    for (a, b) in [(0.1, 0.1), (0.4, 2.0), (1.0, 1.0), (2.0, 3.0), (50.0, 7.0)] {
        let values = betas(a, b);
        assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let variance = a * b / ((a + b) * (a + b) * (a + b + 1.0));
        assert!((mean - a / (a + b)).abs() < 5.0 * variance.sqrt() / root, "{a} {b}: {mean}");
        let squares = values.iter().map(|x| (x - mean) * (x - mean));
        let found = squares.sum::<f64>() / f64::from(count);
        assert!((found / variance - 1.0).abs() < 0.05, "{a} {b}: {found} of {variance}");
    }
    // Kolmogorov and Smirnov: 1.95 is exceeded once in a thousand.
    let arcsine = |x: f64| 2.0 / std::f64::consts::PI * x.sqrt().asin();
    type Distribution = fn(f64) -> f64;
    let distributions: [(f64, f64, Distribution); 3] =
        [(0.5, 0.5, arcsine), (1.0, 1.0, |x| x), (2.0, 1.0, |x| x * x)];
    for (a, b, below) in distributions {
        let mut values = betas(a, b);
        values.sort_unstable_by(f64::total_cmp);
        let off = values.iter().zip(0..count).map(|(x, at)| {
            let (low, high) =
                (f64::from(at) / f64::from(count), f64::from(at + 1) / f64::from(count));
            (below(*x) - low).abs().max((below(*x) - high).abs())
        });
        let most = off.fold(0.0, f64::max);
        assert!(most * root < 1.95, "{a} {b}: {most}");
    }
    // The ends: all of it at 0 and 1 alike, and all of it in the middle.
    let ends = betas(1e-300, 1e-300);
    let ones = ends.iter().filter(|x| **x == 1.0).count();
    assert_eq!(ones + ends.iter().filter(|x| **x == 0.0).count(), ends.len());
    assert!(ones.abs_diff(10_000) < 354, "{ones}");
    assert!(betas(1e300, 1e300).iter().all(|x| *x == 0.5));
}

#[test]
fn errors_and_edges() {
    assert_eq!(stream(1, "edge").below(0), 0);
    assert_eq!(stream(1, "edge").below(1), 0);
    stream(1, "edge").shuffle::<u8>(&mut []);
    for probability in [-0.1, 1.1, f64::NAN] {
        let error = stream(1, "edge").bernoulli(probability, 3, DType::F32, CPU).unwrap_err();
        assert!(error.to_string().contains("probability should be in [0, 1]"), "{error}");
    }
    for (a, b, expected) in [
        (0.0, 1.0, "Stream::beta: a should be from 1e-300 to 1e300, got 0"),
        (1.0, f64::NAN, "Stream::beta: b should be from 1e-300 to 1e300, got NaN"),
        (1.0, f64::INFINITY, "Stream::beta: b should be from 1e-300 to 1e300, got inf"),
    ] {
        assert_eq!(stream(1, "edge").beta(a, b).unwrap_err().to_string(), expected);
    }
    let error = restored(&mut stream(1, "dropout"), &stream(1, "init")).unwrap_err();
    assert!(error.to_string().contains("\"dropout\""), "{error}");
}

fn restored(into: &mut Stream, from: &Stream) -> Result<()> {
    let mut snapshot = Snapshot::new();
    snapshot.put("stream", from)?;
    Snapshot::from_bytes(&snapshot.to_bytes()?, CPU)?.get("stream", into)
}

proptest! {
    #[test]
    fn a_restored_stream_goes_on_with_the_same_bits(
        seed: u64, name in "[a-z/.]{0,12}", before in 0usize..200,
    ) {
        let mut original = stream(seed, &name);
        draws_in_place(&mut original, before);
        let mut other = stream(seed ^ 1, &name);
        restored(&mut other, &original).unwrap();
        prop_assert_eq!(draws_in_place(&mut other, 100), draws_in_place(&mut original, 100));
    }

    #[test]
    fn below_stays_below(seed: u64, n in 1u64..) {
        prop_assert!(stream(seed, "below").below(n) < n);
    }
}

/// Units and normals by turns: a normal takes a varying number of words.
fn draws_in_place(stream: &mut Stream, n: usize) -> Vec<u64> {
    (0..n)
        .map(|at| if at % 2 == 0 { stream.unit() } else { stream.standard_normal() }.to_bits())
        .collect()
}
