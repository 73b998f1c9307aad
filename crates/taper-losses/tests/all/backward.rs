//! The losses as operations: under both ways of taking gradients, repeated, and on views.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::testing::assert_close;
use taper_core::{Gradients, Result, stream};
use taper_losses::{
    BceWithLogitsOptions, CrossEntropyOptions, MseOptions, Reduction, Target, bce_with_logits,
    cross_entropy, mse,
};

const CPU: Device = Device::Cpu;

/// Each loss of (4, 5) logits.
fn each_loss(x: &Tensor, reduction: Reduction) -> Result<[Tensor; 3]> {
    let target = stream(1, "target").uniform(0.0, 1.0, (4, 5), DType::F64, &CPU)?;
    let labels = Tensor::new(&[0u32, 4, 2, 2], &CPU)?;
    let classes = CrossEntropyOptions { reduction, ..Default::default() };
    let binary = BceWithLogitsOptions { reduction, ..Default::default() };
    Ok([
        mse(x, &target, &MseOptions { reduction, ..Default::default() })?,
        cross_entropy(x, Target::Indices(&labels), &classes)?,
        bce_with_logits(x, &target, &binary)?,
    ])
}

fn logits() -> Result<Var> {
    Ok(Var::from_tensor(&stream(1, "x").normal(0.0, 1.0, (4, 5), DType::F64, &CPU)?)?)
}

#[test]
fn every_backward_pass_over_one_graph_finds_the_same() -> Result<()> {
    let x = logits()?;
    for reduction in [Reduction::None, Reduction::Mean] {
        for loss in each_loss(&x, reduction)? {
            let total = (loss.sum_all()? * 3.0)?;
            let gradient =
                || -> Result<Tensor> { Ok(total.backward()?.remove(&x).expect("a gradient")) };
            let first = gradient()?;
            assert_close(&gradient()?, &first, 1e-14);
            assert_close(&gradient()?, &first, 1e-14);
        }
    }
    Ok(())
}

#[test]
fn gradients_in_place_are_those_of_candle() -> Result<()> {
    let x = logits()?;
    for loss in each_loss(&x, Reduction::Mean)? {
        let expected = loss.backward()?.remove(&x).expect("a gradient");
        let mut gradients = Gradients::new([&x])?;
        gradients.backward(&loss)?;
        assert_close(&gradients.gradient(&x)?.expect("a gradient"), &expected, 1e-14);
        gradients.accumulate(&loss)?;
        let twice = gradients.gradient(&x)?.expect("a gradient");
        assert_close(&twice, &(&expected * 2.0)?, 1e-14);
        gradients.backward(&(loss * 2.0)?)?;
        assert_close(&gradients.gradient(&x)?.expect("a gradient"), &twice, 1e-14);
    }
    Ok(())
}

#[test]
fn views_are_as_good_as_copies() -> Result<()> {
    let x = logits()?;
    let wide =
        Var::from_tensor(&Tensor::cat(&[x.as_tensor(), x.as_tensor()], 1)?.t()?.contiguous()?)?;
    let view = wide.narrow(0, 5, 5)?.t()?;
    assert!(!view.is_contiguous());
    for (there, here) in
        each_loss(&view, Reduction::Sum)?.iter().zip(each_loss(&x, Reduction::Sum)?)
    {
        assert_close(there, &here, 1e-14);
        let gradient = there.backward()?.remove(&wide).expect("a gradient");
        let expected = here.backward()?.remove(&x).expect("a gradient").t()?;
        assert_close(&gradient.narrow(0, 5, 5)?, &expected.contiguous()?, 1e-14);
        let none = gradient.narrow(0, 0, 5)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        assert_eq!(none, 0.0);
    }
    Ok(())
}
