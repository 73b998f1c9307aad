use proptest::prelude::*;
use taper_kernels::norm::{BatchNorm, Gradients, Input, Statistics};
use taper_kernels::{Element, Update, threads};

use super::oracle::{Oracle, Results};
use super::{assert_near, narrow, noise, widen};

/// What a case has.
#[derive(Debug, Clone, Copy)]
struct Case {
    sizes: BatchNorm,
    affine: bool,
    residual: bool,
    /// The variance over n − 1.
    unbiased: bool,
    frozen: bool,
    update: Update,
    seed: u64,
}

const EPS: f64 = 1e-3;

fn channels(sizes: BatchNorm) -> Vec<usize> {
    let BatchNorm { samples, channels, places, .. } = sizes;
    (0..samples * channels * places).map(|at| at / places % channels).collect()
}

impl Case {
    fn numbers<T: Element>(&self, name: u64, length: usize, mean: f64) -> Vec<T> {
        narrow(&noise(self.seed.wrapping_add(name << 32), length, mean))
    }

    fn check<T: Element>(&self, tolerance: f64) {
        let Case { sizes, affine, residual, unbiased, frozen, update, .. } = *self;
        let (length, channels) = (sizes.samples * sizes.channels * sizes.places, sizes.channels);
        let x = self.numbers::<T>(1, length, 0.7);
        let weight = affine.then(|| self.numbers::<T>(2, channels, 0.5));
        let bias = affine.then(|| self.numbers::<T>(3, channels, 0.0));
        let addend = residual.then(|| self.numbers::<T>(4, length, 0.0));
        let upstream = self.numbers::<T>(5, length, 0.2);
        let given: Vec<(f64, f64)> = (0..channels).map(|at| (at as f64 / 9.0, 0.3)).collect();
        let oracle = Oracle {
            group: self::channels(sizes),
            parameter: self::channels(sizes),
            centred: true,
            missing: if unbiased { 1.0 } else { 0.0 },
            eps: EPS,
            rectify: sizes.rectify,
            given: frozen.then_some(given.clone()),
        };

        let input = Input {
            x: &x,
            weight: weight.as_deref(),
            bias: bias.as_deref(),
            residual: addend.as_deref(),
        };
        let mut y = vec![T::of(f64::NAN); length];
        let statistics = if frozen {
            let (mean, variance): (Vec<f64>, Vec<f64>) = given.into_iter().unzip();
            let statistics = Statistics::given(mean, &variance, EPS);
            sizes.evaluate(input, &statistics, &mut y);
            statistics
        } else {
            let divisor = (sizes.samples * sizes.places) as f64 - oracle.missing;
            sizes.train(input, divisor, EPS, &mut y)
        };
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
            weight: affine.then_some((&mut of_weight, update)),
            bias: affine.then_some((&mut of_bias, update)),
            residual: residual.then_some((&mut of_residual, update)),
        };
        sizes.backward(&x, weight.as_deref(), &y, &upstream, &statistics, gradients);

