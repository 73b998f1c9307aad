use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{KlSparsityOptions, Reduction, kl_sparsity};

use crate::contract::normal;
use crate::golden;
use crate::penalty::{CPU, holds_for_a_penalty, scalar};

fn of(rho: f64) -> KlSparsityOptions {
    KlSparsityOptions { rho, ..Default::default() }
}

fn sigmoid(x: &Tensor) -> Tensor {
    candle_core::Module::forward(&taper_core::Activation::Sigmoid, x).unwrap()
}

#[test]
fn agrees_with_the_divergence_of_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/kl_sparsity.json"))? {
        let rho = case.f64("rho")?;
        golden::check(&case, "input", |activations, _| kl_sparsity(activations, &of(rho)))?;
    }
    Ok(())
}

#[test]
fn holds_what_holds_for_a_penalty() -> Result<()> {
    let activations = sigmoid(&normal("activations"));
    let name = ("kl_sparsity", "activations");
    // All activations are 1, as far as they may be.
    holds_for_a_penalty(name, &activations, 1.0, |x| kl_sparsity(x, &of(0.3)))
}

#[test]
fn reductions_are_those_of_the_units() -> Result<()> {
    let activations = sigmoid(&normal("activations"));
    let value = |reduction| kl_sparsity(&activations, &KlSparsityOptions { reduction, ..of(0.3) });
    let units = value(Reduction::None)?;
    assert_eq!(units.dims(), [3]);
    let sum = scalar(&units.sum_all()?);
    for (reduction, divisor) in
        [(Reduction::Sum, 1.0), (Reduction::Mean, 3.0), (Reduction::WeightedMean, 3.0)]
    {
        assert!((scalar(&value(reduction)?) - sum / divisor).abs() < 1e-14);
    }
    for reduction in [Reduction::None, Reduction::Mean] {
        let options = KlSparsityOptions { reduction, ..of(0.3) };
        gradcheck(|x| kl_sparsity(&x[0], &options), std::slice::from_ref(&activations), 1e-6)?;
    }
    let one = kl_sparsity(&activations.narrow(1, 0, 1)?.squeeze(1)?, &of(0.3))?;
    assert_close(&one, &units.get(0)?, 1e-14);
    Ok(())
}

proptest! {
    #[test]
    fn is_0_at_the_aim_and_positive_elsewhere_whatever_the_order(
        rows in prop::collection::vec(prop::collection::vec(0.0..=1.0, 3), 1..8), rho in 0.01..0.99,
    ) {
        let activations = Tensor::new(rows.clone(), &CPU).unwrap();
        let value = kl_sparsity(&activations, &of(rho)).unwrap();
        prop_assert!(scalar(&value) >= -1e-15);
        let reversed: Vec<Vec<f64>> =
            rows.iter().rev().map(|row| row.iter().rev().copied().collect()).collect();
        let reversed = kl_sparsity(&Tensor::new(reversed, &CPU).unwrap(), &of(rho)).unwrap();
        assert_close(&reversed, &value, 1e-12);
        // Who neither fires nor not is who fires.
        let mirrored = activations.affine(-1.0, 1.0).unwrap();
        let mirrored = kl_sparsity(&mirrored, &of(1.0 - rho)).unwrap();
        prop_assert!((scalar(&mirrored) - scalar(&value)).abs() < 1e-6 * (1.0 + scalar(&value)));
        let aim = Var::from_tensor(&(activations.ones_like().unwrap() * rho).unwrap()).unwrap();
        let least = kl_sparsity(&aim, &of(rho)).unwrap();
        prop_assert!(scalar(&least).abs() < 1e-14);
        let gradient = least.backward().unwrap().remove(&aim).unwrap().flatten_all().unwrap();
        let flat = gradient.to_vec1::<f64>().unwrap();
        prop_assert!(flat.iter().all(|g| g.abs() < 1e-12), "{:?}", flat);
    }
}

#[test]
fn units_that_never_or_always_fire_are_pulled_back_in_every_dtype() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let logits =
            Var::from_tensor(&Tensor::new(&[[-1e4, 1e4], [-1e4, 1e4]], &CPU)?.to_dtype(dtype)?)?;
        let activations = Var::from_tensor(&sigmoid(&logits).to_dtype(dtype)?)?;
        assert_eq!(scalar(&activations.get(0)?.get(0)?), 0.0);
        let value = kl_sparsity(&activations, &KlSparsityOptions::default())?;
        // ρ log(ρ / ε) + ρ and (1 − ρ) log((1 − ρ) / ε) + 1 − ρ, but for the rests.
        let expected = 0.05 * (0.05f64 / 1e-5).ln()
            + 0.05
            + 0.95 * (0.95f64 / 1e-5).ln()
            + 0.95
            + 0.05 * 0.05f64.ln()
            + 0.95 * 0.95f64.ln();
        assert!((scalar(&value) - expected).abs() < 1e-4, "{} is not {expected}", scalar(&value));
        let gradient = value.backward()?.remove(&activations).expect("a gradient");
        let gradient = gradient.to_dtype(DType::F64)?.get(0)?.to_vec1::<f64>()?;
        assert!(gradient[0] < 0.0 && gradient[1] > 0.0, "{gradient:?}");
        // Down to the logits nothing becomes NaN.
        let value = kl_sparsity(&sigmoid(&logits), &KlSparsityOptions::default())?;
        let gradient = value.backward()?.remove(&logits).expect("a gradient");
        let gradient = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
    Ok(())
}

#[test]
fn the_tangents_have_the_gradient_of_finite_differences() -> Result<()> {
    let activations = Tensor::new(&[[0.05, 0.99, 0.5], [0.02, 0.9, 0.25]], &CPU)?;
    let options = KlSparsityOptions { eps: 0.1, ..of(0.3) };
    gradcheck(|x| kl_sparsity(&x[0], &options), &[activations], 1e-6)
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let activations = Tensor::new(&[[0.5, 0.25], [0.0, 1.0]], &CPU)?;
    let error = |activations: &Tensor, options: &KlSparsityOptions| {
        kl_sparsity(activations, options).unwrap_err().to_string()
    };
    for rho in [0.0, 1.0, -0.5, f64::NAN] {
        let expected = format!("kl_sparsity: rho should be above 0 and below 1, got {rho}");
        assert_eq!(error(&activations, &of(rho)), expected);
    }
    for (rho, eps) in [(0.25, 0.0), (0.25, -1.0), (0.25, f64::NAN), (0.25, 0.25), (0.75, 0.25)] {
        let expected = format!("above 0 and below rho and 1 - rho, where rho is {rho}, got {eps}");
        let options = KlSparsityOptions { eps, ..of(rho) };
        assert_eq!(error(&activations, &options), format!("kl_sparsity: eps should be {expected}"));
    }
    for wrong in [-0.5, 1.5, f64::NAN, f64::INFINITY] {
        let activations = Tensor::new(&[[0.5, 0.25], [0.0, wrong]], &CPU)?;
        let expected = "activations[1, 1] should be from 0 to 1 (take (1 + a) / 2 of a tanh)";
        assert_eq!(error(&activations, &of(0.25)), format!("kl_sparsity: {expected}, got {wrong}"));
    }
    for shape in [&[][..], &[0], &[0, 3], &[3, 0]] {
        let expected = "activations should be of shape (N, ...) with at least one row and one unit";
        assert_eq!(
            error(&Tensor::ones(shape, DType::F64, &CPU)?, &of(0.25)),
            format!("kl_sparsity: {expected}, got {shape:?}")
        );
    }
    Ok(())
}
