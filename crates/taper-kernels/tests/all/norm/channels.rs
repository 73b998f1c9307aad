use proptest::prelude::*;
use taper_kernels::norm::{ChannelNorm, Gradients, Input};
use taper_kernels::{Element, Update, threads};

use super::oracle::Oracle;
use super::{assert_near, narrow, noise, widen};

const EPS: f64 = 1e-3;

fn check<T: Element>(sizes: ChannelNorm, affine: bool, update: Update, seed: u64, tolerance: f64) {
    let ChannelNorm { samples, channels, places, rectify } = sizes;
    let length = samples * channels * places;
    let numbers = |name: u64, length: usize, mean: f64| -> Vec<T> {
        narrow(&noise(seed.wrapping_add(name << 32), length, mean))
    };
    let x = numbers(1, length, 0.7);
    let (weight, bias) = (numbers(2, channels, 0.5), numbers(3, channels, 0.0));
    let (residual, upstream) = (numbers(4, length, 0.0), numbers(5, length, 0.2));
    let oracle = Oracle {
        group: (0..length).map(|at| at / (channels * places) * places + at % places).collect(),
        parameter: (0..length).map(|at| at / places % channels).collect(),
        centred: true,
        missing: 0.0,
        eps: EPS,
        rectify,
        given: None,
    };
    let mut y = vec![T::of(f64::NAN); length];
    let [w, b] = [&weight, &bias].map(|it| affine.then_some(&it[..]));
    let input = Input { x: &x, weight: w, bias: b, residual: affine.then_some(&residual[..]) };
    let found = sizes.forward(input, EPS, &mut y);
    let old: Vec<f64> = noise(9, length.max(channels), 0.0);
    let begin = |length: usize| -> Vec<T> {
        match update {
            Update::Replace => vec![T::of(f64::NAN); length],
            Update::Add => narrow(&old[..length]),
        }
    };
    let (mut of_x, mut of_residual) = (begin(length), begin(length));
    let (mut of_weight, mut of_bias) = (begin(channels), begin(channels));
    let gradients = Gradients {
        x: Some((&mut of_x, update)),
        weight: Some((&mut of_weight, update)),
        bias: Some((&mut of_bias, update)),
        residual: Some((&mut of_residual, update)),
    };
    sizes.backward(&x, w, &y, &upstream, &found, gradients);
    let or = |it: &[T], default: f64| if affine { widen(it) } else { vec![default; it.len()] };
    let mut expected = oracle.run(
        &widen(&x),
        &or(&weight, 1.0),
        &or(&bias, 0.0),
        &or(&residual, 0.0),
        &widen(&upstream),
    );
    if update == Update::Add {
        let results = [&mut expected.x, &mut expected.weight, &mut expected.bias];
        for to in results.into_iter().chain([&mut expected.residual]) {
            to.iter_mut().zip(&old).for_each(|(to, old)| *to += old);
        }
    }
    assert_near("y", &y, &expected.y, tolerance);
    assert_near("dx", &of_x, &expected.x, tolerance);
    assert_near("dw", &of_weight, &expected.weight, tolerance);
    assert_near("db", &of_bias, &expected.bias, tolerance);
    assert_near("dr", &of_residual, &expected.residual, tolerance);
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        (samples, channels, places) in prop_oneof![
            (0usize..6, 1usize..12, 1usize..100),
            (1usize..3, 60usize..300, 1usize..40),
            (20usize..40, 3usize..9, 100usize..400),
        ],
        [rectify, affine, add] in any::<[bool; 3]>(),
        seed in any::<u64>(),
    ) {
        let sizes = ChannelNorm { samples, channels, places, rectify };
        let update = if add { Update::Add } else { Update::Replace };
        check::<f64>(sizes, affine, update, seed, 1e-9);
        // f32 may decide an element near the rectifier's edge differently, and two values can be one.
        if !rectify && channels > 4 {
            check::<f32>(sizes, affine, update, seed, 1e-3);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (samples, channels, places) = (9, 12, 500);
    let sizes = ChannelNorm { samples, channels, places, rectify: true };
    let x: Vec<f32> = narrow(&noise(1, samples * channels * places, 0.5));
    let run = |limit: usize| {
        threads::limit(limit, || {
            let input = Input { x: &x, weight: None, bias: None, residual: None };
            let (mut y, mut of_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut of_weight = vec![0.0; channels];
            let found = sizes.forward(input, EPS, &mut y);
            let gradients = Gradients {
                x: Some((&mut of_x, Update::Replace)),
                weight: Some((&mut of_weight, Update::Replace)),
                ..Default::default()
            };
            sizes.backward(&x, None, &y, &x, &found, gradients);
            (y, of_x, of_weight)
        })
    };
    let alone = run(1);
    assert_eq!(run(2), alone);
    assert_eq!(run(5), alone);
}
