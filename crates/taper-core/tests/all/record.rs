//! What a recorder sees, with counts by hand.

use std::panic;

use candle_core::{DType, Device, Module, Tensor, Var};
use taper_core::op::{Field, Step, Window, Work, record};
use taper_core::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, AvgPool2dConfig, Conv2d, Conv2dConfig,
    ConvTranspose2d, ConvTranspose2dConfig, Linear, MaxPool2d, MaxPool2dConfig, Result, Upsample2d,
    UpsampleMode, UpsampleTo, add, concat, scale,
};

const CPU: &Device = &Device::Cpu;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, CPU).unwrap()
}

/// The steps of a layer on ones of this shape.
fn steps(layer: &impl Module, shape: &[usize]) -> Vec<Step> {
    let x = ones(shape);
    let (y, steps) = record(|| layer.forward(&x));
    y.unwrap();
    steps
}

fn work(layer: &impl Module, shape: &[usize]) -> Work {
    let steps = steps(layer, shape);
    assert_eq!(steps.len(), 1);
    steps[0].work
}

fn window(kernel: usize, stride: usize, dilation: usize, padding: usize) -> Window {
    Window { kernel, stride, dilation, padding }
}

/// Where the elements begin.
fn place(tensor: &Tensor) -> usize {
    let (storage, layout) = tensor.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { panic!("on the CPU") };
    storage.as_slice::<f32>().unwrap()[layout.start_offset()..].as_ptr() as usize
}

#[test]
fn a_convolution() -> Result<()> {
    let config = Conv2dConfig {
        stride: (2, 1).into(),
        padding: (1, 0).into(),
        dilation: (1, 2).into(),
        groups: 2,
        activation: Activation::Relu,
        ..Default::default()
    };
    let conv = Conv2d::new(ones(&[6, 2, 3, 2]), Some(ones(&[6])), config)?;
    // To (5, 6, 4, 6): 720 elements, each of 2 · 3 · 2 products, a bias and a rectifier.
    let field = Field::Window([window(3, 2, 1, 1), window(2, 1, 2, 0)]);
    let expected = Work { macs: 8640, flops: 17280 + 2 * 720, nonlinearities: 1, field };
    assert_eq!(work(&conv, &[5, 4, 8, 8]), expected);
    // Without these, and with an activation that is an operation of its own.
    let config = Conv2dConfig { activation: Activation::Identity, ..config };
    let conv = Conv2d::new(ones(&[6, 2, 3, 2]), None, config)?;
    let expected = Work { flops: 17280, nonlinearities: 0, ..expected };
    assert_eq!(work(&conv, &[5, 4, 8, 8]), expected);
    let config = Conv2dConfig { activation: Activation::Gelu, ..config };
    let both = steps(&Conv2d::new(ones(&[6, 2, 3, 2]), None, config)?, &[5, 4, 8, 8]);
    assert_eq!((both.len(), both[0].work), (2, expected));
    let gelu = Work { flops: 720, nonlinearities: 1, ..Work::default() };
    assert_eq!((both[1].name, both[1].work), ("activation", gelu));
    Ok(())
}

#[test]
fn a_transposed_convolution() -> Result<()> {
    let config = ConvTranspose2dConfig { padding: (1, 0).into(), ..Default::default() };
    // (2, 3, 4, 5) to (2, 4, 4, 6): each of 120 elements goes into 2 · 3 · 2 others.
    let conv = ConvTranspose2d::new(ones(&[3, 4, 3, 2]), Some(ones(&[4])), config)?;
    let field = Field::Window([window(3, 1, 1, 1), window(2, 1, 1, 1)]);
    let expected =
        Work { macs: 120 * 24, flops: 120 * 48 + 2 * 4 * 4 * 6, nonlinearities: 0, field };
    assert_eq!(work(&conv, &[2, 3, 4, 5]), expected);
    // With a stride what a place sees is no window.
    let config = ConvTranspose2dConfig { stride: 2.into(), ..config };
    let conv = ConvTranspose2d::new(ones(&[3, 4, 3, 2]), None, config)?;
    let expected = Work { flops: 120 * 48, field: Field::Whole, ..expected };
    assert_eq!(work(&conv, &[2, 3, 4, 5]), expected);
    Ok(())
}

#[test]
fn a_linear_layer() -> Result<()> {
    let layer = Linear::new(ones(&[4, 3]), Some(ones(&[4])))?.with_activation(Activation::Sigmoid);
    let tokens =
        Work { macs: 10 * 12, flops: 240 + 2 * 40, nonlinearities: 1, field: Field::Point };
    assert_eq!(work(&layer, &[2, 5, 3]), tokens);
    assert_eq!(work(&layer, &[10, 3]), Work { field: Field::Whole, ..tokens });
    assert_eq!(work(&Linear::new(ones(&[4, 3]), None)?, &[3]).flops, 24);
    Ok(())
}

