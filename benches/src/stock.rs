//! The peer candle-nn: the work as its users write it.

use candle_core::{DType, Device, Module, Result, Shape, Tensor, Var};
use candle_nn::{AdamW, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap};

use crate::inputs::{
    ELEMENTS, IMAGES, LOGITS, Surroundings, Upstream, VIEWS, WIDTHS, labels, layer, loss, noise,
    pixels, probabilities, product,
};
use crate::peer::{Failure, Introduction, Wanted, Work, hold};

const CPU: Device = Device::Cpu;

/// Who the peer is.
pub fn introduction() -> Introduction {
    Introduction {
        name: "candle-nn",
        version: version().to_owned(),
        settings: vec![("allocator", "mimalloc".to_owned())],
    }
}

/// A network of candle's operations.
struct Stock;

impl Surroundings for Stock {
    fn rectifier(x: &Tensor) -> Result<Tensor> {
        x.relu()
    }

    fn rest(y: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        y.apply_op1(Upstream(gradient.clone()))
    }
}

/// What Cargo.lock says.
fn version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let package = lock.split_once("name = \"candle-nn\"\nversion = \"");
    package.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

/// Builds a work.
pub fn build(wanted: &Wanted) -> std::result::Result<Work, Failure> {
    let batch = wanted.batch;
    let work = match wanted.work.as_str() {
        "gemm_256" => product(256),
        "gemm_512" => product(512),
        "gemm_1024" => product(1024),
        "gemm_2048" => product(2048),
        "batch_norm_1d" => batch_norm((256, 512), 512),
        "batch_norm_2d" => batch_norm(IMAGES, 64),
        "batch_norm_2d_relu" => batch_norm_relu(false),
        "batch_norm_2d_add_relu" => batch_norm_relu(true),
        "layer_norm" => layer_norm(false),
        "layer_norm_add" => layer_norm(true),
        "rms_norm" => rms_norm(),
        "group_norm" => group_norm(false),
        "group_norm_relu" => group_norm(true),
        "local_response_norm" => layer::<Stock, _>(IMAGES, local_response_norm),
        // Not in candle-nn.
        "instance_norm" | "channel_layer_norm" | "spectral_norm" | "weight_norm" => {
            return Err(format!("not in candle-nn: {}", wanted.work).into());
        }
        "cross_entropy" => cross_entropy(),
        "bce_with_logits" => elementwise(candle_nn::loss::binary_cross_entropy_with_logit),
        "mse" => elementwise(candle_nn::loss::mse),
        "mae" => elementwise(|x, target| (x - target)?.abs()?.mean_all()),
        "huber" => elementwise(|x, target| candle_nn::loss::huber(x, target, 1.0)),
        "sigmoid_focal" => elementwise(sigmoid_focal),
        "kl_div" => kl_div(),
        "nt_xent" => nt_xent(),
        "conv_1x1" => convolution(1, 256, 0, 1),
        "conv_3x3" => convolution(3, 64, 1, 1),
        "conv_3x3_stride_2" => convolution(3, 64, 1, 2),
        "conv_1x1_stride_2" => convolution(1, 128, 0, 2),
        "conv_grouped" => grouped(3, 32, (64, 128, 16, 16)),
        "conv_depthwise" => grouped(3, 96, (64, 96, 16, 16)),
        "conv_depthwise_7x7" => grouped(7, 96, (64, 96, 8, 8)),
        "conv_transposed" => transposed_convolution(),
        "mlp" => mlp(batch),
        "deep_ae" => deep_autoencoder(batch),
        "conv_ae" => convolutional_autoencoder(batch),
        "bottleneck" => bottleneck(batch),
        "adamw_3m" => adamw(),
        other => return Err(format!("no work {other:?}").into()),
    };
    Ok(work?)
}

fn variables() -> (VarMap, VarBuilder<'static>) {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    (variables, vb)
}

fn batch_norm(shape: impl Into<Shape>, channels: usize) -> Result<Work> {
    let (_, vb) = variables();
    let norm = candle_nn::batch_norm(channels, 1e-5, vb)?;
    layer::<Stock, _>(shape, move |x| norm.forward_t(x, true))
}

/// The slow form: candle's layer norm has no backward pass.
fn layer_norm(add: bool) -> Result<Work> {
    let (_, vb) = variables();
    let norm = candle_nn::layer_norm(512, 1e-5, vb)?;
    let bias = norm.bias().cloned().ok_or_else(|| candle_core::Error::msg("no bias"))?;
    let weight = norm.weight().clone();
    let residual = noise("residual", (4096, 512))?;
    layer::<Stock, _>((4096, 512), move |x| {
        let y = candle_nn::ops::layer_norm_slow(x, &weight, &bias, 1e-5)?;
        if add { y + &residual } else { Ok(y) }
    })
}

