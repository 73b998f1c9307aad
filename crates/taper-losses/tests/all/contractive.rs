use candle_core::{DType, Device, Module, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_core::{Activation, Result, stream};
use taper_losses::{ContractiveOptions, LossOptions, Reduction, contractive};

use crate::contract::{Subject, normal};
use crate::golden;

const CPU: Device = Device::Cpu;

fn weight(units: usize, inputs: usize) -> Tensor {
    stream(3, "weight").normal(0.0, 1.0, (units, inputs), DType::F64, &CPU).unwrap()
}

fn of(activation: Activation) -> ContractiveOptions {
    ContractiveOptions { activation, ..Default::default() }
}

pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |activation: Activation, shape: &[usize]| {
        let weight = weight(shape[shape.len() - 1], 4);
        let before = normal("before").flatten_all().unwrap();
        let before = Tensor::cat(&[&before, &before], 0).unwrap();
        let count = shape.iter().product();
        let before = before.narrow(0, 0, count).unwrap().reshape(shape).unwrap();
        Subject {
            name: "contractive",
            argument: "hidden",
            input: activation.forward(&before).unwrap(),
            axes: shape.len() - 1,
            by_row: true,
            unbounded: false,
            loss: Box::new(move |hidden, loss| {
                let options = ContractiveOptions { activation, loss: loss.clone() };
                contractive(hidden, &weight.to_dtype(hidden.dtype())?, &options)
            }),
        }
    };
    vec![
        subject(Activation::Sigmoid, &[5, 3]),
        subject(Activation::Tanh, &[5, 3]),
        subject(Activation::Softplus, &[3, 2, 5]),
    ]
}

fn activation(case: &Case) -> Result<Activation> {
    Ok(match case.text("activation")? {
        "identity" => Activation::Identity,
        "relu" => Activation::Relu,
        "leaky_relu" => Activation::LeakyRelu { negative_slope: 0.25 },
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "softplus" => Activation::Softplus,
        other => panic!("no activation is called {other}"),
    })
}

#[test]
fn agrees_with_the_jacobian_of_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/contractive.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let other = case.tensor("other", dtype)?;
            let (inputs, weight) =
                if case.text("role")? == "inputs" { (x, &other) } else { (&other, x) };
            let before =
                inputs.matmul(&weight.t()?)?.broadcast_add(&case.tensor("bias", dtype)?)?;
            let activation = activation(&case)?;
            let hidden = activation.forward(&before)?;
            let loss = golden::options(&case, dtype)?;
            contractive(&hidden, weight, &ContractiveOptions { activation, loss })
        })?;
    }
    Ok(())
}

