//! Counting beyond the blocks: sharing, receptive fields, tables, budgets, errors.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::ModuleT;
use taper_bottleneck::{
    BasicBlockConfig, BottleneckConfig, Budget, Cost, Counted, Counter, Flow, ReceptiveField,
    basic_block, bottleneck, meta, summary, trace, width_for,
};
use taper_core::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, Conv2d, Conv2dConfig, Linear, LinearConfig,
    MaxPool2d, MaxPool2dConfig, Parameters, Result, add, conv2d, linear, stream,
};

const CPU: Device = Device::Cpu;

/// A stem, a way around a strided convolution, a head.
struct Net {
    stem: Conv2d,
    pool: MaxPool2d,
    long: Conv2d,
    short: Conv2d,
    average: AdaptiveAvgPool2d,
    head: Linear,
}

impl Net {
    fn new(vb: candle_nn::VarBuilder) -> Result<Self> {
        let config = |stride: usize, padding: usize| Conv2dConfig {
            stride: stride.into(),
            padding: padding.into(),
            activation: Activation::Relu,
            ..Default::default()
        };
        let pool =
            MaxPool2dConfig { padding: 1.into(), stride: Some(2.into()), ..Default::default() };
        Ok(Self {
            stem: conv2d(3, 4, 7, config(2, 3), vb.pp("stem"))?,
            pool: MaxPool2d::new(3, pool)?,
            long: conv2d(4, 4, 3, config(2, 1), vb.pp("long"))?,
            short: conv2d(4, 4, 1, config(2, 0), vb.pp("short"))?,
            average: AdaptiveAvgPool2d::new(1)?,
            head: linear(4, 10, LinearConfig::default(), vb.pp("head"))?,
        })
    }

    fn features(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.pool.forward(&self.stem.forward(x)?)?;
        Ok(add(&self.long.forward(&x)?, &self.short.forward(&x)?, Activation::Relu)?)
    }
}

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, _train: bool) -> candle_core::Result<Tensor> {
        self.head.forward(&self.average.forward(&self.features(x)?)?.flatten_from(1)?)
    }
}

impl Counted for Net {
    fn kind(&self) -> &'static str {
        "Net"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let x = counter.layer("stem", &self.stem, x)?;
        let x = counter.layer("pool", &self.pool, &x)?;
        let long = counter.layer("long", &self.long, &x)?;
        let short = counter.layer("short", &self.short, &x)?;
        let x = counter.sum(&long, Some(&short), Activation::Relu)?;
        let x = counter.layer("average", &self.average, &x)?.flattened();
        counter.layer("head", &self.head, &x)
    }
}

#[test]
fn a_network_by_hand() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let net = Net::new(parameters.builder(DType::F32, &CPU))?;
    let summary = summary(&net, &[2, 3, 32, 32])?;
    let total = summary.total;
    let cost = total.cost;
    assert_eq!(cost.parameters, (147 * 4 + 4) + (36 * 4 + 4) + (16 + 4) + 50);
    // Two images; maps of 16², 8² and 4².
    assert_eq!(cost.macs, 2 * (147 * 4 * 256 + 36 * 4 * 16 + 16 * 16 + 40));
    let elements = [4 * 256, 4 * 64, 4 * 16, 4 * 16, 4 * 16, 4, 10];
    assert_eq!(cost.activations, 2 * elements.iter().sum::<u64>());
    let with_bias_and_rectifier = 2 * (4 * 256 + 4 * 16 + 4 * 16) * 2;
    let pool = 2 * 9 * 4 * 64;
    let (sum, average, head) = (2 * 2 * 4 * 16, 2 * 4 * 16, 2 * 10);
    assert_eq!(cost.flops, 2 * cost.macs + with_bias_and_rectifier + pool + sum + average + head);
    assert_eq!((cost.nonlinearities, total.depth), (4, 3));
    assert_eq!(total.receptive_field, Some(ReceptiveField::Whole));
    // 7; 3 more steps of 2; 2 more of 4 on the longer way.
    let field =
        |name: &str| summary.rows.iter().find(|row| row.name == name).unwrap().receptive_field;
    let pixels = |size| Some(ReceptiveField::Pixels { height: size, width: size });
    assert_eq!((field("stem"), field("pool")), (pixels(7), pixels(11)));
    assert_eq!((field("long"), field("short")), (pixels(19), pixels(11)));
    let x = Tensor::ones((2, 3, 32, 32), DType::F32, &CPU)?;
    assert_eq!(trace(&x, |x| net.forward_t(x, false))?, total);
    Ok(())
}

/// The rows of x on which a place in the middle of the features depends, seen from its gradient.
#[test]
fn the_receptive_field_is_what_gradients_reach() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let net = Net::new(parameters.builder(DType::F64, &CPU))?;
    let x = stream(1, "x").normal(0.0, 1.0, (8, 3, 64, 64), DType::F64, &CPU)?;
    let x = candle_core::Var::from_tensor(&x)?;
    let features = net.features(&x)?;
    let middle = features.narrow(2, 4, 1)?.narrow(3, 4, 1)?.sum_all()?;
    let gradients = middle.backward()?;
    let reached = gradients.get(&x).unwrap().abs()?.sum(0)?.sum(0)?;
    for axis in [0, 1] {
        let reached = reached.sum(axis)?.to_vec1::<f64>()?;
        let first = reached.iter().position(|it| *it > 0.0).unwrap();
        let last = reached.iter().rposition(|it| *it > 0.0).unwrap();
        assert_eq!(last - first + 1, 19);
    }
    let traced = trace(&x, |x| net.features(x))?;
    assert_eq!(traced.receptive_field, Some(ReceptiveField::Pixels { height: 19, width: 19 }));
    Ok(())
}