        let ones = vec![1.0; channels];
        let or = |values: &Option<Vec<T>>, default: &[f64]| {
            values.as_ref().map_or(default.to_vec(), |it| widen(it))
        };
        let mut expected = oracle.run(
            &widen(&x),
            &or(&weight, &ones),
            &or(&bias, &vec![0.0; channels]),
            &or(&addend, &vec![0.0; length]),
            &widen(&upstream),
        );
        if update == Update::Add {
            let add = |to: &mut Vec<f64>| to.iter_mut().zip(&old).for_each(|(to, old)| *to += old);
            let Results { x, weight, bias, residual, .. } = &mut expected;
            [x, weight, bias, residual].into_iter().for_each(add);
        }
        // An element near 0 may fall on either side of the rectifier: with f32 it does not here.
        assert_near("y", &y, &expected.y, tolerance);
        assert_near("dx", &of_x, &expected.x, tolerance);
        if affine {
            assert_near("dw", &of_weight, &expected.weight, tolerance);
            assert_near("db", &of_bias, &expected.bias, tolerance);
        }
        if residual {
            assert_near("dr", &of_residual, &expected.residual, tolerance);
        }
        if !frozen {
            let moments = oracle.moments(&widen(&x));
            let means: Vec<f64> = moments.iter().map(|moments| moments[0]).collect();
            let squares: Vec<f64> = moments.iter().map(|moments| moments[1]).collect();
            assert_near("mean", &statistics.mean, &means, tolerance);
            assert_near("squares", &statistics.squares, &squares, tolerance);
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![
        // Strips, with and without a rest.
        (2usize..150, 1usize..100, 1usize..3),
        (1usize..6, 1usize..40, 2usize..20),
        // Planes.
        (1usize..6, 1usize..12, 17usize..300),
        // A channel of several runs.
        (1usize..3, 1usize..4, 4000usize..9000),
    ];
    let flags = (any::<[bool; 6]>(), any::<u64>());
    (sizes, flags).prop_map(|((samples, channels, places), (flags, seed))| {
        let [rectify, affine, residual, unbiased, frozen, add] = flags;
        let sizes = BatchNorm { samples, channels, places, rectify };
        let update = if add { Update::Add } else { Update::Replace };
        Case { sizes, affine, residual, unbiased, frozen, update, seed }
    })
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(case in cases()) {
        prop_assume!(case.sizes.samples * case.sizes.places > 1);
        case.check::<f64>(1e-10);
        // f32 may decide an element near the rectifier's edge differently.
        if !case.sizes.rectify {
            case.check::<f32>(2e-4);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (samples, channels, places) in [(300, 200, 1), (40, 30, 9), (20, 9, 700), (64, 2, 1000)] {
        let sizes = BatchNorm { samples, channels, places, rectify: true };
        let length = samples * channels * places;
        let x: Vec<f32> = narrow(&noise(1, length, 3.0));
        let upstream: Vec<f32> = narrow(&noise(2, length, 0.0));
        let run = |limit: usize| {
            threads::limit(limit, || {
                let input = Input { x: &x, weight: None, bias: None, residual: None };
                let (mut y, mut of_x) = (vec![0.0; length], vec![0.0; length]);
                let (mut of_weight, mut of_bias) = (vec![0.0; channels], vec![0.0; channels]);
                let statistics = sizes.train(input, 100.0, EPS, &mut y);
                let gradients = Gradients {
                    x: Some((&mut of_x, Update::Replace)),
                    weight: Some((&mut of_weight, Update::Replace)),
                    bias: Some((&mut of_bias, Update::Replace)),
                    residual: None,
                };
                sizes.backward(&x, None, &y, &upstream, &statistics, gradients);
                (y, of_x, of_weight, of_bias, statistics)
            })
        };
        let alone = run(1);
        for limit in [2, 5] {
            assert_eq!(run(limit), alone);
        }
    }
}

#[test]
fn nothing_has_no_gradient() {
    for (samples, places) in [(0, 4), (3, 0)] {
        let sizes = BatchNorm { samples, channels: 2, places, rectify: false };
        let statistics = Statistics::given(vec![0.0; 2], &[1.0; 2], EPS);
        let input = Input { x: &[], weight: None, bias: None, residual: None };
        sizes.evaluate::<f32>(input, &statistics, &mut []);
        let mut of_bias = [f32::NAN; 2];
        let gradients =
            Gradients { bias: Some((&mut of_bias, Update::Replace)), ..Default::default() };
        sizes.backward(&[], None, &[], &[], &statistics, gradients);
        assert_eq!(of_bias, [0.0; 2]);
    }
}

#[test]
fn what_is_no_number_stays_in_its_channel() {
    for places in [1, 40] {
        let sizes = BatchNorm { samples: 5, channels: 3, places, rectify: true };
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x: Vec<f32> = narrow(&noise(1, 15 * places, 0.0));
            x[4 * places] = bad;
            let input = Input { x: &x, weight: None, bias: None, residual: None };
            let mut y = vec![0.0; x.len()];
            sizes.train(input, 5.0, EPS, &mut y);
            for (at, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), at / places % 3 == 1, "{bad} {places} {at}");
            }
        }
    }
}
