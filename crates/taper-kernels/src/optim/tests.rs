use proptest::prelude::*;

use super::*;
use crate::{Element, threads};

/// Lengths around the widths of vectors and of blocks.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0..70usize, 32_760..32_776usize, 40_950..40_970usize, Just(70_001usize)]
}

/// Numbers in ±1 that depend on `seed`, none of them tiny.
fn numbers<T: Element>(length: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let x = (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0;
            T::of(x + 0.01f64.copysign(x))
        })
        .collect()
}

fn widened<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn close<T: Element>(found: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in widened(found).into_iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "{at}: {found} for {expected}");
    }
}

fn adam_agrees<T: Element>(adam: Adam, length: usize, seed: u64, tolerance: f64) {
    let (parameter, gradient) = (numbers::<T>(length, seed), numbers::<T>(length, seed + 1));
    let (first, mut second) = (numbers::<T>(length, seed + 2), numbers::<T>(length, seed + 3));
    second.iter_mut().for_each(|x| *x = x.abs());

    let (mut p, mut m, mut v) = (widened(&parameter), widened(&first), widened(&second));
    for (at, g) in widened(&gradient).into_iter().enumerate() {
        let g = g * adam.factor + adam.decay * p[at];
        m[at] = adam.betas.0 * m[at] + (1.0 - adam.betas.0) * g;
        v[at] = adam.betas.1 * v[at] + (1.0 - adam.betas.1) * g * g;
        let direction = m[at] / (v[at].sqrt() * adam.root_factor + adam.eps);
        p[at] = p[at] * adam.shrink - adam.rate * direction;
    }

    let run = |threads| {
        let (mut p, mut m, mut v) = (parameter.clone(), first.clone(), second.clone());
        threads::limit(threads, || adam.step(&mut p, &gradient, &mut m, &mut v));
        (p, m, v)
    };
    let found = run(usize::MAX);
    close(&found.0, &p, tolerance);
    close(&found.1, &m, tolerance);
    close(&found.2, &v, tolerance);
    assert!(found == run(1), "another result on one thread");
}

fn sgd_agrees<T: Element>(
    sgd: Sgd,
    momentum: Option<Momentum>,
    length: usize,
    seed: u64,
    tolerance: f64,
) {
    let (parameter, gradient) = (numbers::<T>(length, seed), numbers::<T>(length, seed + 1));
    let direction = numbers::<T>(length, seed + 2);

    let (mut p, mut b) = (widened(&parameter), widened(&direction));
    for (at, g) in widened(&gradient).into_iter().enumerate() {
        let g = g * sgd.factor + sgd.decay * p[at];
        let step = momentum.map_or(g, |momentum| {
            b[at] = momentum.keep * b[at] + momentum.gain * g;
            if momentum.nesterov { g + momentum.keep * b[at] } else { b[at] }
        });
        p[at] -= sgd.rate * step;
    }

    let run = |threads| {
        let (mut p, mut b) = (parameter.clone(), direction.clone());
        let remembered = momentum.map(|momentum| (&mut *b, momentum));
        threads::limit(threads, || sgd.step(&mut p, &gradient, remembered));
        (p, b)
    };
    let found = run(usize::MAX);
    close(&found.0, &p, tolerance);
    close(&found.1, &b, tolerance);
    assert!(found == run(1), "another result on one thread");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn adam_is_its_equation(
        length in lengths(),
        seed in 0..1000u64,
        factor in prop_oneof![Just(1.0), 0.1..1.0],
        decay in prop_oneof![Just(0.0), 0.0..0.5],
        shrink in prop_oneof![Just(1.0), 0.9..1.0],
        betas in (0.0..0.99, 0.5..0.999),
        root_factor in 1.0..30.0,
    ) {
        let adam = Adam { factor, decay, shrink, betas, rate: 0.1, root_factor, eps: 1e-4 };
        adam_agrees::<f64>(adam, length, seed, 1e-13);
        adam_agrees::<f32>(adam, length, seed, 4e-6);
    }

    #[test]
    fn sgd_is_its_equation(
        length in lengths(),
        seed in 0..1000u64,
        factor in prop_oneof![Just(1.0), 0.1..1.0],
        decay in prop_oneof![Just(0.0), 0.0..0.5],
        momentum in prop::option::of((0.0..1.0, 0.0..1.0, any::<bool>())),
    ) {
        let momentum = momentum.map(|(keep, gain, nesterov)| Momentum { keep, gain, nesterov });
        let sgd = Sgd { factor, decay, rate: 0.3 };
        sgd_agrees::<f64>(sgd, momentum, length, seed, 1e-14);
        sgd_agrees::<f32>(sgd, momentum, length, seed, 1e-6);
    }

    #[test]
    fn squares_are_summed_in_f64(length in lengths(), seed in 0..1000u64, scale in 1e-30..1e30) {
        let mut x = numbers::<f32>(length, seed);
        super::scale(&mut x, scale);
        let expected: f64 = widened(&x).into_iter().map(|x| x * x).sum();
        let found = sum_of_squares(&x);
        prop_assert!((found - expected).abs() <= 1e-13 * expected, "{found} for {expected}");
        prop_assert_eq!(threads::limit(1, || sum_of_squares(&x)), found);
    }

    #[test]
    fn clamped_and_scaled(length in lengths(), seed in 0..1000u64, limit in 0.0..1.2) {
        let x = numbers::<f64>(length, seed);
        let (mut clamped, mut scaled) = (x.clone(), x.clone());
        clamp(&mut clamped, limit);
        scale(&mut scaled, limit);
        for (at, x) in x.into_iter().enumerate() {
            prop_assert_eq!(clamped[at], x.clamp(-limit, limit));
            prop_assert_eq!(scaled[at], x * limit);
        }
    }
}

