use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::Result;
use taper_core::testing::{Case, assert_close, goldens, gradcheck};
use taper_losses::{Distribution, JsDivOptions, LossOptions, Reduction, js_div};

use crate::contract::{Subject, beside, normal};
use crate::golden;
use crate::kl_div::{FORMS, distribution, numbers};

const CPU: Device = Device::Cpu;

pub(crate) fn subjects() -> Vec<Subject> {
    let of = |form: &'static str| {
        let second = numbers("probabilities", &normal("second"));
        Subject {
            name: "js_div",
            argument: "first",
            input: numbers(form, &normal("first")),
            axes: 1,
            by_row: true,
            // Other numbers than logits have no meaning far away.
            unbounded: form == "logits",
            loss: Box::new(move |x, loss| {
                let options = JsDivOptions { loss: loss.clone(), ..Default::default() };
                let second = beside(&second, x)?;
                js_div(distribution(form, x), Distribution::Probabilities(&second), &options)
            }),
        }
    };
    FORMS.iter().map(|form| of(form)).collect()
}

#[test]
fn agrees_with_its_equation_and_so_with_scipy() -> Result<()> {
    for case in goldens(include_str!("../golden/js_div.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let other = case.tensor("other", dtype)?;
            let options =
                JsDivOptions { loss: golden::options(&case, dtype)?, ..Default::default() };
            let of = |key: &str, x| Ok(distribution(Case::text(&case, key)?, x));
            let pair: Result<_> =
                of("form", input).and_then(|p| Ok((p, of("other_form", &other)?)));
            let (input, other) = pair?;
            match case.text("role")? {
                "first" => js_div(input, other, &options),
                _ => js_div(other, input, &options),
            }
        })?;
    }
    Ok(())
}

#[test]
fn both_have_the_gradient_of_finite_differences() -> Result<()> {
    for form in FORMS {
        let both = ["first", "second"].map(|name| numbers(form, &normal(name)));
        let of = |x: &[Tensor]| {
            js_div(distribution(form, &x[0]), distribution(form, &x[1]), &JsDivOptions::default())
        };
        gradcheck(of, &both, 1e-6)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn is_symmetric_and_the_square_of_a_distance(
        triples in prop::collection::vec(prop::array::uniform3(prop::collection::vec(-9.0..9.0, 4)), 1..8),
    ) {
        let of = |at: usize| {
            let rows: Vec<Vec<f64>> = triples.iter().map(|triple| triple[at].clone()).collect();
            Tensor::new(rows, &CPU).unwrap()
        };
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = JsDivOptions { loss, ..Default::default() };
        let between = |p: &Tensor, q: &Tensor| {
            js_div(Distribution::Logits(p), Distribution::Logits(q), &options).unwrap()
        };
        let list = |values: Tensor| values.to_vec1::<f64>().unwrap();
        let [p, q, r] = [0, 1, 2].map(of);
        let value = between(&p, &q);
        assert_close(&between(&q, &p), &value, 1e-13);
        prop_assert!(list(between(&p, &p)).into_iter().all(|x| x.abs() < 1e-14));
        let distances = |p: &Tensor, q: &Tensor| {
            list(between(p, q)).into_iter().map(|x| x.max(0.0).sqrt()).collect::<Vec<_>>()
        };
        let (direct, first, second) = (distances(&p, &q), distances(&p, &r), distances(&r, &q));
        for ((direct, first), second) in direct.into_iter().zip(first).zip(second) {
            prop_assert!(direct <= first + second + 1e-7);
            prop_assert!(direct * direct <= 2f64.ln() + 1e-12);
        }
        for (form, other_form) in FORMS.iter().flat_map(|a| FORMS.map(|b| (a, b))) {
            let (p, q) = (numbers(form, &p), numbers(other_form, &q));
            let same = js_div(distribution(form, &p), distribution(other_form, &q), &options);
            assert_close(&same.unwrap(), &value, 1e-11);
        }
    }
}

#[test]
fn what_only_one_has_is_finite() -> Result<()> {
    let (first, second) = (Var::new(&[[1.0, 0.0]], &CPU)?, Var::new(&[[0.0, 1.0]], &CPU)?);
    let pair = (Distribution::Probabilities(&first), Distribution::Probabilities(&second));
    let value = js_div(pair.0, pair.1, &JsDivOptions::default())?;
    assert_eq!(value.to_scalar::<f64>()?, 2f64.ln());
    let gradients = value.backward()?;
    for (x, expected) in [(&first, [[2f64.ln() / 2.0, 0.0]]), (&second, [[0.0, 2f64.ln() / 2.0]])] {
        assert_close(gradients.get(x).expect("a gradient"), &Tensor::new(&expected, &CPU)?, 1e-14);
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let (good, bad) = (Tensor::new(&[[0.5, 0.5]], &CPU)?, Tensor::new(&[[0.5, 1.5]], &CPU)?);
    let error =
        |first, second| js_div(first, second, &JsDivOptions::default()).unwrap_err().to_string();
    let of = |x| Distribution::Probabilities(x);
    let rest = "should be a probability from 0 to 1, got 1.5";
    assert_eq!(error(of(&bad), of(&good)), format!("js_div: first[0, 1] {rest}"));
    assert_eq!(error(of(&good), of(&bad)), format!("js_div: second[0, 1] {rest}"));
    let single = good.to_dtype(candle_core::DType::F32)?;
    let expected = "js_div: second should be F64, as first, got F32";
    assert_eq!(error(of(&good), of(&single)), expected);
    Ok(())
}
