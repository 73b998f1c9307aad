use proptest::prelude::*;
use taper_kernels::norm::LocalResponseNorm;
use taper_kernels::{Element, Update, threads};

use super::{assert_near, narrow, noise, widen};

/// y and the gradient of x, as they are defined.
fn oracle(sizes: LocalResponseNorm, x: &[f64], upstream: &[f64]) -> [Vec<f64>; 2] {
    let LocalResponseNorm { channels, places, size, alpha, beta, k, .. } = sizes;
    let scale = alpha / size as f64;
    // The elements of the window of one.
    let window = |at: usize| {
        let channel = at / places % channels;
        let first = channel.saturating_sub(size / 2);
        let last = (channel + (size - 1) / 2).min(channels - 1);
        (first..=last).map(move |other| at + other * places - channel * places)
    };
    let d = |at: usize| k + scale * window(at).map(|other| x[other].powi(2)).sum::<f64>();
    let y = (0..x.len()).map(|at| x[at] * d(at).powf(-beta)).collect();
    let mut of_x = vec![0.0; x.len()];
    for at in 0..x.len() {
        of_x[at] += upstream[at] * d(at).powf(-beta);
        let of_d = -beta * upstream[at] * x[at] * d(at).powf(-beta - 1.0);
        for other in window(at) {
            of_x[other] += of_d * scale * 2.0 * x[other];
        }
    }
    [y, of_x]
}

fn check<T: Element>(sizes: LocalResponseNorm, update: Update, seed: u64, tolerance: f64) {
    let length = sizes.samples * sizes.channels * sizes.places;
    let x: Vec<T> = narrow(&noise(seed, length, 0.3));
    let upstream: Vec<T> = narrow(&noise(seed.wrapping_add(1 << 32), length, 0.2));
    let [expected_y, mut expected] = oracle(sizes, &widen(&x), &widen(&upstream));
    let mut y = vec![T::of(f64::NAN); length];
    sizes.forward(&x, &mut y);
    let old = noise(9, length, 0.0);
    let mut of_x = match update {
        Update::Replace => vec![T::of(f64::NAN); length],
        Update::Add => narrow(&old),
    };
    sizes.backward(&x, &upstream, &mut of_x, update);
    if update == Update::Add {
        expected.iter_mut().zip(&old).for_each(|(to, old)| *to += old);
    }
    assert_near("y", &y, &expected_y, tolerance);
    assert_near("dx", &of_x, &expected, tolerance);
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        (samples, channels, places) in prop_oneof![
            (0usize..5, 1usize..9, 1usize..100),
            (1usize..4, 20usize..150, 1usize..4),
            (1usize..3, 1usize..4, 2000usize..5000),
        ],
        size in 1usize..12,
        beta in prop_oneof![Just(0.75), Just(0.5), Just(1.0), 0.0..2.0],
        (alpha, k) in (0.0..5.0, 0.1..3.0),
        add in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let sizes = LocalResponseNorm { samples, channels, places, size, alpha, beta, k };
        let update = if add { Update::Add } else { Update::Replace };
        check::<f64>(sizes, update, seed, 1e-12);
        check::<f32>(sizes, update, seed, 1e-5);
    }
}

const PLAIN: LocalResponseNorm = LocalResponseNorm {
    samples: 5,
    channels: 13,
    places: 300,
    size: 5,
    alpha: 1.0,
    beta: 0.75,
    k: 1.0,
};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for beta in [0.75, 0.6] {
        let sizes = LocalResponseNorm { beta, ..PLAIN };
        let x: Vec<f32> = narrow(&noise(1, 5 * 13 * 300, 0.5));
        let run = |limit: usize| {
            threads::limit(limit, || {
                let (mut y, mut of_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                sizes.forward(&x, &mut y);
                sizes.backward(&x, &y, &mut of_x, Update::Replace);
                (y, of_x)
            })
        };
        let alone = run(1);
        assert_eq!(run(2), alone);
        assert_eq!(run(5), alone);
    }
}

#[test]
fn a_window_may_be_wider_than_anything() {
    let sizes = LocalResponseNorm { samples: 2, channels: 3, places: 5, size: usize::MAX, ..PLAIN };
    let x = noise(1, 30, 0.5);
    let mut y = vec![f64::NAN; 30];
    sizes.forward(&x, &mut y);
    // α is divided by the size.
    assert_near("y", &y, &x, 1e-12);
}

#[test]
fn squares_that_overflow_give_0() {
    let sizes = LocalResponseNorm { samples: 1, channels: 2, places: 40, ..PLAIN };
    for beta in [0.5, 0.75, 1.0, 0.6] {
        let sizes = LocalResponseNorm { beta, ..sizes };
        let x = vec![1e25f32; 80];
        let (mut y, mut of_x) = (vec![1.0; 80], vec![1.0; 80]);
        sizes.forward(&x, &mut y);
        sizes.backward(&x, &vec![1.0; 80], &mut of_x, Update::Replace);
        assert_eq!((y, of_x), (vec![0.0; 80], vec![0.0; 80]));
    }
}
