use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_losses::Distance;

use crate::contract::normal;
use crate::embeddings::{CPU, embeddings, views};
use crate::golden;

pub(crate) const EVERY: [Distance; 4] =
    [Distance::Euclidean, Distance::SquaredEuclidean, Distance::Manhattan, Distance::Cosine];

/// The distance of a golden case.
pub(crate) fn distance(case: &Case) -> Result<Distance> {
    Ok(match case.text("distance")? {
        "euclidean" => Distance::Euclidean,
        "squared_euclidean" => Distance::SquaredEuclidean,
        "manhattan" => Distance::Manhattan,
        _ => Distance::Cosine,
    })
}

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/distance.json"))? {
        let distance = distance(&case)?;
        golden::check(&case, "input", |x, dtype| {
            let (first, second) = views(&case, x, dtype)?;
            match case.bool("pairwise")? {
                true => distance.pairwise(&first, &second),
                false => distance.between(&first, &second),
            }
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    let both = [normal("a"), normal("b")];
    for distance in EVERY {
        gradcheck(|x| distance.between(&x[0], &x[1]), &both, 1e-6)?;
        gradcheck(|x| distance.pairwise(&x[0], &x[1].narrow(0, 0, 2)?), &both, 1e-6)?;
    }
    Ok(())
}

#[test]
fn equal_embeddings_are_at_0_with_the_gradient_0() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let x = Var::from_tensor(&normal("a").to_dtype(dtype)?)?;
        let same = x.as_tensor().copy()?;
        for distance in EVERY {
            let value = distance.between(&x, &same)?;
            assert_eq!(value.to_dtype(DType::F64)?.to_vec1::<f64>()?, [0.0; 5]);
            // What is not 0 for all is 0 for those that meet themselves.
            let all = distance.pairwise(&x, &same)?;
            for (at, row) in all.to_dtype(DType::F64)?.to_vec2::<f64>()?.into_iter().enumerate() {
                assert_eq!(row[at], 0.0, "{distance:?}");
            }
            let gradient = value.sum_all()?.backward()?.remove(&x).expect("a gradient");
            let largest = gradient.to_dtype(DType::F64)?.abs()?.flatten_all()?.max(0)?;
            // That of the cosine goes through the norm, where it cancels to rounding.
            assert!(largest.to_scalar::<f64>()? <= 1e-15, "{distance:?} {dtype:?}");
            let gradient = all.sum_all()?.backward()?.remove(&x).expect("a gradient");
            let all = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            assert!(all.iter().all(|g| g.is_finite()), "{distance:?}");
        }
    }
    Ok(())
}

#[test]
fn near_points_keep_their_digits_in_single_precision() -> Result<()> {
    // Far from the origin, and 1e-3 from each other; a Gram matrix would be off by more than that.
    let base = (embeddings("far", 30, 4) * 100.0)?.to_dtype(DType::F32)?;
    let near = (&base + (embeddings("near", 30, 4) * 1e-3)?.to_dtype(DType::F32)?)?;
    for distance in EVERY {
        for of in [Distance::between, Distance::pairwise] {
            let single = of(distance, &base, &near)?.to_dtype(DType::F64)?;
            let wide = of(distance, &base.to_dtype(DType::F64)?, &near.to_dtype(DType::F64)?)?;
            let own = |tensor: &Tensor| -> Result<Tensor> {
                Ok(match tensor.rank() {
                    2 => (tensor * Tensor::eye(30, DType::F64, &CPU)?)?.sum(1)?,
                    _ => tensor.clone(),
                })
            };
            // A direction has only the digits of f32, so that its difference has fewer.
            let tolerance = if distance == Distance::Cosine { 1e-1 } else { 1e-6 };
            let (single, wide) = (own(&single)?, own(&wide)?);
            let relative = ((&single - &wide)?.abs()? / &wide)?.max(0)?.to_scalar::<f64>()?;
            assert!(relative < tolerance, "{distance:?}: {relative}");
        }
    }
    Ok(())
}

