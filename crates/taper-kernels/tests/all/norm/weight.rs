//! Weight normalization.

use proptest::prelude::*;
use taper_kernels::norm::{Gradients, WeightNorm};
use taper_kernels::{Element, Update, threads};

use super::{assert_near, narrow, noise, widen};

/// w, dv and dg by plain loops in f64.
fn oracle(columns: usize, g: &[f64], v: &[f64], upstream: &[f64]) -> [Vec<f64>; 3] {
    let [mut w, mut of_v, mut of_g] = [(); 3].map(|()| Vec::new());
    for (row, g) in g.iter().enumerate() {
        let range = row * columns..(row + 1) * columns;
        let (v, u) = (&v[range.clone()], &upstream[range]);
        let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        let inner = v.iter().zip(u).map(|(v, u)| v * u).sum::<f64>() / length;
        w.extend(v.iter().map(|v| g * v / length));
        of_v.extend(v.iter().zip(u).map(|(v, u)| g / length * (u - v / length * inner)));
        of_g.push(inner);
    }
    [w, of_v, of_g]
}

fn check<T: Element>([rows, columns]: [usize; 2], update: Update, seed: u64, tolerance: f64) {
    let numbers = |name: u64, length, mean| noise(seed.wrapping_add(name << 32), length, mean);
    let (g, v) = (numbers(1, rows, 0.5), numbers(2, rows * columns, 0.3));
    let upstream = numbers(3, rows * columns, 0.2);
    let old = noise(9, rows * columns.max(1), 0.0);
    let [g, v, upstream] = [g, v, upstream].map(|values| narrow::<T>(&values));
    let begin = |length: usize| match update {
        Update::Replace => vec![T::of(f64::NAN); length],
        Update::Add => narrow(&old[..length]),
    };
    let sizes = WeightNorm { rows, columns };
    let mut w = vec![T::of(f64::NAN); v.len()];
    let lengths = sizes.forward(&g, &v, &mut w);
    let (mut of_v, mut of_g) = (begin(v.len()), begin(rows));
    let gradients = Gradients {
        x: Some((&mut of_v, update)),
        weight: Some((&mut of_g, update)),
        ..Default::default()
    };
    sizes.backward(&g, &v, &upstream, &lengths, gradients);
    let [expected_w, mut expected_v, mut expected_g] =
        oracle(columns, &widen(&g), &widen(&v), &widen(&upstream));
    if update == Update::Add {
        for to in [&mut expected_v, &mut expected_g] {
            to.iter_mut().zip(&old).for_each(|(to, old)| *to += old);
        }
    }
    assert_near("w", &w, &expected_w, tolerance);
    // Two terms cancel in it, all but their rounding in a row of one column.
    let terms = widen(&upstream).iter().map(|u| u.abs()).fold(1.0, f64::max);
    let factors = widen(&g).into_iter().zip(&lengths).map(|(g, length)| (g / length).abs());
    assert_near("dv", &of_v, &expected_v, tolerance * factors.fold(1.0, f64::max) * terms);
    assert_near("dg", &of_g, &expected_g, tolerance);
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        sizes in prop_oneof![[0usize..40, 1usize..150], [500usize..3000, 1usize..20], [1usize..4, 4000usize..9000]],
        add in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let update = if add { Update::Add } else { Update::Replace };
        check::<f64>(sizes, update, seed, 1e-11);
        check::<f32>(sizes, update, seed, 1e-4);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (rows, columns) = (700, 130);
    let (g, v) =
        (narrow::<f32>(&noise(1, rows, 0.0)), narrow::<f32>(&noise(2, rows * columns, 0.0)));
    let run = |limit: usize| {
        threads::limit(limit, || {
            let sizes = WeightNorm { rows, columns };
            let (mut w, mut of_v, mut of_g) =
                (vec![0.0; v.len()], vec![0.0; v.len()], vec![0.0; rows]);
            let lengths = sizes.forward(&g, &v, &mut w);
            let gradients = Gradients {
                x: Some((&mut of_v, Update::Replace)),
                weight: Some((&mut of_g, Update::Replace)),
                ..Default::default()
            };
            sizes.backward(&g, &v, &v, &lengths, gradients);
            (w, of_v, of_g)
        })
    };
    let alone = run(1);
    for limit in [2, 5] {
        assert_eq!(run(limit), alone);
    }
}

#[test]
fn lengths_at_the_ends_of_f32() {
    for scale in [1e-30f32, 1e-20, 1e25] {
        let (v, upstream) = ([3.0 * scale, 4.0 * scale], [1.0, 0.0]);
        let sizes = WeightNorm { rows: 1, columns: 2 };
        let mut w = [0.0; 2];
        let lengths = sizes.forward(&[10.0 * scale], &v, &mut w);
        assert_near(
            "w",
            &w,
            &[6.0 * f64::from(scale), 8.0 * f64::from(scale)],
            1e-6 * f64::from(scale),
        );
        let (mut of_v, mut of_g) = ([0.0; 2], [0.0]);
        let gradients = Gradients {
            x: Some((&mut of_v, Update::Replace)),
            weight: Some((&mut of_g, Update::Replace)),
            ..Default::default()
        };
        sizes.backward(&[10.0 * scale], &v, &upstream, &lengths, gradients);
        assert_near("dv", &of_v, &[2.0 * (1.0 - 0.36), -2.0 * 0.48], 1e-6);
        assert_near("dg", &of_g, &[0.6], 1e-6);
    }
}

#[test]
fn a_row_of_zeros_is_zeros() {
    let sizes = WeightNorm { rows: 2, columns: 2 };
    let (g, v) = ([1.0f32, 2.0], [0.0, 0.0, 3.0, 4.0]);
    let mut w = [f32::NAN; 4];
    let lengths = sizes.forward(&g, &v, &mut w);
    assert_near("w", &w, &[0.0, 0.0, 1.2, 1.6], 1e-6);
    let (mut of_v, mut of_g) = ([f32::NAN; 4], [f32::NAN; 2]);
    let gradients = Gradients {
        x: Some((&mut of_v, Update::Replace)),
        weight: Some((&mut of_g, Update::Replace)),
        ..Default::default()
    };
    sizes.backward(&g, &v, &[1.0; 4], &lengths, gradients);
    assert_near("dv", &of_v, &[0.0, 0.0, 0.064, -0.048], 1e-6);
    assert_near("dg", &of_g, &[0.0, 1.4], 1e-6);
}
