use proptest::prelude::*;
use taper_kernels::{Activation, Element, Update};

use crate::random::{assert_close, length, numbers, tolerance, wide};

/// f by its definition, as far as it is not tested elsewhere with the linear layer.
fn definition(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => x * 0.5 * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Softplus => x.exp().ln_1p(),
    }
}

const ALL: [Activation; 10] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(-0.5),
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Gelu,
    Activation::Silu,
    Activation::Softplus,
];

fn check<T: Element>(activation: Activation, length: usize, seed: u64) {
    let x: Vec<T> = numbers(seed, length);
    let upstream: Vec<T> = numbers(seed + 1, length);
    let mut y = vec![T::of(f64::NAN); length];
    activation.forward(&x, &mut y);
    let expected: Vec<f64> = wide(&x).iter().map(|x| definition(activation, *x)).collect();
    assert_close(&y, &expected, tolerance::<T>());

    // Central differences of the definition, away from the kinks at 0.
    let slope = |x: f64| {
        let step = 1e-5 * (1.0 + x.abs());
        let step = if x == 0.0 { step } else { step.min(x.abs() / 2.0) };
        (definition(activation, x + step) - definition(activation, x - step)) / (2.0 * step)
    };
    let pulled: Vec<f64> =
        wide(&x).iter().zip(wide(&upstream)).map(|(x, g)| g * slope(*x)).collect();
    let mut gradient = vec![T::of(f64::NAN); length];
    activation.backward(&x, &upstream, &mut gradient, Update::Replace);
    assert_close(&gradient, &pulled, 1e-5f64.max(tolerance::<T>()));
    activation.backward(&x, &upstream, &mut gradient, Update::Add);
    let doubled: Vec<f64> = pulled.iter().map(|value| 2.0 * value).collect();
    assert_close(&gradient, &doubled, 1e-5f64.max(tolerance::<T>()));
}

proptest! {
    #[test]
    fn value_and_slope(
        activation in prop::sample::select(ALL.to_vec()),
        length in length(),
        seed in 0u64..1000,
    ) {
        check::<f32>(activation, length, seed);
        check::<f64>(activation, length, seed);
    }
}

#[test]
fn large_enough_for_several_tasks() {
    check::<f32>(Activation::Silu, 100_003, 3);
}

#[test]
fn extremes() {
    for activation in ALL {
        let x = [-1e4f32, 1e4, f32::NAN, 0.0];
        let mut y = [0.0; 4];
        activation.forward(&x, &mut y);
        assert!(y[0].is_finite() && y[1].is_finite(), "{activation:?}: {y:?}");
        assert!(y[2].is_nan(), "{activation:?} hides a NaN");
        let mut gradient = [0.0; 4];
        activation.backward(&x, &[1.0; 4], &mut gradient, Update::Replace);
        assert!(gradient[0].is_finite() && gradient[1].is_finite(), "{activation:?}: {gradient:?}");
        // The rectifiers and the identity have slopes of 0 or 1 there, which NaN does not change.
        let flat = matches!(
            activation,
            Activation::Identity | Activation::Relu | Activation::Relu6 | Activation::LeakyRelu(_)
        );
        assert!(flat || gradient[2].is_nan(), "{activation:?} hides a NaN");
    }
    // PyTorch's slope of the rectifier at 0.
    let mut gradient = [1.0f32];
    Activation::Relu.backward(&[0.0], &[1.0], &mut gradient, Update::Replace);
    assert_eq!(gradient, [0.0]);
    // And of the one with a ceiling at both.
    let (x, mut y, mut gradient) = ([-1.0f32, 0.0, 2.0, 6.0, 7.0], [0.0; 5], [1.0; 5]);
    Activation::Relu6.forward(&x, &mut y);
    assert_eq!(y, [0.0, 0.0, 2.0, 6.0, 6.0]);
    Activation::Relu6.backward(&x, &[1.0; 5], &mut gradient, Update::Replace);
    assert_eq!(gradient, [0.0, 0.0, 1.0, 0.0, 0.0]);
}
