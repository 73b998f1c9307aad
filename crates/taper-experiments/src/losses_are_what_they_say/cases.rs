//! One random case of each identity: the loss on one side, the definition on the other. The value is
//! the error, relative to the right-hand side where that is above 1.

use candle_core::{Device, Tensor, Var};
use taper_core::{Error, Result, Stream};
use taper_losses::{
    ClassOptions, Distribution, Gaussian, KlDirection, KlDivOptions, LossOptions, Reduction,
    Target, cross_entropy, gaussian_kl as loss_of_gaussians, kl_div, mae, mse,
};

/// A row a sample, a column a class.
type Rows = Vec<Vec<f64>>;

const CLASSES: usize = 7;
const SAMPLES: usize = 8;

/// CE(p, q) = H(p) + KL(p ‖ q), with soft targets p and q the softmax of random logits.
pub(super) fn entropy_plus_kl(cases: &mut Stream) -> Result<f64> {
    let logits = random_logits(cases);
    let targets = softmax(&random_logits(cases));
    let p = tensor(&targets)?;
    let loss: Vec<f64> =
        cross_entropy(&tensor(&logits)?, Target::Probabilities(&p), &reduced(Reduction::None))?
            .to_vec1()?;
    let q = softmax(&logits);
    let errors = targets.iter().zip(&q).zip(loss).map(|((p, q), loss)| {
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        let kl: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        relative(loss, entropy + kl)
    });
    Ok(largest(errors))
}

/// KL(t ‖ p) and KL(p ‖ t), each asked for by its direction, with p the softmax of random logits. For the first, a class
/// of each target has the probability 0, and 0 log 0 is 0.
pub(super) fn kl_has_an_order(cases: &mut Stream) -> Result<f64> {
    let logits = random_logits(cases);
    let of = |targets: &Rows, direction| -> Result<Vec<f64>> {
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = KlDivOptions { direction, loss, ..Default::default() };
        let (logits, targets) = (tensor(&logits)?, tensor(targets)?);
        let (input, target) =
            (Distribution::Logits(&logits), Distribution::Probabilities(&targets));
        Ok(kl_div(input, target, &options)?.to_vec1()?)
    };
    let divergence = |from: &[f64], to: &[f64]| -> f64 {
        from.iter().zip(to).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum()
    };
    let probabilities = softmax(&logits);
    let positive = softmax(&random_logits(cases));
    let mut with_zeros = positive.clone();
    for row in &mut with_zeros {
        let none = cases.below(CLASSES as u64) as usize;
        let rest = 1.0 - row[none];
        row[none] = 0.0;
        row.iter_mut().for_each(|p| *p /= rest);
    }
    let from_target = of(&with_zeros, KlDirection::TargetFromInput)?;
    let from_input = of(&positive, KlDirection::InputFromTarget)?;
    let errors = (0..SAMPLES).flat_map(|row| {
        let p = &probabilities[row];
        [
            relative(from_target[row], divergence(&with_zeros[row], p)),
            relative(from_input[row], divergence(p, &positive[row])),
        ]
    });
    Ok(largest(errors))
}

/// BCE(z, y) = CE([0, z], y): the binary loss is the two-class one with the other logit at 0.
pub(super) fn binary_is_two_class(cases: &mut Stream) -> Result<f64> {
    let z: Vec<f64> = (0..SAMPLES).map(|_| 4.0 * cases.standard_normal()).collect();
    let y: Vec<u32> = (0..SAMPLES).map(|_| cases.below(2) as u32).collect();
    let pairs: Vec<f64> = z.iter().flat_map(|z| [0.0, *z]).collect();
    let logits = Tensor::from_vec(pairs, (SAMPLES, 2), &Device::Cpu)?;
    let target = Tensor::new(y.clone(), &Device::Cpu)?;
    let loss: Vec<f64> =
        cross_entropy(&logits, Target::Indices(&target), &reduced(Reduction::None))?.to_vec1()?;
    // 1 - σ(z) is written as σ(-z): the difference would lose the digits that are compared.
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let errors = z.iter().zip(&y).zip(loss).map(|((z, y), loss)| {
        let definition = if *y == 1 { -sigmoid(*z).ln() } else { -sigmoid(-z).ln() };
        relative(loss, definition)
    });
    Ok(largest(errors))
}

/// dCE/dz = p - y, one row a sample.
pub(super) fn gradient_is_p_minus_y(cases: &mut Stream) -> Result<f64> {
    let (logits, labels, gradient) = gradient_of_cross_entropy(cases)?;
    let errors =
        softmax(&logits).into_iter().zip(labels).zip(gradient).flat_map(|((p, label), row)| {
            let pairs: Vec<(f64, f64)> = p.into_iter().zip(row).collect();
            pairs
                .into_iter()
                .enumerate()
                .map(move |(class, (p, gradient))| gradient - (p - f64::from(class == label)))
        });
    Ok(largest(errors))
}

/// How far any logit is pushed the wrong way: descent moves against the gradient, so the target's must
/// be negative and all others positive.
pub(super) fn target_up_others_down(cases: &mut Stream) -> Result<f64> {
    let (_, labels, gradient) = gradient_of_cross_entropy(cases)?;
    let wrong = labels.into_iter().zip(gradient).flat_map(|(label, row)| {
        row.into_iter().enumerate().map(move |(class, gradient)| {
            if class == label { gradient.max(0.0) } else { (-gradient).max(0.0) }
        })
    });
    Ok(largest(wrong))
}