#[test]
fn hidden_and_weight_both_have_their_gradient() -> Result<()> {
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { negative_slope: 0.25 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
    ] {
        let hidden = activation.forward(&normal("before"))?;
        let smooth =
            matches!(activation, Activation::Sigmoid | Activation::Tanh | Activation::Softplus);
        if smooth {
            let both = [hidden, weight(3, 4)];
            gradcheck(|x| contractive(&x[0], &x[1], &of(activation)), &both, 1e-6)?;
        } else {
            let loss = |x: &[Tensor]| contractive(&hidden, &x[0], &of(activation));
            gradcheck(loss, &[weight(3, 4)], 1e-6)?;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_a_square_of_the_weight_and_0_where_units_are_saturated(
        before in prop::collection::vec(prop::collection::vec(-5.0..5.0, 3), 1..8), scale in -3.0f64..3.0,
    ) {
        let hidden = Activation::Sigmoid.forward(&Tensor::new(before, &CPU).unwrap()).unwrap();
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = ContractiveOptions { loss, ..Default::default() };
        let of = |hidden: &Tensor, factor: f64| {
            contractive(hidden, &(weight(3, 4) * factor).unwrap(), &options).unwrap()
        };
        let losses = of(&hidden, 1.0);
        assert_close(&of(&hidden, scale), &(&losses * (scale * scale)).unwrap(), 1e-12);
        // A sigmoid never has a slope above 1/4, that of the middle.
        let most = of(&(hidden.ones_like().unwrap() / 2.0).unwrap(), 1.0);
        let (list, most) = (losses.to_vec1::<f64>().unwrap(), most.to_vec1::<f64>().unwrap());
        prop_assert!(list.iter().zip(&most).all(|(loss, most)| *loss >= 0.0 && loss <= most));
        assert_close(&of(&hidden.affine(-1.0, 1.0).unwrap(), 1.0), &losses, 1e-12);
        for end in [0.0, 1.0] {
            let ends = (hidden.ones_like().unwrap() * end).unwrap();
            prop_assert!(of(&ends, 1.0).to_vec1::<f64>().unwrap().iter().all(|loss| *loss == 0.0));
        }
    }
}

#[test]
fn a_single_sample_is_one_number_and_a_batch_may_have_axes() -> Result<()> {
    let hidden = Activation::Sigmoid.forward(&normal("before"))?;
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    let options = ContractiveOptions { loss, ..Default::default() };
    let losses = contractive(&hidden, &weight(3, 4), &options)?;
    let single = contractive(&hidden.get(1)?, &weight(3, 4), &options)?;
    assert_close(&single, &losses.get(1)?, 1e-14);
    let axes = contractive(&hidden.reshape((5, 1, 3))?, &weight(3, 4), &options)?;
    assert_close(&axes, &losses.reshape((5, 1))?, 1e-14);
    Ok(())
}

#[test]
fn saturated_units_and_large_weights_are_finite_in_f32() -> Result<()> {
    let before = (normal("before").sign()? * 1e4)?.to_dtype(DType::F32)?;
    for activation in
        [Activation::Sigmoid, Activation::Tanh, Activation::Softplus, Activation::Relu]
    {
        let hidden = Var::from_tensor(&activation.forward(&before)?)?;
        let weight = Var::from_tensor(&(weight(3, 4) * 1e4)?.to_dtype(DType::F32)?)?;
        let value = contractive(&hidden, &weight, &of(activation))?;
        assert!(value.to_scalar::<f32>()?.is_finite());
        let gradients = value.backward()?;
        for gradient in [&hidden, &weight].into_iter().filter_map(|x| gradients.get(x)) {
            let all = gradient.flatten_all()?.to_vec1::<f32>()?;
            assert!(all.iter().all(|g| g.is_finite()), "{activation:?}: {all:?}");
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let hidden = Tensor::new(&[[0.5, 0.25, 0.0], [0.5, 0.25, 1.0]], &CPU)?;
    let error = |hidden: &Tensor, weight: &Tensor, options: &ContractiveOptions| {
        contractive(hidden, weight, options).unwrap_err().to_string()
    };
    let plain = ContractiveOptions::default();
    for (weight, received) in [
        (weight(2, 3), "[2, 3]"),
        (weight(3, 3).get(0)?, "[3]"),
        (weight(3, 3).unsqueeze(0)?, "[1, 3, 3]"),
    ] {
        let expected = "weight should be of shape (3, D), as hidden has 3 units";
        assert_eq!(
            error(&hidden, &weight, &plain),
            format!("contractive: {expected}, got {received}")
        );
    }
    assert_eq!(
        error(&hidden, &weight(3, 3).to_dtype(DType::F32)?, &plain),
        "contractive: weight should be F64, as hidden, got F32"
    );
    assert_eq!(
        error(&Tensor::new(0.5, &CPU)?, &weight(3, 3), &plain),
        "contractive: hidden should be of shape (..., H), got []"
    );
    for (activation, wrong, expected) in [
        (Activation::Sigmoid, 1.5, "from 0 to 1, as a sigmoid gives it"),
        (Activation::Sigmoid, f64::NAN, "from 0 to 1, as a sigmoid gives it"),
        (Activation::Tanh, -1.5, "from -1 to 1, as a tanh gives it"),
        (Activation::Relu6, 6.5, "from 0 to 6, as a rectifier with that ceiling gives it"),
        (Activation::Relu, -0.5, "at least 0, as its activation gives it"),
        (Activation::Softplus, -0.5, "at least 0, as its activation gives it"),
    ] {
        let hidden = Tensor::new(&[[0.5, 0.25, 0.0], [0.5, wrong, 1.0]], &CPU)?;
        assert_eq!(
            error(&hidden, &weight(3, 3), &of(activation)),
            format!("contractive: hidden[1, 1] should be {expected}, got {wrong}")
        );
    }
    for activation in [
        Activation::Gelu,
        Activation::Silu,
        Activation::LeakyRelu { negative_slope: 0.0 },
        Activation::LeakyRelu { negative_slope: f64::INFINITY },
        Activation::LeakyRelu { negative_slope: f64::NAN },
    ] {
        let message = error(&hidden, &weight(3, 3), &of(activation));
        let expected = "contractive: activation should be one whose derivative its output tells";
        assert!(message.starts_with(expected), "{message}");
        assert!(message.ends_with(&format!("got {activation:?}")), "{message}");
    }
    Ok(())
}
