//! Draws value and gradient of each loss that is a function of one number, a file a loss, into a folder:
//!
//!     cargo run -p taper-losses --example curves -- FOLDER
//!
//! `cargo xtask catalogue` does, for docs/catalogue.md.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use candle_core::{DType, Device, Tensor, Var};
use taper_core::Result;
use taper_losses::*;
use taper_report::{Axis, Figure, Mark, Panel, Scale, svg};

/// Points of a curve.
const POINTS: usize = 121;

/// A loss as a function of one number.
struct Curve {
    /// The unit.
    name: &'static str,
    /// What the number is.
    x: &'static str,
    range: (f64, f64),
    /// The losses of the numbers (n).
    loss: Box<Loss>,
}

type Loss = dyn Fn(&Tensor) -> Result<Tensor>;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("the folder for the figures is missing")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    for curve in curves() {
        let figure = figure(&curve)?;
        for image in svg(&figure)? {
            fs::write(folder.join(format!("{}.svg", curve.name)), image)?;
        }
    }
    Ok(())
}

fn curves() -> Vec<Curve> {
    fn curve(
        name: &'static str,
        x: &'static str,
        range: (f64, f64),
        loss: impl Fn(&Tensor) -> Result<Tensor> + 'static,
    ) -> Curve {
        Curve { name, x, range, loss: Box::new(loss) }
    }
    let error = |name, loss: fn(&Tensor, &Tensor, LossOptions) -> Result<Tensor>| {
        let loss = move |x: &Tensor| loss(x, &x.zeros_like()?, each());
        curve(name, "input − target", (-3.0, 3.0), loss)
    };
    // Of two classes, the target's logit against 0.
    let logit = |name, loss: fn(&Tensor, &Tensor) -> Result<Tensor>| {
        let loss = move |x: &Tensor| {
            let logits = Tensor::stack(&[x, &x.zeros_like()?], 1)?;
            loss(&logits, &Tensor::zeros(x.dim(0)?, DType::U32, x.device())?)
        };
        curve(name, "the target's logit, the other's is 0", (-5.0, 5.0), loss)
    };
    // A yes: a target of 1.
    let positive = |name, loss: fn(&Tensor, &Tensor, LossOptions) -> Result<Tensor>| {
        let loss = move |x: &Tensor| loss(x, &x.ones_like()?, each());
        curve(name, "logit, target 1", (-5.0, 5.0), loss)
    };
    vec![
        error("mse", |x, y, loss| mse(x, y, &loss)),
        error("mae", |x, y, loss| mae(x, y, &loss)),
        error("huber", |x, y, loss| huber(x, y, &HuberOptions { loss, ..Default::default() })),
        error("smooth_l1", |x, y, loss| {
            smooth_l1(x, y, &SmoothL1Options { loss, ..Default::default() })
        }),
        error("log_cosh", |x, y, loss| log_cosh(x, y, &loss)),
        error("gaussian_nll", |x, y, loss| {
            gaussian_nll(x, y, &x.ones_like()?, &GaussianNllOptions { loss, ..Default::default() })
        }),
        error("quantile", |x, y, loss| quantile(x, y, &QuantileOptions { quantile: 0.9, loss })),
        curve("msle", "input, target 1", (0.0, 5.0), |x| msle(x, &x.ones_like()?, &each())),
        curve("poisson_nll", "log of the rate, target 2", (-2.0, 2.5), |x| {
            let options = PoissonNllOptions { loss: each(), ..Default::default() };
            poisson_nll(x, &x.ones_like()?.affine(2.0, 0.0)?, &options)
        }),
        positive("bce_with_logits", |x, y, loss| {
            bce_with_logits(x, y, &BceWithLogitsOptions { loss, ..Default::default() })
        }),
        positive("sigmoid_focal", |x, y, loss| {
            sigmoid_focal(x, y, &SigmoidFocalOptions { loss, ..Default::default() })
        }),
        positive("hinge", |x, y, loss| hinge(x, y, &HingeOptions { loss, ..Default::default() })),
        positive("squared_hinge", |x, y, loss| {
            squared_hinge(x, y, &SquaredHingeOptions { loss, ..Default::default() })
        }),
        positive("soft_margin", |x, y, loss| soft_margin(x, y, &loss)),
        curve("bce", "probability, target 1", (0.02, 1.0), |x| bce(x, &x.ones_like()?, &each())),
        curve("asymmetric", "logit, target 0", (-5.0, 5.0), |x| {
            let options = AsymmetricOptions { loss: each(), ..Default::default() };
            asymmetric(x, &x.zeros_like()?, &options)
        }),
        curve("nll", "log-probability of the target's class", (-5.0, 0.0), |x| {
            let labels = Tensor::zeros(x.dim(0)?, DType::U32, x.device())?;
            nll(&Tensor::stack(&[x, x], 1)?, Target::Indices(&labels), &of_classes())
        }),
        logit("cross_entropy", |x, y| cross_entropy(x, Target::Indices(y), &of_classes())),
        logit("focal", |x, y| {
            let options = FocalOptions { classes: of_classes(), ..Default::default() };
            focal(x, Target::Indices(y), &options)
        }),
        logit("generalized_cross_entropy", |x, y| {
            let options =
                GeneralizedCrossEntropyOptions { classes: of_classes(), ..Default::default() };
            generalized_cross_entropy(x, Target::Indices(y), &options)
        }),
        logit("poly1", |x, y| {
            let options = Poly1Options { classes: of_classes(), ..Default::default() };
            poly1(x, Target::Indices(y), &options)
        }),
        logit("symmetric_cross_entropy", |x, y| {
            let options =
                SymmetricCrossEntropyOptions { classes: of_classes(), ..Default::default() };
            symmetric_cross_entropy(x, Target::Indices(y), &options)
        }),
        logit("multi_margin", |x, y| {
            let options = MultiMarginOptions { classes: of_classes(), ..Default::default() };
            multi_margin(x, y, &options)
        }),
        curve("margin_ranking", "first − second, the first is better", (-3.0, 3.0), |x| {
            let options = MarginRankingOptions { loss: each(), ..Default::default() };
            margin_ranking(x, &x.zeros_like()?, &x.ones_like()?, &options)
        }),
        curve("hinge_embedding", "distance of what is not alike", (0.0, 2.0), |x| {
            let options = HingeEmbeddingOptions { loss: each(), ..Default::default() };
            hinge_embedding(x, &x.ones_like()?.neg()?, &options)
        }),
        curve("contrastive", "distance of what is not alike", (0.0, 2.0), |x| {
            let options = ContrastiveOptions { loss: each(), ..Default::default() };
            let first = x.unsqueeze(1)?;
            contrastive(&first, &first.zeros_like()?, &x.zeros_like()?, &options)
        }),
        curve("triplet_margin", "distance of the positive, the negative's is 2", (0.0, 4.0), |x| {
            let options = TripletMarginOptions { loss: each(), ..Default::default() };
            let (anchor, negative) = (x.zeros_like()?, x.ones_like()?.affine(2.0, 0.0)?);
            let [anchor, positive, negative] =
                [&anchor, x, &negative].map(|rows| rows.unsqueeze(1));
            triplet_margin(&anchor?, &positive?, &negative?, &options)
        }),
    ]
}