fn batch_norm_relu(add: bool) -> Result<Work> {
    let (_, vb) = variables();
    let norm = candle_nn::batch_norm(64, 1e-5, vb)?;
    let residual = noise("residual", IMAGES)?;
    layer::<Stock, _>(IMAGES, move |x| {
        let y = norm.forward_t(x, true)?;
        if add { (y + &residual)?.relu() } else { y.relu() }
    })
}

/// The slow form: candle's RMS norm has no backward pass.
fn rms_norm() -> Result<Work> {
    let (_, vb) = variables();
    let weight = vb.get_with_hints(512, "weight", candle_nn::Init::Const(1.0))?;
    layer::<Stock, _>((4096, 512), move |x| candle_nn::ops::rms_norm_slow(x, &weight, 1e-7))
}

fn group_norm(rectify: bool) -> Result<Work> {
    let (_, vb) = variables();
    let norm = candle_nn::group_norm(32, 64, 1e-5, vb)?;
    layer::<Stock, _>(IMAGES, move |x| {
        let y = norm.forward(x)?;
        if rectify { y.relu() } else { Ok(y) }
    })
}

/// Not in candle-nn: as its users write it, over five channels.
fn local_response_norm(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let squares = x.sqr()?.pad_with_zeros(1, 2, 2)?;
    let mut sums = squares.narrow(1, 0, channels)?;
    for neighbour in 1..5 {
        sums = (sums + squares.narrow(1, neighbour, channels)?)?;
    }
    x / sums.affine(1e-4 / 5.0, 1.0)?.powf(0.75)?
}

fn cross_entropy() -> Result<Work> {
    let labels = labels(LOGITS.0, LOGITS.1 as u64)?;
    loss(LOGITS, move |x| candle_nn::loss::cross_entropy(x, &labels))
}

fn elementwise(value: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'static) -> Result<Work> {
    let target = pixels("target", ELEMENTS)?;
    loss(ELEMENTS, move |x| value(x, &target))
}