#[test]
fn pooling_and_resampling() -> Result<()> {
    let windows = |k, s, p| Field::Window([window(k, s, 1, p); 2]);
    let config =
        MaxPool2dConfig { stride: Some(2.into()), padding: 1.into(), ..Default::default() };
    let of = |flops, field| Work { flops, field, ..Work::default() };
    // To 4 by 4 and, with the same stride, to 1 by 1; the padding is no saving.
    let max = MaxPool2d::new(3, config)?;
    assert_eq!(work(&max, &[2, 3, 8, 8]), of(96 * 9, windows(3, 2, 1)));
    assert_eq!(work(&max, &[3, 2, 2]), of(3 * 9, windows(3, 2, 1)));
    let average = AvgPool2d::new(2, AvgPool2dConfig::default())?;
    assert_eq!(work(&average, &[2, 3, 8, 8]), of(96 * 4, windows(2, 2, 0)));
    let adaptive = |to: (usize, usize)| work(&AdaptiveAvgPool2d::new(to).unwrap(), &[2, 3, 8, 6]);
    assert_eq!(adaptive((1, 1)), of(288, Field::Whole));
    assert_eq!(adaptive((4, 4)), of(288, Field::Whole));
    let regular = Field::Window([window(4, 4, 1, 0), window(6, 6, 1, 0)]);
    assert_eq!(adaptive((2, 1)), of(288, regular));
    let upsample = |scale, mode| {
        let to = UpsampleTo::Scale(scale, scale);
        work(&Upsample2d::new(to, mode).unwrap(), &[2, 3, 2, 2])
    };
    assert_eq!(upsample(2.0, UpsampleMode::Nearest), of(0, Field::Whole));
    let bilinear = UpsampleMode::Bilinear { align_corners: false };
    assert_eq!(upsample(1.0, bilinear), of(24 * 7, Field::Point));
    Ok(())
}

#[test]
fn the_tensors_are_those_given() -> Result<()> {
    let stored = ones(&[3, 8]);
    let layer = Linear::new(ones(&[3, 4]).t()?, None)?;
    let (y, steps) = record(|| -> Result<Tensor> {
        let y = layer.forward(&stored.t()?)?;
        Ok(Activation::Tanh.forward(&y.reshape((4, 8))?)?)
    });
    let [linear, tanh] = &steps[..] else { panic!("two steps") };
    assert_eq!(linear.name, "linear");
    let arguments = [(&stored, [8, 3]), (layer.weight(), [4, 3])];
    assert_eq!(linear.arguments.len(), 2);
    for (argument, (given, shape)) in linear.arguments.iter().zip(arguments) {
        assert_eq!((place(argument), argument.dims()), (place(given), &shape[..]));
    }
    assert_eq!(tanh.arguments[0].dims(), [4, 8]);
    assert_eq!(place(&tanh.arguments[0]), place(&linear.result));
    assert_eq!(place(&tanh.result), place(&y?));
    Ok(())
}

#[test]
fn a_variable_s_gradients_are_found_and_not_recorded() -> Result<()> {
    let x = Var::from_tensor(&ones(&[2, 3]))?;
    let (gradients, steps) = record(|| -> Result<_> {
        let y = Activation::Relu.forward(x.as_tensor())?;
        Ok(y.sqr()?.sum_all()?.backward()?)
    });
    assert_eq!(
        gradients?.get(&x).map(Tensor::to_vec2::<f32>).transpose()?,
        Some(vec![vec![2.0; 3]; 2])
    );
    assert_eq!(steps.len(), 1);
    Ok(())
}

