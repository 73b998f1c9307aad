//! The bits do not depend on the number of threads.

use taper_kernels::{Activation, Linear, Update, threads};

use crate::random::numbers;

/// The results of a linear layer, forward and backward, as bits.
fn linear(sizes: Linear) -> Vec<u32> {
    let Linear { rows, inputs, outputs } = sizes;
    let (x, weight) = (numbers::<f32>(1, rows * inputs), numbers::<f32>(2, outputs * inputs));
    let (bias, upstream) = (numbers::<f32>(3, outputs), numbers::<f32>(4, rows * outputs));
    let mut y = vec![0.0; rows * outputs];
    sizes.forward(&x, &weight, Some(&bias), Activation::Sigmoid, &mut y);
    let (mut gx, mut gw, mut gb) =
        (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; outputs]);
    sizes.backward(
        &x,
        &weight,
        &y,
        &upstream,
        Activation::Sigmoid,
        Some((&mut gx, Update::Replace)),
        Some((&mut gw, Update::Replace)),
        Some((&mut gb, Update::Replace)),
    );
    [y, gx, gw, gb].concat().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_linear_layer_has_the_same_bits_for_any_number_of_threads() {
    for sizes in [
        Linear { rows: 128, inputs: 784, outputs: 512 },
        Linear { rows: 128, inputs: 512, outputs: 10 },
        Linear { rows: 1, inputs: 700, outputs: 900 },
        Linear { rows: 1000, inputs: 33, outputs: 65 },
    ] {
        let alone = threads::limit(1, || linear(sizes));
        for count in [2, 3, 8] {
            assert_eq!(
                threads::limit(count, || linear(sizes)),
                alone,
                "{sizes:?}, {count} threads"
            );
        }
    }
}