/// Not in candle-nn: as its users write it, on its binary cross-entropy's stable form.
fn sigmoid_focal(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let p = candle_nn::ops::sigmoid(x)?;
    let log_loss = ((x.relu()? - (x * target)?)? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let opposite = (1.0 - target)?;
    let miss = ((&p * &opposite)? + ((1.0 - &p)? * target)?)?;
    let alpha = ((target * 0.25)? + (opposite * 0.75)?)?;
    (alpha * (miss.sqr()? * log_loss)?)?.mean_all()
}

/// Not in candle-nn.
fn kl_div() -> Result<Work> {
    let target = probabilities("target", LOGITS)?;
    loss(LOGITS, move |x| {
        let log_p = candle_nn::ops::log_softmax(x, 1)?;
        (&target * (target.log()? - log_p)?)?.sum_all()? / LOGITS.0 as f64
    })
}

/// Not in candle-nn.
fn nt_xent() -> Result<Work> {
    let second = noise("second", VIEWS)?;
    let pairs = VIEWS.0;
    let partners: Vec<u32> = (0..2 * pairs).map(|at| ((at + pairs) % (2 * pairs)) as u32).collect();
    let partners = Tensor::new(partners, &CPU)?;
    let itself = (Tensor::eye(2 * pairs, DType::F32, &CPU)? * -1e9)?;
    loss(VIEWS, move |first| {
        let z = Tensor::cat(&[first, &second], 0)?;
        let z = z.broadcast_div(&z.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let logits = ((z.matmul(&z.t()?)? / 0.1)? + &itself)?;
        candle_nn::loss::cross_entropy(&logits, &partners)
    })
}

fn conv(
    (inputs, outputs): (usize, usize),
    kernel: usize,
    padding: usize,
    stride: usize,
    vb: VarBuilder,
) -> Result<candle_nn::Conv2d> {
    let config = candle_nn::Conv2dConfig { padding, stride, ..Default::default() };
    candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, vb)
}

fn convolution(kernel: usize, outputs: usize, padding: usize, stride: usize) -> Result<Work> {
    let (_, vb) = variables();
    let conv = conv((64, outputs), kernel, padding, stride, vb)?;
    layer::<Stock, _>(IMAGES, move |x| conv.forward(x))
}

/// A convolution in groups that keeps the shape of the images.
fn grouped(kernel: usize, groups: usize, images: (usize, usize, usize, usize)) -> Result<Work> {
    let (_, vb) = variables();
    let config = candle_nn::Conv2dConfig { padding: kernel / 2, groups, ..Default::default() };
    let conv = candle_nn::conv2d_no_bias(images.1, images.1, kernel, config, vb)?;
    layer::<Stock, _>(images, move |x| conv.forward(x))
}

const DOUBLING: candle_nn::ConvTranspose2dConfig =
    candle_nn::ConvTranspose2dConfig { padding: 1, output_padding: 0, stride: 2, dilation: 1 };

fn transposed_convolution() -> Result<Work> {
    let (_, vb) = variables();
    let conv = candle_nn::conv_transpose2d_no_bias(64, 32, 4, DOUBLING, vb)?;
    layer::<Stock, _>((64, 64, 8, 8), move |x| conv.forward(x))
}

/// Steps of AdamW on all variables, as candle's examples train. (That includes the running statistics
/// of a norm, to which no gradient comes.)
fn training(variables: &VarMap, loss: impl Fn() -> Result<Tensor> + 'static) -> Result<Work> {
    hold();
    let config = ParamsAdamW { lr: 1e-4, ..Default::default() };
    let mut optimizer = AdamW::new(variables.all_vars(), config)?;
    Ok(Work::new(move || optimizer.backward_step(&loss()?)))
}

fn mlp(batch: usize) -> Result<Work> {
    let (variables, vb) = variables();
    let mut hidden = Vec::new();
    for (at, inputs) in [(1, 784), (2, 512)] {
        let layer = candle_nn::linear(inputs, 512, vb.pp(format!("fc{at}")))?;
        hidden.push((layer, candle_nn::batch_norm(512, 1e-5, vb.pp(format!("bn{at}")))?));
    }
    let output = candle_nn::linear(512, 10, vb.pp("fc3"))?;
    let (images, labels) = (pixels("images", (batch, 784))?, labels(batch, 10)?);
    training(&variables, move || {
        let mut x = images.clone();
        for (layer, norm) in &hidden {
            x = norm.forward_t(&layer.forward(&x)?, true)?.relu()?;
        }
        candle_nn::loss::cross_entropy(&output.forward(&x)?, &labels)
    })
}

fn deep_autoencoder(batch: usize) -> Result<Work> {
    let (variables, vb) = variables();
    let mut layers = Vec::new();
    for (at, widths) in WIDTHS.windows(2).enumerate() {
        layers.push(candle_nn::linear(widths[0], widths[1], vb.pp(format!("fc{at}")))?);
    }
    let images = pixels("images", (batch, 784))?;
    training(&variables, move || {
        let mut x = images.clone();
        for (at, layer) in layers.iter().enumerate() {
            x = layer.forward(&x)?;
            x = match at {
                3 => x,
                7 => candle_nn::ops::sigmoid(&x)?,
                _ => x.relu()?,
            };
        }
        candle_nn::loss::mse(&x, &images)
    })
}

fn convolutional_autoencoder(batch: usize) -> Result<Work> {
    let (variables, vb) = variables();
    let halving = candle_nn::Conv2dConfig { padding: 1, stride: 2, ..Default::default() };
    let down = [
        candle_nn::conv2d(1, 16, 3, halving, vb.pp("down1"))?,
        candle_nn::conv2d(16, 32, 3, halving, vb.pp("down2"))?,
    ];
    let up = candle_nn::conv_transpose2d(32, 16, 4, DOUBLING, vb.pp("up1"))?;
    let last = candle_nn::conv_transpose2d(16, 1, 4, DOUBLING, vb.pp("up2"))?;
    let images = pixels("images", (batch, 1, 28, 28))?;
    training(&variables, move || {
        let mut x = images.clone();
        for conv in &down {
            x = conv.forward(&x)?.relu()?;
        }
        let x = candle_nn::ops::sigmoid(&last.forward(&up.forward(&x)?.relu()?)?)?;
        candle_nn::loss::mse(&x, &images)
    })
}

fn bottleneck(batch: usize) -> Result<Work> {
    let (variables, vb) = variables();
    let mut layers = Vec::new();
    for (at, channels, kernel) in [(1, (256, 64), 1), (2, (64, 64), 3), (3, (64, 256), 1)] {
        let conv = conv(channels, kernel, kernel / 2, 1, vb.pp(format!("conv{at}")))?;
        layers.push((conv, candle_nn::batch_norm(channels.1, 1e-5, vb.pp(format!("bn{at}")))?));
    }
    let input = Var::from_tensor(&noise("input", (batch, 256, 16, 16))?)?;
    training(&variables, move || {
        let mut x = input.as_tensor().clone();
        for (at, (conv, norm)) in layers.iter().enumerate() {
            x = norm.forward_t(&conv.forward(&x)?, true)?;
            x = if at == 2 { (x + input.as_tensor())?.relu()? } else { x.relu()? };
        }
        x.sqr()?.mean_all()
    })
}

fn adamw() -> Result<Work> {
    let mut parameters = Vec::new();
    let mut loss = Tensor::new(0f32, &CPU)?;
    for name in ["a", "b", "c"] {
        let parameter = Var::from_tensor(&noise(name, (1000, 1000))?)?;
        loss = (loss + parameter.sqr()?.mean_all()?)?;
        parameters.push(parameter);
    }
    let gradients = loss.backward()?;
    let mut optimizer = AdamW::new(parameters, ParamsAdamW { lr: 1e-4, ..Default::default() })?;
    Ok(Work::new(move || optimizer.step(&gradients)))
}