/// What becomes of the first element, and whether the others stay numbers.
fn spread_of(gradient: f32, step: impl Fn(&mut [f32], &[f32])) -> f32 {
    let mut parameter = vec![1.0; 40];
    let mut gradients = vec![0.5; 40];
    gradients[0] = gradient;
    step(&mut parameter, &gradients);
    assert!(parameter[1..].iter().all(|x| x.is_finite()));
    parameter[0]
}

#[test]
fn nan_and_infinity_go_through_and_stay_where_they_are() {
    let adam = |decay| {
        move |parameter: &mut [f32], gradient: &[f32]| {
            let (mut m, mut v) = (vec![0.0; gradient.len()], vec![0.0; gradient.len()]);
            let betas = (0.9, 0.999);
            let (factor, shrink, rate, root_factor, eps) = (1.0, 1.0, 0.1, 1.0, 1e-8);
            let adam = Adam { factor, decay, shrink, betas, rate, root_factor, eps };
            adam.step(parameter, gradient, &mut m, &mut v);
        }
    };
    let sgd = |decay, momentum: Option<Momentum>| {
        move |parameter: &mut [f32], gradient: &[f32]| {
            let mut b = vec![0.0; gradient.len()];
            let momentum = momentum.map(|momentum| (&mut *b, momentum));
            Sgd { factor: 1.0, decay, rate: 0.1 }.step(parameter, gradient, momentum);
        }
    };
    for decay in [0.0, 0.1] {
        assert!(spread_of(f32::NAN, adam(decay)).is_nan());
        // Both moments are infinite, and so is no ratio of theirs.
        assert!(spread_of(f32::INFINITY, adam(decay)).is_nan());
        for nesterov in [None, Some(false), Some(true)] {
            let momentum = nesterov.map(|nesterov| Momentum { keep: 0.9, gain: 1.0, nesterov });
            assert!(spread_of(f32::NAN, sgd(decay, momentum)).is_nan());
            assert_eq!(spread_of(f32::INFINITY, sgd(decay, momentum)), f32::NEG_INFINITY);
        }
    }
    let mut x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    clamp(&mut x, 2.0);
    assert!(x[0].is_nan() && x[1..] == [2.0, -2.0]);
    assert!(sum_of_squares(&[1.0, f32::NAN]).is_nan());
    assert_eq!(sum_of_squares(&[1.0, f32::NEG_INFINITY]), f64::INFINITY);
}

#[test]
fn an_infinite_parameter_without_decay_stays_infinite() {
    let mut parameter = [f32::INFINITY];
    let (mut m, mut v) = ([0.0], [0.0]);
    let (factor, decay, shrink, betas) = (1.0, 0.0, 1.0, (0.9, 0.999));
    let adam = Adam { factor, decay, shrink, betas, rate: 0.1, root_factor: 1.0, eps: 1e-8 };
    adam.step(&mut parameter, &[1.0], &mut m, &mut v);
    Sgd { factor, decay, rate: 0.1 }.step(&mut parameter, &[1.0], None);
    assert_eq!(parameter, [f32::INFINITY]);
}

#[test]
#[should_panic(expected = "the length of the parameter")]
fn lengths_have_to_agree() {
    Sgd { factor: 1.0, decay: 0.0, rate: 0.1 }.step(&mut [0.0, 0.0], &[1.0], None);
}

#[test]
fn each_item_is_done_once() {
    let small = [3, 0, 9000, 20, 8192, 1, 32_768, 5];
    let large = [32_769, 100_000];
    for lengths in [&[][..], &[7], &small, &large, &[&small[..], &large, &small].concat()] {
        let mut items: Vec<(usize, u32)> = lengths.iter().map(|length| (*length, 0)).collect();
        let all = threads::count();
        for_each(
            &mut items,
            |item| item.0,
            |item| {
                // The kernels of a large item may use all threads.
                assert!(item.0 <= 32_768 || threads::count() == all);
                item.1 += 1;
            },
        );
        assert!(items.iter().all(|item| item.1 == 1), "{items:?}");
    }
}