#[test]
fn recorders_nest() -> Result<()> {
    let x = ones(&[2]);
    let apply = |activation: Activation| activation.forward(&x).unwrap();
    let names = |steps: &[Step]| {
        steps.iter().map(|step| step.result.to_vec1::<f32>().unwrap()[0]).collect::<Vec<_>>()
    };
    let leaky = |negative_slope: f64| Activation::LeakyRelu { negative_slope };
    let ((), none) = record(|| ());
    assert!(none.is_empty());
    apply(Activation::Tanh);
    let ((first, second), outer) = record(|| {
        apply(Activation::Relu);
        let (_, first) = record(|| apply(Activation::Tanh));
        apply(leaky(0.1));
        // What a panic ends is the inner recorder alone; the steps before it ran.
        let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            record(|| {
                apply(Activation::Sigmoid);
                panic::resume_unwind(Box::new(()))
            })
        }));
        assert!(panicked.is_err());
        let (_, second) = record(|| apply(Activation::Relu));
        (first, second)
    });
    let (tanh, sigmoid) = (1f32.tanh(), 0.731_058_6);
    for (steps, expected) in
        [(&first, vec![tanh]), (&second, vec![1.0]), (&outer, vec![1.0, tanh, 1.0, sigmoid, 1.0])]
    {
        let names = names(steps);
        assert_eq!(names.len(), expected.len());
        assert!(names.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{names:?}");
    }
    let panicked = panic::catch_unwind(|| record(|| panic::resume_unwind(Box::new(()))).1.len());
    assert!(panicked.is_err());
    // Nothing of that is left, and other threads are not seen.
    let (_, steps) = record(|| {
        std::thread::scope(|scope| scope.spawn(|| apply(Activation::Tanh)).join().unwrap())
    });
    assert!(steps.is_empty());
    Ok(())
}

#[test]
fn what_fails_is_not_recorded() -> Result<()> {
    let layer = Linear::new(ones(&[4, 3]), None)?;
    let (y, steps) = record(|| layer.forward(&ones(&[2, 5])));
    assert!(y.is_err() && steps.is_empty());
    Ok(())
}

#[test]
fn a_network_adds_up_and_hangs_together() -> Result<()> {
    let conv = |inputs, outputs, kernel: usize, activation| {
        let padding = (kernel / 2).into();
        let config = Conv2dConfig { padding, activation, ..Default::default() };
        let bias = ones(&[outputs]);
        Conv2d::new(ones(&[outputs, inputs, kernel, kernel]), Some(bias), config).unwrap()
    };
    let stem = conv(3, 4, 3, Activation::Relu);
    let branch = Conv2d::new(ones(&[4, 4, 1, 1]), None, Conv2dConfig::default())?;
    let gate = conv(4, 4, 1, Activation::Sigmoid);
    let pool = MaxPool2d::new(2, MaxPool2dConfig::default())?;
    let global = AdaptiveAvgPool2d::new(1)?;
    let head = Linear::new(ones(&[5, 12]), Some(ones(&[5])))?;
    let x = ones(&[2, 3, 8, 8]);
    let (y, steps) = record(|| -> Result<Tensor> {
        let pooled = pool.forward(&stem.forward(&x)?)?;
        let sum = add(&branch.forward(&pooled)?, &pooled, Activation::Relu)?;
        let gated = scale(&sum, &gate.forward(&global.forward(&sum)?)?)?;
        let joined = concat(&[&gated, &pooled, &sum], 1)?;
        Ok(head.forward(&global.forward(&joined)?.flatten_from(1)?)?)
    });
    // Name, products, arithmetic, activations, elements.
    let expected = [
        // 512 elements of 27 products, with a bias and a rectifier.
        ("convolution", 13_824, 2 * 13_824 + 2 * 512, 1, 512),
        ("max_pool2d", 0, 4 * 128, 0, 128),
        ("convolution", 512, 2 * 512, 0, 128),
        ("add", 0, 2 * 128, 1, 128),
        ("adaptive_avg_pool2d", 0, 128, 0, 8),
        ("convolution", 32, 2 * 32 + 2 * 8, 1, 8),
        ("scale", 0, 128, 0, 128),
        ("concat", 0, 0, 0, 384),
        ("adaptive_avg_pool2d", 0, 384, 0, 24),
        ("linear", 120, 2 * 120 + 10, 0, 10),
    ];
    let found: Vec<_> = steps
        .iter()
        .map(|Step { name, result, work, .. }| {
            (*name, work.macs, work.flops, work.nonlinearities, result.elem_count())
        })
        .collect();
    assert_eq!(found, expected);
    let total = |of: fn(&Work) -> u64| steps.iter().map(|step| of(&step.work)).sum::<u64>();
    let totals = [total(|it| it.macs), total(|it| it.flops), total(|it| it.nonlinearities)];
    assert_eq!(totals, [14_488, 31_434, 3]);
    // Every argument is the input, a parameter or an earlier result.
    let parameters = [stem.weight(), branch.weight(), gate.weight(), head.weight()];
    let biases = [stem.bias(), gate.bias(), head.bias()].into_iter().flatten();
    let mut known: Vec<usize> = parameters.into_iter().chain(biases).map(place).collect();
    known.push(place(&x));
    for step in &steps {
        assert!(step.arguments.iter().all(|it| known.contains(&place(it))), "{}", step.name);
        assert!(!known.contains(&place(&step.result)));
        known.push(place(&step.result));
    }
    assert_eq!(known.last(), Some(&place(&y?)));
    Ok(())
}
