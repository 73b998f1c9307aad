use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_losses::{Distance, LossOptions, Reduction, TripletMarginOptions, triplet_margin};

use crate::contract::{Subject, beside, normal};
use crate::distance::{EVERY, distance};
use crate::embeddings::{CPU, embeddings, scalar};
use crate::golden;

pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |distance, swap, unbounded| {
        let (positive, negative) = (normal("positive"), normal("negative"));
        Subject {
            name: "triplet_margin",
            argument: "anchor",
            input: normal("anchor"),
            axes: 1,
            by_row: true,
            unbounded,
            loss: Box::new(move |x, loss| {
                let options =
                    TripletMarginOptions { margin: 0.7, distance, swap, loss: loss.clone() };
                triplet_margin(x, &beside(&positive, x)?, &beside(&negative, x)?, &options)
            }),
        }
    };
    // The gradient of a square 1e4 away is too large for half precision.
    let every = EVERY.into_iter().map(|it| subject(it, false, it != Distance::SquaredEuclidean));
    every.chain([subject(Distance::Euclidean, true, true)]).collect()
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/triplet_margin.json"))? {
        golden::check(&case, "input", |x, dtype| {
            let of = |role: &str| match case.text("role")? == role {
                true => Ok(x.clone()),
                false => case.tensor(role, dtype),
            };
            let options = TripletMarginOptions {
                margin: case.f64("margin")?,
                distance: distance(&case)?,
                swap: case.bool("swap")?,
                loss: golden::options(&case, dtype)?,
            };
            triplet_margin(&of("anchor")?, &of("positive")?, &of("negative")?, &options)
        })?;
    }
    Ok(())
}

#[test]
fn all_three_have_the_gradient_of_finite_differences() -> Result<()> {
    let three = [normal("anchor"), normal("positive"), normal("negative")];
    for (distance, swap) in EVERY.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let options = TripletMarginOptions { distance, swap, ..Default::default() };
        gradcheck(|x| triplet_margin(&x[0], &x[1], &x[2], &options), &three, 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_collapsed_triplet_costs_the_margin_and_has_no_gradient() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for (distance, swap) in EVERY.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let x = Var::from_tensor(&Tensor::new(&[[1.0, -2.0, 0.5]], &CPU)?.to_dtype(dtype)?)?;
            let options =
                TripletMarginOptions { margin: 0.25, distance, swap, ..Default::default() };
            let value = triplet_margin(&x, &x, &x, &options)?;
            assert_eq!(scalar(&value.to_dtype(DType::F64)?), 0.25);
            let gradient = value.backward()?.remove(&x).expect("a gradient");
            let gradient = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            assert!(gradient.iter().all(|g| g.abs() < 1e-15), "{distance:?}: {gradient:?}");
        }
    }
    Ok(())
}

#[test]
fn a_margin_just_kept_has_no_gradient() -> Result<()> {
    let anchor = Var::from_tensor(&Tensor::new(&[[0.0, 0.0]], &CPU)?)?;
    let positive = Tensor::new(&[[3.0, 0.0]], &CPU)?;
    let negative = Tensor::new(&[[0.0, 4.0]], &CPU)?;
    let value = triplet_margin(&anchor, &positive, &negative, &TripletMarginOptions::default())?;
    assert_eq!(scalar(&value), 0.0);
    let gradient = value.backward()?.remove(&anchor).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[0.0, 0.0]]);
    Ok(())
}

proptest! {
    #[test]
    fn falls_with_a_farther_negative_and_never_below_0(
        rows in 1usize..9, columns in 1usize..6, margin in 0.1..3.0,
    ) {
        let of = |name| embeddings(name, rows, columns);
        let (anchor, positive, negative) = (of("anchor"), of("positive"), of("negative"));
        for distance in EVERY {
            let losses = |negative: &Tensor, swap, margin| {
                let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
                let options = TripletMarginOptions { margin, distance, swap, loss };
                let losses = triplet_margin(&anchor, &positive, negative, &options).unwrap();
                losses.to_vec1::<f64>().unwrap()
            };
            let plain = losses(&negative, false, margin);
            prop_assert!(plain.iter().all(|loss| *loss >= 0.0));
            // A swapped negative is no farther; a wider margin costs no less and at most the difference.
            let swapped = losses(&negative, true, margin);
            prop_assert!(plain.iter().zip(&swapped).all(|(plain, swapped)| swapped >= plain));
            let wider = losses(&negative, false, margin + 0.5);
            for (plain, wider) in plain.iter().zip(&wider) {
                prop_assert!(wider >= plain && *wider <= plain + 0.5 + 1e-12);
            }
            // With the positive as the negative every triplet costs the margin.
            for loss in losses(&positive, false, margin) {
                prop_assert!((loss - margin).abs() < 1e-12);
            }
            if distance != Distance::Cosine {
                let far = losses(&(&negative + 1e6).unwrap(), true, margin);
                prop_assert!(far.iter().all(|loss| *loss == 0.0));
            }
        }
    }

    #[test]
    fn does_not_ask_for_order_or_place(rows in 2usize..9, shift in -9.0..9.0) {
        let three = ["anchor", "positive", "negative"].map(|name| embeddings(name, rows, 3));
        let of = |three: &[Tensor; 3]| {
            triplet_margin(&three[0], &three[1], &three[2], &TripletMarginOptions::default()).unwrap()
        };
        let value = of(&three);
        assert_close(&of(&three.each_ref().map(|x| x.affine(1.0, shift).unwrap())), &value, 1e-11);
        let back = Tensor::from_iter((0..rows as u32).rev(), &CPU).unwrap();
        assert_close(&of(&three.each_ref().map(|x| x.index_select(&back, 0).unwrap())), &value, 1e-12);
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("anchor");
    let error = |anchor: &Tensor, positive: &Tensor, negative: &Tensor, margin| {
        let options = TripletMarginOptions { margin, ..Default::default() };
        triplet_margin(anchor, positive, negative, &options).unwrap_err().to_string()
    };
    for margin in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            error(&x, &x, &x, margin),
            format!("triplet_margin: margin should be above 0 and finite, got {margin}")
        );
    }
    let few = x.narrow(0, 0, 4)?;
    for (name, of) in
        [("positive", error(&x, &few, &x, 1.0)), ("negative", error(&x, &x, &few, 1.0))]
    {
        assert_eq!(of, format!("triplet_margin: {name} should be of shape [5, 3], got [4, 3]"));
    }
    let single = x.to_dtype(DType::F32)?;
    for (name, of) in
        [("positive", error(&x, &single, &x, 1.0)), ("negative", error(&x, &x, &single, 1.0))]
    {
        assert_eq!(of, format!("triplet_margin: {name} should be F64, as anchor, got F32"));
    }
    assert_eq!(
        error(&x.get(0)?, &x, &x, 1.0),
        "triplet_margin: anchor should be of shape (N, D) with at least one dimension D, got [3]"
    );
    Ok(())
}