/// The distance from the mean after gradient descent on the MSE of one constant.
pub(super) fn mse_at_the_mean(cases: &mut Stream) -> Result<f64> {
    let values: Vec<f64> = (0..SAMPLES).map(|_| cases.standard_normal()).collect();
    let mean = values.iter().sum::<f64>() / SAMPLES as f64;
    let target = Tensor::new(values, &Device::Cpu)?;
    let constant = Var::new(&[10.0 * cases.standard_normal()], &Device::Cpu)?;
    // The gradient is 2 (c - mean): each step leaves a fifth of the distance.
    for _ in 0..40 {
        let predicted = constant.broadcast_as(SAMPLES)?;
        let gradient = mse(&predicted, &target, &LossOptions::default())?.backward()?;
        if let Some(gradient) = gradient.get(&constant) {
            constant.set(&(constant.as_tensor() - (gradient * 0.4)?)?)?;
        }
    }
    let found: Vec<f64> = constant.to_vec1()?;
    Ok(largest(found.into_iter().map(|found| relative(found, mean))))
}

/// How far the mean absolute error anywhere else falls below the one at the median.
pub(super) fn mae_at_the_median(cases: &mut Stream) -> Result<f64> {
    let mut values: Vec<f64> = (0..2 * SAMPLES + 1).map(|_| cases.standard_normal()).collect();
    values.sort_by(f64::total_cmp);
    let (median, count) = (values[SAMPLES], values.len());
    let target = Tensor::new(values, &Device::Cpu)?;
    let of = |at: f64| -> Result<f64> {
        let constant = Tensor::full(at, count, &Device::Cpu)?;
        Ok(mae(&constant, &target, &LossOptions::default())?.to_scalar()?)
    };
    let least = of(median)?;
    let elsewhere: Result<Vec<f64>> =
        (-300..=300).map(|step| of(f64::from(step) / 100.0)).collect();
    Ok(largest(elsewhere?.into_iter().map(|there| (least - there).max(0.0))))
}

/// The relative error of the Monte Carlo mean of ln p(x) - ln q(x), x ~ p, for two Gaussians, against the loss, which
/// has the closed form.
pub(super) fn gaussian_kl(cases: &mut Stream, draws: usize) -> Result<f64> {
    let (m1, m2) = (cases.standard_normal(), cases.standard_normal());
    let (s1, s2) = (0.5 + cases.unit(), 0.5 + cases.unit());
    let of = |value: f64| Tensor::new(&[value], &Device::Cpu);
    let (mean, log_variance) = (of(m1)?, of(2.0 * s1.ln())?);
    let (prior_mean, prior_log_variance) = (of(m2)?, of(2.0 * s2.ln())?);
    let input = Gaussian { mean: &mean, log_variance: &log_variance };
    let prior = Gaussian { mean: &prior_mean, log_variance: &prior_log_variance };
    let closed: f64 =
        loss_of_gaussians(input, Some(prior), &LossOptions::default())?.to_scalar()?;
    let log_density = |x: f64, mean: f64, std: f64| -((x - mean) / std).powi(2) / 2.0 - std.ln();
    let sum: f64 = (0..draws)
        .map(|_| m1 + s1 * cases.standard_normal())
        .map(|x| log_density(x, m1, s1) - log_density(x, m2, s2))
        .sum();
    // Relative to at least 1 nat: two like Gaussians have a KL near 0.
    Ok((sum / draws as f64 - closed) / closed.max(1.0))
}

/// Random logits and labels, and the gradient of the summed cross-entropy, a row a sample.
fn gradient_of_cross_entropy(cases: &mut Stream) -> Result<(Rows, Vec<usize>, Rows)> {
    let logits = random_logits(cases);
    let labels: Vec<usize> = (0..SAMPLES).map(|_| cases.below(CLASSES as u64) as usize).collect();
    let target: Vec<u32> = labels.iter().map(|label| *label as u32).collect();
    let target = Tensor::new(target, &Device::Cpu)?;
    let variable = Var::from_tensor(&tensor(&logits)?)?;
    let options = reduced(Reduction::Sum);
    let gradients = cross_entropy(&variable, Target::Indices(&target), &options)?.backward()?;
    let gradient = gradients
        .get(&variable)
        .ok_or_else(|| Error::argument("cross_entropy", "logits", "given a gradient", "none"))?
        .to_vec2()?;
    Ok((logits, labels, gradient))
}

fn random_logits(cases: &mut Stream) -> Rows {
    (0..SAMPLES).map(|_| (0..CLASSES).map(|_| 3.0 * cases.standard_normal()).collect()).collect()
}

/// The softmax of each row, from its definition: the logits here are small.
fn softmax(logits: &[Vec<f64>]) -> Rows {
    logits
        .iter()
        .map(|row| {
            let sum: f64 = row.iter().map(|logit| logit.exp()).sum();
            row.iter().map(|logit| logit.exp() / sum).collect()
        })
        .collect()
}

fn tensor(rows: &[Vec<f64>]) -> Result<Tensor> {
    let flat: Vec<f64> = rows.iter().flatten().copied().collect();
    Ok(Tensor::from_vec(flat, (rows.len(), CLASSES), &Device::Cpu)?)
}

fn reduced(reduction: Reduction) -> ClassOptions {
    let loss = LossOptions { reduction, ..Default::default() };
    ClassOptions { loss, ..Default::default() }
}

fn relative(found: f64, expected: f64) -> f64 {
    (found - expected) / expected.abs().max(1.0)
}

/// The largest magnitude; NaN if any is.
fn largest(errors: impl Iterator<Item = f64>) -> f64 {
    errors
        .map(f64::abs)
        .fold(0.0, |largest, error| if error > largest || error.is_nan() { error } else { largest })
}
