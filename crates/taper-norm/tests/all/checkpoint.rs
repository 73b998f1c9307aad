//! A state dict that `torch.save` wrote.

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor, pickle};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::testing::{Case, assert_close, goldens};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, Linear, LinearConfig, Parameters, Result, conv2d, linear,
    stream,
};
use taper_norm::{
    BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Momentum, batch_norm, layer_norm,
};

use crate::steps::tolerance;

const CHECKPOINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/checkpoint.pt");

struct Net {
    conv: Conv2d,
    bn: BatchNorm,
    fc: Linear,
    norm: LayerNorm,
    head: (Linear, BatchNorm),
}

impl Net {
    fn new(vb: VarBuilder) -> Result<Self> {
        let config = BatchNormConfig { activation: Activation::Relu, ..Default::default() };
        let cumulative = BatchNormConfig { momentum: Momentum::Cumulative, ..Default::default() };
        let of_head = vb.pp("head");
        let head = linear(6, 3, LinearConfig::default(), of_head.pp(0))?;
        Ok(Self {
            conv: conv2d(1, 4, 3, Conv2dConfig::default(), vb.pp("conv"))?,
            bn: batch_norm(4, config, vb.pp("bn"))?,
            fc: linear(36, 6, LinearConfig::default(), vb.pp("fc"))?,
            norm: layer_norm(6, LayerNormConfig::default(), vb.pp("norm"))?,
            head: (head, batch_norm(3, cumulative, of_head.pp(1))?),
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let hidden = self.bn.forward_t(&self.conv.forward(x)?, train)?.flatten_from(1)?;
        let hidden = self.norm.forward(&self.fc.forward(&hidden)?)?;
        Ok(self.head.1.forward_t(&self.head.0.forward(&hidden)?, train)?)
    }
}

fn case() -> Result<Case> {
    Ok(goldens(include_str!("../golden/checkpoint.json"))?.remove(0))
}

fn check(net: &Net, case: &Case, dtype: DType) -> Result<()> {
    let y = net.forward(&case.tensor("x", dtype)?, false)?;
    assert_close(&y, &case.tensor("y", dtype)?, tolerance(case, "y", dtype)?);
    for (norm, name) in [(&net.bn, "bn"), (&net.head.1, "head.1")] {
        let running = norm.running_statistics().expect("kept");
        let expected = |entry: &str, dtype| case.tensor(&format!("{name}.{entry}"), dtype);
        assert_close(&running.mean, &expected("running_mean", dtype)?, 0.0);
        assert_close(&running.variance, &expected("running_var", dtype)?, 0.0);
        let batches = expected("num_batches_tracked", DType::I64)?.to_scalar::<i64>()?;
        assert_eq!((running.num_batches_tracked.to_scalar::<i64>()?, batches), (2, 2));
    }
    Ok(())
}

#[test]
fn a_var_builder_reads_it() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let vb = VarBuilder::from_pth(CHECKPOINT, dtype, &Device::Cpu)?;
        check(&Net::new(vb)?, &case()?, dtype)?;
    }
    Ok(())
}

#[test]
fn parameters_load_it_and_training_goes_on() -> Result<()> {
    let case = case()?;
    let parameters = Parameters::new(&stream(0, "init"));
    let net = Net::new(parameters.builder(DType::F32, &Device::Cpu))?;
    let state: HashMap<String, Tensor> = pickle::read_all(CHECKPOINT)?.into_iter().collect();
    let mut names = case.texts("names")?;
    names.sort_unstable();
    let mut ours: Vec<String> = parameters.all().into_iter().map(|(name, _)| name).collect();
    ours.sort_unstable();
    assert_eq!(ours, names);
    parameters.load(&state)?;
    check(&net, &case, DType::F32)?;

    // After two batches the third is a third of the plain average.
    let running = net.head.1.running_statistics().expect("kept");
    let before = running.mean.copy()?;
    let third = Tensor::new(&[[1f32, 2.0, 3.0], [3.0, -4.0, 5.0]], &Device::Cpu)?;
    net.head.1.forward_t(&third, true)?;
    let expected = (((before * 2.0)? + third.mean(0)?)? / 3.0)?;
    assert_close(&running.mean, &expected, 1e-6);
    assert_eq!(running.num_batches_tracked.to_scalar::<i64>()?, 3);
    Ok(())
}
