use proptest::prelude::*;
use taper_kernels::{Activation, Element, Linear, Update};

use crate::random::{assert_close, length, numbers, tolerance, wide};

const ACTIVATIONS: [Activation; 7] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu(0.1),
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
];

/// f and f′ by their definitions.
fn definition(activation: Activation, x: f64) -> (f64, f64) {
    match activation {
        Activation::Identity => (x, 1.0),
        Activation::Relu => (x.max(0.0), f64::from(x > 0.0)),
        Activation::Relu6 => (x.clamp(0.0, 6.0), f64::from(x > 0.0 && x < 6.0)),
        Activation::LeakyRelu(slope) if x <= 0.0 => (slope * x, slope),
        Activation::LeakyRelu(_) => (x, 1.0),
        Activation::Sigmoid => {
            let y = 1.0 / (1.0 + (-x).exp());
            (y, y * (1.0 - y))
        }
        Activation::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
        Activation::Softplus => (x.exp().ln_1p(), 1.0 / (1.0 + (-x).exp())),
        Activation::Gelu | Activation::Silu => unreachable!("these do not go with a linear layer"),
    }
}

fn check<T: Element>(sizes: Linear, activation: Activation, seed: u64) {
    let Linear { rows, inputs, outputs } = sizes;
    let x: Vec<T> = numbers(seed, rows * inputs);
    let weight: Vec<T> = numbers(seed + 1, outputs * inputs);
    let bias: Vec<T> = numbers(seed + 2, outputs);
    let upstream: Vec<T> = numbers(seed + 3, rows * outputs);
    let (xw, ww, bw, uw) = (wide(&x), wide(&weight), wide(&bias), wide(&upstream));

    let mut of_x = vec![0.0; rows * inputs];
    let mut of_weight = vec![0.0; outputs * inputs];
    let mut of_bias = vec![0.0; outputs];
    let mut expected = vec![0.0; rows * outputs];
    for row in 0..rows {
        for output in 0..outputs {
            let product = |at| xw[row * inputs + at] * ww[output * inputs + at];
            let before = bw[output] + (0..inputs).map(product).sum::<f64>();
            let (y, slope) = definition(activation, before);
            expected[row * outputs + output] = y;
            let g = uw[row * outputs + output] * slope;
            of_bias[output] += g;
            for at in 0..inputs {
                of_x[row * inputs + at] += g * ww[output * inputs + at];
                of_weight[output * inputs + at] += g * xw[row * inputs + at];
            }
        }
    }

    let mut y = vec![T::of(f64::NAN); rows * outputs];
    sizes.forward(&x, &weight, Some(&bias), activation, &mut y);
    // Sums of up to 150 products of up to 4.
    let tolerance = 10.0 * tolerance::<T>();
    assert_close(&y, &expected, tolerance);

    for update in [Update::Replace, Update::Add] {
        let before = if update == Update::Add { 1.0 } else { f64::NAN };
        let add = |expected: &[f64]| -> Vec<f64> {
            let kept = if update == Update::Add { before } else { 0.0 };
            expected.iter().map(|value| value + kept).collect()
        };
        let mut gx = vec![T::of(before); of_x.len()];
        let mut gw = vec![T::of(before); of_weight.len()];
        let mut gb = vec![T::of(before); of_bias.len()];
        let at = |place| Some((place, update));
        sizes.backward(
            &x,
            &weight,
            &y,
            &upstream,
            activation,
            at(&mut gx[..]),
            at(&mut gw[..]),
            at(&mut gb[..]),
        );
        assert_close(&gx, &add(&of_x), tolerance);
        assert_close(&gw, &add(&of_weight), tolerance);
        assert_close(&gb, &add(&of_bias), tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn equals_its_definition(
        rows in length(),
        inputs in length(),
        outputs in length(),
        activation in prop::sample::select(ACTIVATIONS.to_vec()),
        seed in 0u64..1000,
    ) {
        check::<f32>(Linear { rows, inputs, outputs }, activation, seed);
        check::<f64>(Linear { rows, inputs, outputs }, activation, seed);
    }
}

#[test]
fn large_enough_for_several_tasks() {
    check::<f32>(Linear { rows: 300, inputs: 90, outputs: 400 }, Activation::Relu, 5);
}
