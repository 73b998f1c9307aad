//! Layer and root-mean-square normalization.

use proptest::prelude::*;
use taper_kernels::norm::{Gradients, Input, Row, RowNorm};
use taper_kernels::{Element, Update, threads};

use super::oracle::Oracle;
use super::{assert_near, narrow, noise, widen};

const EPS: f64 = 1e-3;

#[derive(Debug, Clone, Copy)]
struct Case {
    rows: usize,
    columns: usize,
    centred: bool,
    weight: bool,
    bias: bool,
    residual: bool,
    rectify: bool,
    update: Update,
    seed: u64,
}

impl Case {
    fn sizes(&self) -> RowNorm {
        let Self { rows, columns, centred, rectify, .. } = *self;
        RowNorm { rows, columns, centred, rectify }
    }

    fn forward<T: Element>(&self, input: Input<'_, T>, y: &mut [T]) -> Vec<Row<T>> {
        self.sizes().forward(input, EPS, y)
    }

    fn backward<T: Element>(
        &self,
        x: &[T],
        weight: Option<&[T]>,
        y: &[T],
        upstream: &[T],
        found: &[Row<T>],
        gradients: Gradients<'_, T>,
    ) {
        self.sizes().backward(x, weight, y, upstream, found, gradients);
    }

    fn numbers<T: Element>(&self, name: u64, length: usize, mean: f64) -> Vec<T> {
        narrow(&noise(self.seed.wrapping_add(name << 32), length, mean))
    }

    fn check<T: Element>(&self, tolerance: f64) {
        let Case { rows, columns, update, .. } = *self;
        let length = rows * columns;
        let x = self.numbers::<T>(1, length, 0.7);
        let weight = self.weight.then(|| self.numbers::<T>(2, columns, 0.5));
        let bias = self.bias.then(|| self.numbers::<T>(3, columns, 0.0));
        let residual = self.residual.then(|| self.numbers::<T>(4, length, 0.0));
        let upstream = self.numbers::<T>(5, length, 0.2);
        let oracle = Oracle {
            group: (0..length).map(|at| at / columns).collect(),
            parameter: (0..length).map(|at| at % columns).collect(),
            centred: self.centred,
            missing: 0.0,
            eps: EPS,
            rectify: self.rectify,
            given: None,
        };
        let mut y = vec![T::of(f64::NAN); length];
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        let input = Input { x: &x, weight, bias, residual: residual.as_deref() };
        let found = self.forward(input, &mut y);
        let old: Vec<f64> = noise(9, length.max(columns), 0.0);
        let begin = |length: usize| -> Vec<T> {
            match update {
                Update::Replace => vec![T::of(f64::NAN); length],
                Update::Add => narrow(&old[..length]),
            }
        };
        let (mut of_x, mut of_residual) = (begin(length), begin(length));
        let (mut of_weight, mut of_bias) = (begin(columns), begin(columns));
        let gradients = Gradients {
            x: Some((&mut of_x, update)),
            weight: weight.is_some().then_some((&mut of_weight, update)),
            bias: bias.is_some().then_some((&mut of_bias, update)),
            residual: residual.is_some().then_some((&mut of_residual, update)),
        };
        self.backward(&x, weight, &y, &upstream, &found, gradients);

        let or = |values: Option<&[T]>, default: f64| values.map_or(vec![default; columns], widen);
        let mut expected = oracle.run(
            &widen(&x),
            &or(weight, 1.0),
            &or(bias, 0.0),
            &residual.as_deref().map_or(vec![0.0; length], widen),
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
        if weight.is_some() {
            assert_near("dw", &of_weight, &expected.weight, tolerance);
        }
        if bias.is_some() {
            assert_near("db", &of_bias, &expected.bias, tolerance);
        }
        if residual.is_some() {
            assert_near("dr", &of_residual, &expected.residual, tolerance);
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![
        (0usize..40, 1usize..150),
        // Several groups of rows and parts; several runs in a row.
        (500usize..3000, 1usize..20),
        (1usize..4, 4000usize..9000),
    ];
    (sizes, any::<[bool; 6]>(), any::<u64>()).prop_map(|((rows, columns), flags, seed)| {
        let [centred, weight, bias, residual, rectify, add] = flags;
        let update = if add { Update::Add } else { Update::Replace };
        Case { rows, columns, centred, weight, bias, residual, rectify, update, seed }
    })
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(case in cases()) {
        case.check::<f64>(1e-10);
        // f32 may decide an element near the rectifier's edge differently.
        if !case.rectify {
            case.check::<f32>(5e-4);
        }
    }
}

const PLAIN: Case = Case {
    rows: 0,
    columns: 0,
    centred: true,
    weight: true,
    bias: true,
    residual: false,
    rectify: false,
    update: Update::Replace,
    seed: 7,
};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (rows, columns) in [(700, 130), (5000, 16), (3, 9000)] {
        let case = Case { rows, columns, rectify: rows == 700, ..PLAIN };
        let x = case.numbers::<f32>(1, rows * columns, 0.5);
        let weight = case.numbers::<f32>(2, columns, 0.0);
        let run = |limit: usize| {
            threads::limit(limit, || {
                let input = Input { x: &x, weight: Some(&weight), bias: None, residual: None };
                let (mut y, mut of_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                let mut of_weight = vec![0.0; columns];
                let found = case.forward(input, &mut y);
                let gradients = Gradients {
                    x: Some((&mut of_x, Update::Replace)),
                    weight: Some((&mut of_weight, Update::Replace)),
                    ..Default::default()
                };
                case.backward(&x, Some(&weight), &y, &y, &found, gradients);
                (y, of_x, of_weight)
            })
        };
        let alone = run(1);
        for limit in [2, 5] {
            assert_eq!(run(limit), alone);
        }
    }
}

#[test]
fn a_far_mean_leaves_the_spread() {
    let case = Case { rows: 2, columns: 100, ..PLAIN };
    let x: Vec<f32> = noise(3, 200, 0.0).iter().map(|x| (1e4 + 0.02 * x) as f32).collect();
    let mut y = vec![0.0; 200];
    case.sizes().forward(Input { x: &x, weight: None, bias: None, residual: None }, 1e-12, &mut y);
    for row in 0..case.rows {
        let y = widen(&y[row * 100..][..100]);
        let mean = y.iter().sum::<f64>() / 100.0;
        let variance = y.iter().map(|y| y * y).sum::<f64>() / 100.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }
}