/// The loss of each number.
fn each() -> LossOptions {
    LossOptions { reduction: Reduction::None, ..Default::default() }
}

fn of_classes() -> ClassOptions {
    ClassOptions { loss: each(), ..Default::default() }
}

fn figure(curve: &Curve) -> Result<Figure> {
    let (low, high) = curve.range;
    let at = |point: usize| low + (high - low) * point as f64 / (POINTS - 1) as f64;
    let xs: Vec<f64> = (0..POINTS).map(at).collect();
    let x = Var::from_tensor(&Tensor::new(&xs[..], &Device::Cpu)?)?;
    let losses = (curve.loss)(&x)?;
    let gradients = losses.sum_all()?.backward()?;
    let gradient = gradients.get(&x).map_or_else(|| x.zeros_like(), |found| Ok(found.clone()))?;
    let line = |label: &str, ys: Vec<f64>| Mark::Line {
        label: label.to_owned(),
        points: xs.iter().copied().zip(ys).collect(),
    };
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear };
    let marks = vec![line("value", losses.to_vec1()?), line("gradient", gradient.to_vec1()?)];
    Ok(Figure {
        id: curve.name.replace('_', "-"),
        title: curve.name.to_owned(),
        caption: format!("Value and gradient of {} against {}.", curve.name, curve.x),
        panels: vec![Panel { title: String::new(), x: axis(curve.x), y: axis(""), marks }],
    })
}
