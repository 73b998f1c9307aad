//! Operations in candle's graph: gradients find their way between ours and candle's own.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Module, Tensor, Var, bail};
use taper_core::op::{self, Destination, Operation, Scalar, Values};
use taper_core::testing::gradcheck;
use taper_core::{Activation, Gradients, Result, stream};

/// An operation that hands over one element too many or too few, or the result's gradient where it does not fit.
struct Misfit {
    elements: Option<usize>,
}

impl Operation for Misfit {
    const NAME: &'static str = "misfit";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        Ok(arguments[0][..1].to_vec())
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        match self.elements {
            Some(elements) => gradients[0].hand_over(vec![T::ONE; elements]),
            None => gradients[0].hand_upstream(values.upstream),
        }
        Ok(())
    }
}

#[test]
fn a_gradient_of_another_size_is_an_error() -> Result<()> {
    let x = var(&[1.0, 2.0]);
    for elements in [Some(1), Some(3), None] {
        let loss = op::apply(Misfit { elements }, &[&x], 1)?.sum_all()?;
        let mut gradients = Gradients::new([&x])?;
        gradients.backward(&x.sum_all()?)?;
        for error in [
            loss.backward().unwrap_err().to_string(),
            gradients.accumulate(&loss).unwrap_err().to_string(),
        ] {
            let expected =
                format!("misfit, argument 0: its gradient has {} elements", elements.unwrap_or(1));
            assert!(error.contains(&expected), "{error}");
        }
        assert!(gradients.gradient(&x)?.is_none());
    }
    let error = op::apply(Misfit { elements: None }, &[&x], 2).unwrap_err().to_string();
    assert!(error.contains("misfit: a result of 1 elements does not fit the shape [2]"), "{error}");
    Ok(())
}

/// The calls of a faulty operation's backward pass that fail.
static FAILING: AtomicUsize = AtomicUsize::new(0);

/// Σ of tensors, each times its number from 1.
struct WeightedSum {
    forgets: bool,
    fails: bool,
}

impl Operation for WeightedSum {
    const NAME: &'static str = "weighted_sum";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut sum = vec![T::ZERO; arguments[0].len()];
        for (at, argument) in arguments.iter().enumerate() {
            sum.iter_mut().zip(*argument).for_each(|(sum, x)| *sum += *x * T::of(at as f64 + 1.0));
        }
        Ok(sum)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        if self.fails
            && FAILING
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
        {
            bail!("the operation failed");
        }
        let first = usize::from(!self.forgets);
        if let Some(gradient) = gradients[..first].first_mut() {
            gradient.hand_upstream(values.upstream);
        }
        for (at, gradient) in gradients.iter_mut().enumerate().skip(1) {
            gradient
                .hand_over(values.upstream.iter().map(|g| *g * T::of(at as f64 + 1.0)).collect());
        }
        Ok(())
    }
}

fn sum(terms: &[&Tensor]) -> candle_core::Result<Tensor> {
    op::apply(WeightedSum { forgets: false, fails: false }, terms, terms[0].shape())
}