/// The same layer twice.
struct Twice(Linear);

impl Counted for Twice {
    fn kind(&self) -> &'static str {
        "Twice"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let x = counter.layer("first", &self.0, x)?;
        counter.layer("second", &self.0, &x)
    }
}

#[test]
fn a_shared_weight_counts_once_and_works_twice() -> Result<()> {
    let parameters = Parameters::new(&stream(0, "init"));
    let vb = parameters.builder(DType::F32, &CPU);
    let net = Twice(linear(6, 6, LinearConfig::default(), vb)?);
    let summary = summary(&net, &[1, 6])?;
    assert_eq!((summary.total.cost.parameters, summary.total.cost.macs), (42, 72));
    assert_eq!((summary.rows[0].cost.parameters, summary.rows[1].cost.parameters), (42, 0));
    let x = Tensor::ones((1, 6), DType::F32, &CPU)?;
    assert_eq!(trace(&x, |x| net.0.forward(&net.0.forward(x)?))?, summary.total);
    Ok(())
}

#[test]
fn a_table_for_people_one_for_pages_and_one_for_programs() -> Result<()> {
    let block =
        basic_block(2, 4, BasicBlockConfig { stride: 2, ..Default::default() }, meta(DType::F32))?;
    let summary = summary(&block, &[1, 2, 8, 8])?;
    let printed = summary.to_string();
    for part in ["BasicBlock, input [1, 2, 8, 8]", "conv1", "  0", "parameters        248"] {
        assert!(printed.contains(part), "{part} in\n{printed}");
    }
    let markdown = summary.to_markdown();
    let lines: Vec<&str> = markdown.lines().collect();
    assert!(lines[0].starts_with("| layer") && lines[1].starts_with("|--"), "{markdown}");
    assert_eq!(lines.len(), 2 + summary.rows.len() + 1);
    let json: serde_json::Value = serde_json::from_str(&summary.to_json()?).unwrap();
    assert_eq!(json["total"]["parameters"], 248);
    assert_eq!(json["rows"][0]["output"], serde_json::json!([1, 4, 4, 4]));
    assert_eq!(json["total"]["receptive_field"]["pixels"]["height"], 7);
    Ok(())
}

#[test]
fn bytes_of_what_a_step_holds() {
    let cost = Cost { parameters: 10, activations: 100, ..Default::default() };
    assert_eq!(cost.activation_bytes(DType::F32), 400);
    assert_eq!(cost.activation_bytes(DType::BF16), 200);
    assert_eq!(cost.training_bytes(DType::F64), 800 + 160);
}

#[test]
fn the_width_within_a_budget_is_the_largest() -> Result<()> {
    let cost = |width: usize| {
        let block = bottleneck(width, width, BottleneckConfig::default(), meta(DType::F32))?;
        Ok(summary(&block, &[1, width, 8, 8])?.total.cost)
    };
    let budget = Budget::Parameters(1_000_000);
    let width = width_for(budget, 4, cost)?;
    assert!(cost(width)?.parameters <= 1_000_000 && cost(width + 4)?.parameters > 1_000_000);
    let exact = cost(64)?.macs;
    assert_eq!(width_for(Budget::Macs(exact), 4, cost)?, 64);
    assert_eq!(width_for(Budget::Macs(exact - 1), 4, cost)?, 60);
    let error = |budget, multiple_of| width_for(budget, multiple_of, cost).unwrap_err().to_string();
    assert_eq!(
        error(Budget::Parameters(3), 4),
        "width_for: budget should be a budget that a width of 4 meets, got Parameters(3)"
    );
    assert_eq!(error(budget, 0), "width_for: multiple_of should be at least 1, got 0");
    let free = width_for(budget, 1, |_| Ok(Cost::default())).unwrap_err().to_string();
    assert!(free.contains("a budget that some width below 2^32 exceeds"), "{free}");
    Ok(())
}

#[test]
fn an_input_that_does_not_fit_names_the_layer() -> Result<()> {
    let message =
        |layer: &dyn Counted, dims: &[usize]| summary(layer, dims).unwrap_err().to_string();
    let conv = conv2d(3, 4, 7, Conv2dConfig::default(), meta(DType::F32))?;
    assert_eq!(
        message(&conv, &[1, 3, 5, 9]),
        "Conv2d: x should be at least 7 rows and columns with padding, as the window has, got 5, which is 5 with padding"
    );
    assert_eq!(
        message(&conv, &[1, 2, 9, 9]),
        "Conv2d: x should be 3 channels, got shape [1, 2, 9, 9]"
    );
    assert!(message(&conv, &[3, 9]).contains("an image (batch, channels, height, width)"));
    assert!(
        message(&AvgPool2d::new(2, Default::default())?, &[1, 2, 1, 4]).starts_with("AvgPool2d: x")
    );
    assert!(message(&conv, &[]).contains("a shape with a batch axis"));
    assert!(message(&conv, &[0, 3, 9, 9]).contains("no axis of 0"));
    let head = linear(4, 2, LinearConfig::default(), meta(DType::F32))?;
    assert_eq!(
        message(&head, &[2, 5]),
        "Linear: x should be 4 features in the last axis, got shape [2, 5]"
    );
    Ok(())
}
