use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::testing::{assert_close, goldens, gradcheck};
use taper_core::{Result, stream};
use taper_losses::{MmdBandwidth, MmdEstimator, MmdOptions, mmd};

use crate::golden;

const CPU: Device = Device::Cpu;

fn given(estimator: MmdEstimator, bandwidth: f64) -> MmdOptions {
    MmdOptions { estimator, bandwidth: MmdBandwidth::Given(vec![bandwidth]) }
}

fn rows(name: &str, count: usize, dimension: usize) -> Tensor {
    stream(1, name).normal(0.0, 1.0, (count, dimension), DType::F64, &CPU).unwrap()
}

fn scalar(loss: Result<Tensor>) -> f64 {
    loss.unwrap().to_scalar().unwrap()
}

#[test]
fn agrees_with_its_equation_and_so_with_scikit_learn() -> Result<()> {
    for case in goldens(include_str!("../golden/mmd.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let other = case.tensor("other", dtype)?;
            let (first, second) = match case.text("role")? {
                "first" => (input, &other),
                _ => (&other, input),
            };
            let estimator = match case.bool("unbiased")? {
                true => MmdEstimator::Unbiased,
                false => MmdEstimator::Biased,
            };
            let bandwidth = match golden::optional(&case, "bandwidths", DType::F64)? {
                Some(bandwidths) => MmdBandwidth::Given(bandwidths.to_vec1()?),
                None => MmdBandwidth::Median,
            };
            mmd(first, second, &MmdOptions { estimator, bandwidth })
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    let both = [rows("first", 5, 3), rows("second", 4, 3)];
    for estimator in [MmdEstimator::Biased, MmdEstimator::Unbiased] {
        let bandwidth = MmdBandwidth::Given(vec![0.7, 2.0]);
        let options = MmdOptions { estimator, bandwidth };
        gradcheck(|x| mmd(&x[0], &x[1], &options), &both, 1e-6)?;
    }
    Ok(())
}

#[test]
fn half_precision_is_computed_in_f32_and_far_rows_are_finite() -> Result<()> {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (scale, tolerance) in [(1.0, if dtype == DType::F32 { 1e-5 } else { 0.1 }), (1e4, 9.0)]
        {
            let of = |name| (rows(name, 5, 3) * scale)?.to_dtype(dtype);
            let (first, second) = (Var::from_tensor(&of("first")?)?, of("second")?);
            for options in [MmdOptions::default(), given(MmdEstimator::Biased, 1e-3)] {
                let value = mmd(&first, &second, &options)?;
                assert_eq!(value.dtype(), DType::F32);
                let [x, y] = [first.as_tensor(), &second].map(|x| x.to_dtype(DType::F64).unwrap());
                let expected = mmd(&x, &y, &options)?.to_dtype(DType::F32)?;
                assert_close(&value, &expected, tolerance);
                let gradient = value.backward()?.remove(&first).expect("a gradient");
                assert_eq!(gradient.dtype(), dtype);
                let gradient = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                assert!(gradient.iter().all(|x| x.is_finite()), "{gradient:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_a_squared_distance(
        counts in [2usize..7, 2usize..7], dimension in 1usize..5, bandwidth in 0.5..5.0,
        shift in -9.0..9.0, scale in 0.1..9.0,
    ) {
        let (x, y) = (rows("first", counts[0], dimension), rows("second", counts[1], dimension));
        for estimator in [MmdEstimator::Biased, MmdEstimator::Unbiased] {
            let options = given(estimator, bandwidth);
            let value = scalar(mmd(&x, &y, &options));
            prop_assert!((scalar(mmd(&y, &x, &options)) - value).abs() < 1e-12);
            prop_assert!(value <= 2.0 && (value >= -1e-14 || estimator == MmdEstimator::Unbiased));
            // Of the rows neither the order nor the zero counts, nor the unit where the bandwidth has it, too.
            let order: Vec<u32> = (0..counts[0] as u32).rev().collect();
            let order = Tensor::new(order, &CPU).unwrap();
            let other = x.index_select(&order, 0).unwrap().affine(scale, shift).unwrap();
            let moved = y.affine(scale, shift).unwrap();
            let same = mmd(&other, &moved, &given(estimator, scale * bandwidth));
            prop_assert!((scalar(same) - value).abs() < 1e-11);
            let median = |x: &Tensor, y: &Tensor| {
                scalar(mmd(x, y, &MmdOptions { estimator, ..Default::default() }))
            };
            prop_assert!((median(&other, &moved) - median(&x, &y)).abs() < 1e-11);
        }
        let biased = |x: &Tensor, y: &Tensor, bandwidth| {
            scalar(mmd(x, y, &given(MmdEstimator::Biased, bandwidth)))
        };
        prop_assert!(biased(&x, &x, bandwidth).abs() < 1e-14);
        // A wide kernel sees the means only.
        let d = (x.mean(0).unwrap() - y.mean(0).unwrap()).unwrap();
        let means = d.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        prop_assert!((biased(&x, &y, 1e4) * 1e8 - means).abs() < 1e-5);
    }
}

#[test]
fn tells_distributions_apart() -> Result<()> {
    let (x, y) = (rows("first", 200, 2), rows("second", 200, 2));
    let options = MmdOptions { estimator: MmdEstimator::Unbiased, ..Default::default() };
    let (same, other) = (scalar(mmd(&x, &y, &options)), scalar(mmd(&x, &(y * 2.0)?, &options)));
    assert!(same.abs() < 0.01 && other > 0.03, "{same} {other}");
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (x, y) = (rows("first", 3, 2), rows("second", 4, 2));
    let error =
        |x: &Tensor, y: &Tensor, options: &MmdOptions| mmd(x, y, options).unwrap_err().to_string();
    let plain = MmdOptions::default();
    let unbiased = MmdOptions { estimator: MmdEstimator::Unbiased, ..Default::default() };
    let (none, one) = (x.narrow(0, 0, 0)?, x.narrow(0, 0, 1)?);
    assert_eq!(error(&none, &y, &plain), "mmd: first should be of at least one row, got [0, 2]");
    assert_eq!(
        error(&x, &one, &unbiased),
        "mmd: second should be of at least two rows, got [1, 2]"
    );
    let narrow = y.narrow(1, 0, 1)?;
    assert_eq!(
        error(&x, &narrow, &plain),
        "mmd: second should be of shape (M, 2), as first, got [4, 1]"
    );
    let single = y.to_dtype(DType::F32)?;
    assert_eq!(error(&x, &single, &plain), "mmd: second should be F64, as first, got F32");
    let whole = x.to_dtype(DType::U32)?;
    assert_eq!(error(&whole, &y, &plain), "mmd: first should be f64, f32, bf16 or f16, got U32");
    assert_eq!(
        error(&one, &one, &plain),
        "mmd: first and second should be of a median distance above 0 and finite (or give a bandwidth), got 0"
    );
    let given = |bandwidths: &[f64]| {
        let bandwidth = MmdBandwidth::Given(bandwidths.to_vec());
        error(&x, &y, &MmdOptions { bandwidth, ..Default::default() })
    };
    assert_eq!(given(&[]), "mmd: bandwidth should be at least one, got none");
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("mmd: bandwidth should be above 0 and finite, got {wrong}");
        assert_eq!(given(&[1.0, wrong]), expected);
    }
    Ok(())
}