fn var(values: &[f64]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

fn of(gradients: &candle_core::backprop::GradStore, var: &Var) -> Vec<f64> {
    gradients.get(var).unwrap().to_vec1().unwrap()
}

/// A loss in which results are used by ours and by candle's operations, once and twice, as they are and as views.
fn mixed(x: &[Tensor]) -> Result<Tensor> {
    let a = sum(&[&x[0], &x[1]])?;
    let b = Activation::Tanh.forward(&a)?;
    let c = sum(&[&a, &b, &x[2], &b])?;
    let d = (a.sqr()? + &c)?;
    let e = sum(&[&c.narrow(0, 1, 2)?, &d.narrow(0, 0, 2)?])?;
    let f = sum(&[&sum(&[&e])?, &sum(&[&e, &e])?, &e])?;
    Ok((f.sqr()?.sum_all()? + d.sum_all()?)?)
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let mut noise = stream(1, "x");
    let mut normal = || noise.normal(0.0, 1.0, 3, DType::F64, &Device::Cpu);
    gradcheck(mixed, &[normal()?, normal()?, normal()?], 1e-6)
}

#[test]
fn any_number_of_arguments_gets_gradients() -> Result<()> {
    for count in (1..30).chain([1000]) {
        let vars: Vec<Var> = (0..count).map(|at| var(&[f64::from(at), 1.0])).collect();
        // Some are results, some variables, some constants, and one is there twice.
        let terms: Vec<Tensor> = vars
            .iter()
            .enumerate()
            .map(|(at, var)| match at % 4 {
                1 => sum(&[var.as_tensor()]).unwrap(),
                2 => var.as_detached_tensor(),
                _ => var.as_tensor().clone(),
            })
            .chain([vars[0].as_tensor().clone()])
            .collect();
        let loss = sum(&terms.iter().collect::<Vec<_>>())?.sum_all()?;
        let mut in_place = Gradients::new(&vars)?;
        in_place.backward(&loss)?;
        let gradients = loss.backward()?;
        for (at, var) in vars.iter().enumerate() {
            let weight = if at == 0 { 2 + count } else { at as i32 + 1 };
            let found = in_place.gradient(var)?.map(|it| it.to_vec1::<f64>()).transpose()?;
            if at % 4 == 2 {
                assert!(gradients.get(var).is_none() && found.is_none());
            } else {
                assert_eq!(of(&gradients, var), [f64::from(weight); 2], "{at} of {count}");
                assert_eq!(found, Some(of(&gradients, var)));
            }
        }
    }
    Ok(())
}

#[test]
fn a_graph_can_be_gone_back_again_from_several_ends_and_threads() -> Result<()> {
    let vars = [var(&[1.0, -2.0, 3.0]), var(&[0.5, 0.25, 2.0]), var(&[-1.0, 4.0, 0.0])];
    let tensors = vars.clone().map(|var| var.as_tensor().clone());
    let loss = mixed(&tensors)?;
    let expected: Vec<_> = vars.iter().map(|var| of(&loss.backward().unwrap(), var)).collect();
    // Another end of the same graph.
    let twice = sum(&[&loss, &loss])?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut gradients = Gradients::new(&vars).unwrap();
                for _ in 0..50 {
                    let plain = loss.backward().unwrap();
                    let tripled = twice.backward().unwrap();
                    gradients.backward(&loss).unwrap();
                    for (var, expected) in vars.iter().zip(&expected) {
                        assert_eq!(&of(&plain, var), expected);
                        let ours = gradients.gradient(var).unwrap().unwrap();
                        let tripled = of(&tripled, var);
                        for ((ours, tripled), expected) in
                            ours.to_vec1::<f64>().unwrap().iter().zip(tripled).zip(expected)
                        {
                            assert!((ours - expected).abs() < 1e-12 * expected.abs());
                            assert!((tripled - 3.0 * expected).abs() < 1e-12 * tripled.abs());
                        }
                    }
                }
            });
        }
    });
    Ok(())
}

#[test]
fn what_a_failed_pass_left_is_not_counted() -> Result<()> {
    let (x, y) = (var(&[1.0]), var(&[2.0]));
    let inner = sum(&[&x, &y])?;
    let faulty = op::apply(WeightedSum { forgets: false, fails: true }, &[&inner], 1)?;
    // One of the two beside the faulty one is visited before it, and leaves a gradient for the inner one.
    let loss = sum(&[&sum(&[&inner])?, &faulty, &sum(&[&inner])?])?.sum_all()?;
    FAILING.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        let error = loss.backward().unwrap_err().to_string();
        assert!(error.contains("the operation failed"), "{error}");
    }
    let gradients = loss.backward()?;
    assert_eq!((of(&gradients, &x), of(&gradients, &y)), (vec![6.0], vec![12.0]));
    Ok(())
}

#[test]
fn a_detached_result_has_no_gradient() -> Result<()> {
    let x = var(&[1.0, 2.0]);
    let a = sum(&[&x])?;
    let gradients = sum(&[&a, &a.detach()])?.sum_all()?.backward()?;
    assert_eq!(of(&gradients, &x), [1.0, 1.0]);
    // Without a variable there is no graph.
    assert!(!sum(&[&a.detach()])?.track_op());
    Ok(())
}

#[test]
fn a_forgotten_gradient_is_an_error() -> Result<()> {
    let (x, y) = (var(&[1.0, 2.0]), var(&[3.0, 4.0]));
    let forgetful =
        |x: &Tensor| op::apply(WeightedSum { forgets: true, fails: false }, &[x, &y], 2);
    for result in [forgetful(&x)?, forgetful(&sum(&[&x])?)?] {
        let error = result.sum_all()?.backward().unwrap_err().to_string();
        assert!(error.contains("unwritten"), "{error}");
    }
    let mut gradients = Gradients::new([&x, &y])?;
    assert!(gradients.backward(&forgetful(&x)?.sum_all()?).is_err());
    assert!(gradients.gradient(&y)?.is_none());
    // Where none is wanted, none is missing.
    let gradients = forgetful(&x.as_detached_tensor())?.sum_all()?.backward()?;
    assert_eq!(of(&gradients, &y), [2.0, 2.0]);
    Ok(())
}

#[test]
fn arguments_that_fit_no_kernel_are_errors() -> Result<()> {
    let (x, y) = (var(&[1.0]), Tensor::new(&[1f32], &Device::Cpu)?);
    let error = |arguments: &[&Tensor]| {
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            op::apply(WeightedSum { forgets: false, fails: false }, arguments, 1)
        }));
        result.expect("no panic").unwrap_err().to_string()
    };
    assert!(error(&[]).contains("weighted_sum: an operation has at least one argument"));
    assert!(error(&[&y.to_dtype(DType::U8)?]).contains("not for U8"));
    assert!(error(&[&x, &y]).contains("one dtype, not F64 and F32"));
    Ok(())
}