#[test]
fn an_embedding_without_a_direction_is_at_cosine_distance_1() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16] {
        for length in [0.0, 1e-13] {
            let short = Var::from_tensor(&(normal("a").ones_like()? * length)?.to_dtype(dtype)?)?;
            let others = [normal("b").to_dtype(dtype)?, short.as_tensor().copy()?];
            for other in &others {
                let all = Distance::Cosine.pairwise(&short, other)?;
                let values = all.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert!(values.iter().all(|value| *value == 1.0), "{values:?}");
                let gradient = all.sum_all()?.backward()?.remove(&short).expect("a gradient");
                let values = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert!(values.iter().all(|value| *value == 0.0), "{values:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn of_nothing_is_nothing() -> Result<()> {
    let (none, some) = (normal("a").narrow(0, 0, 0)?, normal("b"));
    for distance in EVERY {
        assert_eq!(distance.between(&none, &none)?.dims(), [0]);
        assert_eq!(distance.pairwise(&none, &some)?.dims(), [0, 5]);
        assert_eq!(distance.pairwise(&some, &none)?.dims(), [5, 0]);
    }
    Ok(())
}

proptest! {
    #[test]
    fn are_symmetric_and_of_the_difference(rows in 1usize..9, columns in 1usize..9, scale in 0.1..9.0) {
        let (a, b) = (embeddings("a", rows, columns), embeddings("b", rows, columns));
        let c = embeddings("c", rows, columns);
        let moved = |x: &Tensor| (x + 3.0).unwrap();
        for distance in EVERY {
            let all = |a: &Tensor, b: &Tensor| distance.pairwise(a, b).unwrap();
            let values = all(&a, &b);
            assert_close(&all(&b, &a).t().unwrap(), &values, 1e-14);
            let own = (&values * Tensor::eye(rows, DType::F64, &CPU).unwrap()).unwrap().sum(1).unwrap();
            assert_close(&distance.between(&a, &b).unwrap(), &own, 1e-14);
            let list = values.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            prop_assert!(list.iter().all(|value| *value >= 0.0));
            let degree = match distance {
                Distance::Cosine => 0,
                Distance::SquaredEuclidean => 2,
                Distance::Euclidean | Distance::Manhattan => 1,
            };
            let scaled = |x: &Tensor| x.affine(scale, 0.0).unwrap();
            let scaled = all(&scaled(&a), &scaled(&b));
            assert_close(&scaled, &(&values * f64::powi(scale, degree)).unwrap(), 1e-12);
            if distance == Distance::Cosine {
                prop_assert!(list.iter().all(|value| *value <= 2.0 + 1e-14));
            } else {
                assert_close(&all(&moved(&a), &moved(&b)), &values, 1e-12);
            }
            if matches!(distance, Distance::Euclidean | Distance::Manhattan) {
                let of = |a: &Tensor, b: &Tensor| distance.between(a, b).unwrap().to_vec1::<f64>().unwrap();
                for ((ab, bc), ac) in of(&a, &b).iter().zip(of(&b, &c)).zip(of(&a, &c)) {
                    prop_assert!(ac <= ab + bc + 1e-12);
                }
            }
        }
    }
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let a = normal("a");
    let expected = "a should be of shape (N, D) with at least one dimension D, got [3]";
    let between =
        |a: &Tensor, b: &Tensor| Distance::default().between(a, b).unwrap_err().to_string();
    let pairwise =
        |a: &Tensor, b: &Tensor| Distance::default().pairwise(a, b).unwrap_err().to_string();
    assert_eq!(between(&a.get(0)?, &a), format!("Distance::between: {expected}"));
    assert_eq!(pairwise(&a.get(0)?, &a), format!("Distance::pairwise: {expected}"));
    assert_eq!(
        between(&a, &a.narrow(0, 0, 4)?),
        "Distance::between: b should be of shape [5, 3], got [4, 3]"
    );
    assert_eq!(
        pairwise(&a, &a.narrow(1, 0, 2)?),
        "Distance::pairwise: b should be of shape [5, 3], got [5, 2]"
    );
    let single = a.to_dtype(DType::F32)?;
    assert_eq!(between(&a, &single), "Distance::between: b should be F64, as a, got F32");
    assert_eq!(pairwise(&a, &single), "Distance::pairwise: b should be F64, as a, got F32");
    let whole = a.to_dtype(DType::U32)?;
    let expected = "a should be f64, f32, bf16 or f16, got U32";
    assert_eq!(between(&whole, &whole), format!("Distance::between: {expected}"));
    assert_eq!(pairwise(&whole, &whole), format!("Distance::pairwise: {expected}"));
    Ok(())
}
