//! The triplets and pairs of a batch: `all_pairs`, `all_triplets`, `batch_hard_triplets`, `semi_hard_triplets`.

use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{Case, goldens, gradcheck};
use taper_losses::{
    ContrastiveOptions, Distance, Empty, LossOptions, TripletMarginOptions, Triplets, all_pairs,
    all_triplets, batch_hard_triplets, contrastive, semi_hard_triplets, triplet_margin,
};

use crate::contract::normal;
use crate::distance::{EVERY, distance};
use crate::embeddings::{CPU, embeddings, scalar};

fn list(tensor: &Tensor) -> Vec<u32> {
    assert_eq!(tensor.dtype(), DType::U32);
    tensor.to_vec1().unwrap()
}

fn rows(triplets: &Triplets) -> [Vec<u32>; 3] {
    [list(&triplets.anchor), list(&triplets.positive), list(&triplets.negative)]
}

fn expected(case: &Case) -> Result<[Vec<u32>; 3]> {
    let of = |role| -> Result<Vec<u32>> { Ok(case.tensor(role, DType::U32)?.to_vec1()?) };
    Ok([of("anchor")?, of("positive")?, of("negative")?])
}

#[test]
fn agree_with_pytorch_metric_learning() -> Result<()> {
    for case in goldens(include_str!("../golden/miners.json"))? {
        let labels = case.tensor("labels", DType::I64)?;
        let miner = case.text("miner")?;
        match miner {
            "all_pairs" => {
                let pairs = all_pairs(&labels)?;
                let all = list(&pairs.first).into_iter().zip(list(&pairs.second));
                let all: Vec<_> = all.zip(pairs.similar.to_vec1::<u8>()?).collect();
                for (kind, name) in [(1, "positives"), (0, "negatives")] {
                    let of_kind = all.iter().filter(|(_, similar)| *similar == kind);
                    let flat: Vec<u32> = of_kind.flat_map(|((i, j), _)| [*i, *j]).collect();
                    assert_eq!(flat, case.tensor(name, DType::U32)?.to_vec1::<u32>()?);
                }
            }
            "all_triplets" => assert_eq!(rows(&all_triplets(&labels)?), expected(&case)?),
            _ => {
                for dtype in [DType::F64, DType::F32] {
                    let (x, distance) = (case.tensor("embeddings", dtype)?, distance(&case)?);
                    let triplets = match miner {
                        "batch_hard" => batch_hard_triplets(&x, &labels, distance)?,
                        _ => semi_hard_triplets(&x, &labels, distance, case.f64("margin")?)?,
                    };
                    assert_eq!(rows(&triplets), expected(&case)?, "{miner} {distance:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn of_equal_distances_the_lowest_row_is_taken() -> Result<()> {
    // Around the anchor at 0 all positives are at 1, all negatives at 2.
    let x = Tensor::new(&[[0.0], [1.0], [-1.0], [2.0], [-2.0]], &CPU)?;
    let labels = Tensor::new(&[0u8, 0, 0, 1, 1], &CPU)?;
    let [anchors, positives, negatives] =
        rows(&batch_hard_triplets(&x, &labels, Distance::Euclidean)?);
    assert_eq!((anchors[0], positives[0], negatives[0]), (0, 1, 3));
    // All at one place: the first positive and the first negative.
    let [anchors, positives, negatives] =
        rows(&batch_hard_triplets(&x.zeros_like()?, &labels, Distance::Cosine)?);
    assert_eq!(anchors, [0, 1, 2, 3, 4]);
    assert_eq!(positives, [1, 0, 0, 4, 3]);
    assert_eq!(negatives, [3, 3, 3, 0, 0]);
    Ok(())
}

#[test]
fn a_negative_as_near_as_the_positive_is_not_semi_hard_and_one_at_the_margin_is() -> Result<()> {
    let x = Tensor::new(&[[0.0], [1.0], [-1.0], [-1.5], [-1.75]], &CPU)?;
    let labels = Tensor::new(&[0i64, 0, 1, 2, 3], &CPU)?;
    let [anchors, positives, negatives] =
        rows(&semi_hard_triplets(&x, &labels, Distance::Euclidean, 0.5)?);
    assert_eq!(anchors, [0]);
    assert_eq!(positives, [1]);
    assert_eq!(negatives, [3]);
    Ok(())
}

#[test]
fn feed_their_losses_with_gradients_of_the_embeddings() -> Result<()> {
    let x = normal("embeddings");
    let labels = Tensor::new(&[0u32, 1, 0, 1, 0], &CPU)?;
    let pairs = all_pairs(&labels)?;
    let options = ContrastiveOptions { margin: 3.0, ..Default::default() };
    let loss = |x: &[Tensor]| {
        let [first, second] = pairs.select(&x[0])?;
        contrastive(&first, &second, &pairs.similar, &options)
    };
    gradcheck(loss, std::slice::from_ref(&x), 1e-6)?;
    let triplets = batch_hard_triplets(&x, &labels, Distance::Euclidean)?;
    let loss = |x: &[Tensor]| {
        let [anchor, positive, negative] = triplets.select(&x[0])?;
        triplet_margin(&anchor, &positive, &negative, &TripletMarginOptions::default())
    };
    gradcheck(loss, &[x], 1e-6)
}

#[test]
fn indices_have_no_gradient() -> Result<()> {
    let x = Var::from_tensor(&normal("embeddings"))?;
    let labels = Tensor::new(&[0u32, 1, 0, 1, 0], &CPU)?;
    for triplets in [
        batch_hard_triplets(&x, &labels, Distance::Euclidean)?,
        semi_hard_triplets(&x, &labels, Distance::Euclidean, 9.0)?,
    ] {
        for part in [&triplets.anchor, &triplets.positive, &triplets.negative] {
            assert!(!part.track_op());
        }
    }
    Ok(())
}

#[test]
fn nothing_found_is_what_the_policy_of_the_loss_says() -> Result<()> {
    let x = Var::from_tensor(&normal("embeddings"))?;
    let one_label = Tensor::new(&[3u32; 5], &CPU)?;
    let lone_labels = Tensor::arange(0u32, 5, &CPU)?;
    let mut found = Vec::new();
    for labels in [&one_label, &lone_labels] {
        found.push(all_triplets(labels)?);
        for distance in EVERY {
            found.push(batch_hard_triplets(&x, labels, distance)?);
            found.push(semi_hard_triplets(&x, labels, distance, 1.0)?);
        }
    }
    // Labels that are there twice, but every negative is far enough.
    let far = Tensor::new(&[[0.0], [1.0], [50.0], [51.0]], &CPU)?;
    let labels = Tensor::new(&[0u32, 0, 1, 1], &CPU)?;
    found.push(semi_hard_triplets(&far, &labels, Distance::Euclidean, 1.0)?);
    for triplets in found {
        assert_eq!(rows(&triplets), [[0u32; 0]; 3]);
        let [anchor, positive, negative] = triplets.select(&x)?;
        assert_eq!(anchor.dims(), [0, 3]);
        let value = |empty| {
            let loss = LossOptions { empty, ..Default::default() };
            let options = TripletMarginOptions { loss, ..Default::default() };
            triplet_margin(&anchor, &positive, &negative, &options)
        };
        assert_eq!(scalar(&value(Empty::Zero)?), 0.0);
        assert!(scalar(&value(Empty::Nan)?).is_nan());
        let message = value(Empty::Error).unwrap_err().to_string();
        let expected = "triplet_margin: anchor should be such that a mean has something";
        assert!(message.starts_with(expected), "{message}");
    }
    Ok(())
}

#[test]
fn a_sum_over_nothing_has_the_gradient_0() -> Result<()> {
    let x = Var::from_tensor(&normal("embeddings"))?;
    let triplets = all_triplets(&Tensor::new(&[3u32; 5], &CPU)?)?;
    let [anchor, positive, negative] = triplets.select(&x)?;
    let loss = LossOptions { reduction: taper_losses::Reduction::Sum, ..Default::default() };
    let options = TripletMarginOptions { loss, ..Default::default() };
    let value = triplet_margin(&anchor, &positive, &negative, &options)?;
    assert_eq!(scalar(&value), 0.0);
    let gradient = value.backward()?.remove(&x).expect("a gradient");
    assert_eq!(gradient.to_vec2::<f64>()?, [[0.0; 3]; 5]);
    Ok(())
}

#[test]
fn empty_batches_have_no_pairs_and_triplets() -> Result<()> {
    let (x, labels) = (normal("embeddings").narrow(0, 0, 0)?, Tensor::new(&[0u32; 0], &CPU)?);
    let one = Tensor::new(&[1u32], &CPU)?;
    for labels in [&labels, &one] {
        assert_eq!(all_pairs(labels)?.similar.dims(), [0]);
    }
    for triplets in [
        all_triplets(&labels)?,
        batch_hard_triplets(&x, &labels, Distance::Manhattan)?,
        semi_hard_triplets(&x, &labels, Distance::Manhattan, 1.0)?,
    ] {
        assert_eq!(rows(&triplets), [[0u32; 0]; 3]);
        assert_eq!(triplets.select(&x)?[0].dims(), [0, 3]);
    }
    Ok(())
}

proptest! {
    #[test]
    fn are_among_all_and_as_they_should_be(
        labels in prop::collection::vec(-2i64..3, 1..12), margin in 0.1..3.0,
    ) {
        let x = embeddings("embeddings", labels.len(), 3);
        let of = Tensor::new(&labels[..], &CPU).unwrap();
        let all = rows(&all_triplets(&of).unwrap());
        let triplets = |all: &[Vec<u32>; 3]| -> Vec<[usize; 3]> {
            (0..all[0].len()).map(|at| [0, 1, 2].map(|role| all[role][at] as usize)).collect()
        };
        let all = triplets(&all);
        prop_assert!(all.is_sorted());
        for [a, p, n] in &all {
            prop_assert!(a != p && labels[*a] == labels[*p] && labels[*a] != labels[*n]);
        }
        for distance in EVERY {
            let d = distance.pairwise(&x, &x).unwrap().to_vec2::<f64>().unwrap();
            let hard = triplets(&rows(&batch_hard_triplets(&x, &of, distance).unwrap()));
            for [a, p, n] in &hard {
                let of_anchor = all.iter().filter(|triplet| triplet[0] == *a);
                for [_, other_p, other_n] in of_anchor {
                    prop_assert!(d[*a][*p] >= d[*a][*other_p] && d[*a][*n] <= d[*a][*other_n]);
                }
            }
            let anchors: std::collections::BTreeSet<_> = all.iter().map(|triplet| triplet[0]).collect();
            prop_assert!(hard.iter().map(|triplet| triplet[0]).eq(anchors));
            let semi_hard = triplets(&rows(&semi_hard_triplets(&x, &of, distance, margin).unwrap()));
            let is_semi_hard = |[a, p, n]: &[usize; 3]| {
                d[*a][*n] - d[*a][*p] > 0.0 && d[*a][*n] - d[*a][*p] <= margin
            };
            let expected: Vec<_> = all.iter().copied().filter(is_semi_hard).collect();
            prop_assert_eq!(semi_hard, expected);
        }
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let x = normal("embeddings");
    let labels = Tensor::new(&[0u32, 1, 0, 1, 0], &CPU)?;
    type Miner = fn(&Tensor, &Tensor) -> Result<()>;
    let of_embeddings: [(&str, Miner); 2] = [
        ("batch_hard_triplets", |x, labels| {
            batch_hard_triplets(x, labels, Distance::Euclidean).map(|_| ())
        }),
        ("semi_hard_triplets", |x, labels| {
            semi_hard_triplets(x, labels, Distance::Euclidean, 1.0).map(|_| ())
        }),
    ];
    let of_labels: [(&str, Miner); 2] = [
        ("all_pairs", |_, labels| all_pairs(labels).map(|_| ())),
        ("all_triplets", |_, labels| all_triplets(labels).map(|_| ())),
    ];
    for (name, miner) in of_embeddings.iter().chain(&of_labels) {
        assert_eq!(
            miner(&x, &labels.to_dtype(DType::F64)?).unwrap_err().to_string(),
            format!("{name}: labels should be of an integer dtype, got F64")
        );
        assert_eq!(
            miner(&x, &labels.unsqueeze(0)?).unwrap_err().to_string(),
            format!("{name}: labels should be of shape [5], got [1, 5]")
        );
    }
    for (name, miner) in of_embeddings {
        assert_eq!(
            miner(&x, &labels.narrow(0, 0, 4)?).unwrap_err().to_string(),
            format!("{name}: labels should be of shape [5], got [4]")
        );
        assert_eq!(
            miner(&x.get(0)?, &labels).unwrap_err().to_string(),
            format!(
                "{name}: embeddings should be of shape (N, D) with at least one dimension D, got [3]"
            )
        );
        let infinite = (x.narrow(0, 0, 1)?.zeros_like()? / 0.0)?;
        let infinite = Tensor::cat(&[&x.narrow(0, 0, 4)?, &infinite], 0)?;
        assert_eq!(
            miner(&infinite, &labels).unwrap_err().to_string(),
            format!("{name}: embeddings[4, 0] should be finite, got NaN")
        );
    }
    for margin in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = semi_hard_triplets(&x, &labels, Distance::Euclidean, margin).unwrap_err();
        let expected =
            format!("semi_hard_triplets: margin should be above 0 and finite, got {margin}");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}

#[test]
fn embeddings_of_other_rows_than_were_mined_are_an_error() -> Result<()> {
    let labels = Tensor::new(&[0u32, 0, 1, 1, 2, 2], &CPU)?;
    let few = Tensor::zeros((4, 3), DType::F64, &CPU)?;
    let message = all_triplets(&labels)?.select(&few).unwrap_err().to_string();
    assert_eq!(
        message,
        "Triplets::select: embeddings should be of the labels' rows, at least 6, got 4 rows"
    );
    let message = all_pairs(&labels)?.select(&few).unwrap_err().to_string();
    assert!(message.starts_with("Pairs::select: embeddings should be"), "{message}");
    Ok(())
}
