//! Gradients written in place against those of candle's own `backward`.

use std::panic::{self, AssertUnwindSafe};

use candle_core::{DType, Device, Module, Tensor, Var, bail};
use taper_core::op::{self, Destination, Operation, Scalar, Update, Values};
use taper_core::optim::{AdamW, AdamWConfig, Optimizer};
use taper_core::testing::assert_close;
use taper_core::{
    Activation, GradientStore, Gradients, Linear, LinearConfig, Parameters, Result, linear, stream,
};

const CPU: &Device = &Device::Cpu;

/// What the backward pass of [`Product`] does.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
}

/// a · b elementwise, as an operation of another crate would be written.
struct Product(Fault);

impl Operation for Product {
    const NAME: &'static str = "product";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        Ok(arguments[0].iter().zip(arguments[1]).map(|(a, b)| *a * *b).collect())
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        for (at, gradient) in gradients.iter_mut().enumerate() {
            let Some((places, update)) = gradient.place() else { continue };
            let terms = values.arguments[1 - at].iter().zip(values.upstream);
            for (place, (other, upstream)) in places.iter_mut().zip(terms) {
                let term = *other * *upstream;
                *place = if update == Update::Add { *place + term } else { term };
            }
        }
        match self.0 {
            Fault::None => Ok(()),
            Fault::Error => bail!("the operation failed"),
            Fault::Panic => panic::resume_unwind(Box::new("the operation panicked")),
        }
    }
}

fn apply(fault: Fault, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    op::apply(Product(fault), &[a, b], a.shape())
}

fn product(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    apply(Fault::None, a, b)
}

fn var(values: &[f64]) -> Var {
    Var::new(values, CPU).unwrap()
}

fn gradient(gradients: &Gradients, var: &Var) -> Vec<f64> {
    gradients.gradient(var).unwrap().unwrap().to_vec1().unwrap()
}

/// Three layers with activations inside and outside of the linear operation.
struct Network {
    parameters: Parameters,
    layers: [Linear; 3],
}

impl Network {
    fn new(dtype: DType) -> Result<Self> {
        let parameters = Parameters::new(&stream(1, "init"));
        let vb = parameters.builder(dtype, CPU);
        let layer = |name, inputs, outputs, activation| {
            let config = LinearConfig { activation, ..Default::default() };
            linear(inputs, outputs, config, vb.pp(name))
        };
        let layers = [
            layer("a", 7, 33, Activation::Relu)?,
            layer("b", 33, 20, Activation::Gelu)?,
            layer("c", 20, 5, Activation::Identity)?,
        ];
        Ok(Self { parameters, layers })
    }

    /// Σ tanh(y)², so that the losses of parts of a batch add up to that of the batch.
    fn loss(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward(&y)?;
        }
        Ok(Activation::Tanh.forward(&y)?.sqr()?.sum_all()?)
    }

    fn gradients(&self) -> Result<Gradients> {
        Gradients::new(self.parameters.trainable().iter().map(|(_, var)| var))
    }
}

fn batch(rows: usize, dtype: DType) -> Result<Tensor> {
    stream(1, "x").normal(0.0, 1.0, (rows, 7), dtype, CPU)
}

/// That both stores hold the same gradients for all parameters, or none for the same.
fn assert_same(
    found: &Gradients,
    expected: &dyn GradientStore,
    parameters: &[(String, Var)],
    tolerance: f64,
) -> Result<()> {
    for (name, var) in parameters {
        let expected = expected.get(var)?.map(|gradient| gradient.to_tensor()).transpose()?;
        match (found.gradient(var)?, expected) {
            (Some(found), Some(expected)) => assert_close(&found, &expected, tolerance),
            (found, expected) => assert!(found.is_none() && expected.is_none(), "{name}"),
        }
    }
    Ok(())
}

#[test]
fn a_network_has_the_gradients_of_candle_s_backward() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
        let network = Network::new(dtype)?;
        let trainable = network.parameters.trainable();
        let mut gradients = network.gradients()?;
        assert!(gradients.gradient(&trainable[0].1)?.is_none());
        // The buffers of the first batch are used again for the second.
        for rows in [9, 130] {
            let loss = network.loss(&batch(rows, dtype)?)?;
            let plain = loss.backward()?;
            gradients.backward(&loss)?;
            assert_same(&gradients, &plain, &trainable, tolerance)?;
            // Once more on the same graph: it keeps no gradients, and replaces those that are there.
            assert_same(&gradients, &loss.backward()?, &trainable, tolerance)?;
            gradients.backward(&loss)?;
            assert_same(&gradients, &plain, &trainable, tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn micro_batches_add_up_to_the_batch() -> Result<()> {
    let network = Network::new(DType::F64)?;
    let x = batch(12, DType::F64)?;
    let mut gradients = network.gradients()?;
    gradients.backward(&network.loss(&x.narrow(0, 0, 5)?)?)?;
    gradients.accumulate(&network.loss(&x.narrow(0, 5, 1)?)?)?;
    gradients.accumulate(&network.loss(&x.narrow(0, 6, 6)?)?)?;
    let whole = network.loss(&x)?.backward()?;
    assert_same(&gradients, &whole, &network.parameters.trainable(), 1e-13)
}

#[test]
fn a_weight_may_be_in_two_layers() -> Result<()> {
    let weight = Var::from_tensor(&stream(1, "w").normal(0.0, 1.0, (7, 7), DType::F64, CPU)?)?;
    let layer = Linear::new(weight.as_tensor().clone(), None)?;
    let tied = Linear::new(weight.t()?, None)?.with_activation(Activation::Sigmoid);
    let loss = tied.forward(&layer.forward(&layer.forward(&batch(3, DType::F64)?)?)?)?.sum_all()?;
    let mut gradients = Gradients::new([&weight])?;
    gradients.backward(&loss)?;
    assert_same(&gradients, &loss.backward()?, &[("w".to_owned(), weight)], 1e-13)
}

#[test]
fn a_variable_may_be_both_arguments_of_an_operation() -> Result<()> {
    let x = var(&[1.0, 2.0]);
    let mut gradients = Gradients::new([&x])?;
    for _ in 0..2 {
        gradients.backward(&product(&x, &x)?.sum_all()?)?;
        assert_eq!(gradient(&gradients, &x), [2.0, 4.0]);
    }
    gradients.accumulate(&product(&x, &x)?.sum_all()?)?;
    assert_eq!(gradient(&gradients, &x), [4.0, 8.0]);
    Ok(())
}

#[test]
fn candle_s_operations_and_ours_may_share_a_variable() -> Result<()> {
    let (x, y) = (var(&[1.0, 2.0]), var(&[3.0, 5.0]));
    let mut gradients = Gradients::new([&x, &y])?;
    for _ in 0..2 {
        let loss = (product(&x, &y)? + x.sqr()?)?.mul(&y)?.sum_all()?;
        gradients.backward(&loss)?;
        // (x y + x²) y: y² + 2 x y and 2 x y + x².
        assert_eq!(gradient(&gradients, &x), [15.0, 45.0]);
        assert_eq!(gradient(&gradients, &y), [7.0, 24.0]);
    }
    Ok(())
}

#[test]
fn only_what_the_loss_depends_on_has_a_gradient() -> Result<()> {
    let (x, y, other) = (var(&[1.0]), var(&[2.0]), var(&[3.0]));
    let mut gradients = Gradients::new([&x, &y])?;
    // `other` is not registered, and the detached y is frozen.
    let loss = product(&product(&x, &y.as_detached_tensor())?, &other)?.sum_all()?;
    gradients.backward(&loss)?;
    assert_eq!(gradient(&gradients, &x), [6.0]);
    assert!(gradients.gradient(&y)?.is_none());
    let error = gradients.gradient(&other).unwrap_err().to_string();
    assert!(error.contains("one of the variables that they were made for"), "{error}");
    let adam = |var: &Var| AdamW::new(vec![("v".to_owned(), var.clone())], AdamWConfig::default());
    assert!(adam(&x)?.step(&gradients).is_ok());
    assert!(adam(&other)?.step(&gradients).is_err());
    // What had a gradient has none after a loss without it.
    gradients.backward(&product(&y, &y)?.sum_all()?)?;
    assert!(gradients.gradient(&x)?.is_none());
    assert_eq!(gradient(&gradients, &y), [4.0]);
    // A variable as its own loss, and a loss of constants.
    let scalar = Var::new(2.0, CPU)?;
    let mut gradients = Gradients::new([&scalar])?;
    gradients.backward(&scalar)?;
    assert_eq!(gradients.gradient(&scalar)?.unwrap().to_scalar::<f64>()?, 1.0);
    gradients.backward(&Tensor::new(1.0, CPU)?)?;
    assert!(gradients.gradient(&scalar)?.is_none());
    Ok(())
}

#[test]
fn weights_may_be_views() -> Result<()> {
    let stored = Var::from_tensor(&stream(1, "w").normal(0.0, 1.0, (9, 8), DType::F64, CPU)?)?;
    let named = [("w".to_owned(), stored.clone())];
    let mut gradients = Gradients::new([&stored])?;
    let x = batch(4, DType::F64)?;
    for weight in [stored.narrow(1, 1, 7)?, stored.t()?.narrow(1, 2, 7)?] {
        let loss = Linear::new(weight, None)?.forward(&x)?.sqr()?.sum_all()?;
        gradients.backward(&loss)?;
        assert_same(&gradients, &loss.backward()?, &named, 1e-13)?;
    }
    Ok(())
}

#[test]
fn a_backward_pass_that_fails_leaves_no_gradient() -> Result<()> {
    let (x, y) = (var(&[1.0]), var(&[2.0]));
    for fault in [Fault::Error, Fault::Panic] {
        let mut gradients = Gradients::new([&x, &y])?;
        gradients.backward(&product(&x, &y)?.sum_all()?)?;
        // The outer product has written the gradient of x when the inner one fails.
        let loss = product(&x, &apply(fault, &x, &y)?)?.sum_all()?;
        let result = panic::catch_unwind(AssertUnwindSafe(|| gradients.accumulate(&loss)));
        match fault {
            Fault::Panic => {
                assert_eq!(result.unwrap_err().downcast_ref(), Some(&"the operation panicked"))
            }
            _ => assert!(result.unwrap().unwrap_err().to_string().contains("the operation failed")),
        }
        assert!(gradients.gradient(&x)?.is_none() && gradients.gradient(&y)?.is_none());
        // It is as new, and candle's own backward finds nothing left over.
        let loss = product(&x, &product(&x, &y)?)?.sum_all()?;
        let plain = loss.backward()?;
        assert_eq!(plain.get(&x).unwrap().to_vec1::<f64>()?, [4.0]);
        gradients.backward(&loss)?;
        assert_eq!((gradient(&gradients, &x), gradient(&gradients, &y)), (vec![4.0], vec![1.0]));
    }
    Ok(())
}

/// x, with a backward pass within the backward pass: the gradient is upstream times that of Σ w · w.
struct Nested(Var);

impl Operation for Nested {
    const NAME: &'static str = "nested";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        Ok(arguments[0].to_vec())
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let mut inner = Gradients::new([&self.0])?;
        inner.backward(&product(&self.0, &self.0)?.sum_all()?)?;
        let slope = gradient(&inner, &self.0);
        let [of_x] = op::places(gradients);
        if let Some((place, update)) = of_x {
            assert!(update == Update::Replace);
            let terms = values.upstream.iter().zip(slope);
            place.iter_mut().zip(terms).for_each(|(place, (a, b))| *place = *a * T::of(b));
        }
        Ok(())
    }
}

#[test]
fn backward_passes_may_be_nested() -> Result<()> {
    let (w, x) = (var(&[3.0, 5.0]), var(&[1.0, 2.0]));
    let mut gradients = Gradients::new([&w, &x])?;
    // The outer pass writes the gradient of w before and after the inner one, which uses w, too.
    let inner = op::apply(Nested(w.clone()), &[&product(&w, &x)?], 2)?;
    gradients.backward(&product(&w, &inner)?.sum_all()?)?;
    // w N(w x), where N' is 2 w: N + w 2w x, and w 2w w.
    assert_eq!(gradient(&gradients, &w), [21.0, 110.0]);
    assert_eq!(gradient(&gradients, &x), [54.0, 250.0]);
    Ok(())
}

#[test]
fn each_thread_fills_its_own() -> Result<()> {
    let network = Network::new(DType::F64)?;
    let trainable = network.parameters.trainable();
    std::thread::scope(|scope| {
        for rows in [5, 8, 11] {
            let (network, trainable) = (&network, &trainable);
            scope.spawn(move || {
                let mut gradients = network.gradients().unwrap();
                let loss = network.loss(&batch(rows, DType::F64).unwrap()).unwrap();
                let plain = loss.backward().unwrap();
                for _ in 0..20 {
                    gradients.backward(&loss).unwrap();
                    assert_same(&gradients, &plain, trainable, 1e-13).unwrap();
                }
            });
        }
    });
    Ok(())
}

#[test]
fn half_precision_goes_through_candle() -> Result<()> {
    let x = Var::from_tensor(&Tensor::new(&[1f32, 2.0], CPU)?.to_dtype(DType::BF16)?)?;
    let mut gradients = Gradients::new([&x])?;
    let values = |gradients: &Gradients| -> Result<Vec<f32>> {
        Ok(gradients.gradient(&x)?.unwrap().to_dtype(DType::F32)?.to_vec1()?)
    };
    for _ in 0..2 {
        gradients.backward(&x.sqr()?.sum_all()?)?;
        assert_eq!(values(&gradients)?, [2.0, 4.0]);
        gradients.accumulate(&x.sum_all()?)?;
        assert_eq!(values(&gradients)?, [3.0, 5.0]);
    }
    gradients.backward(&Tensor::new(1.0, CPU)?)?;
    assert!(gradients.gradient(&x)?.is_none());
    Ok(())
}

#[test]
fn a_gradient_can_be_put_in_place() -> Result<()> {
    let (x, other) = (var(&[1.0, 2.0]), var(&[1.0]));
    let mut gradients = Gradients::new([&x])?;
    gradients
        .set(&x, &Tensor::new(&[[5.0, 0.0], [7.0, 0.0]], CPU)?.narrow(1, 0, 1)?.squeeze(1)?)?;
    assert_eq!(gradient(&gradients, &x), [5.0, 7.0]);
    gradients.accumulate(&product(&x, &x)?.sum_all()?)?;
    assert_eq!(gradient(&gradients, &x), [7.0, 11.0]);

    let refused = |result: Result<()>| result.unwrap_err().to_string();
    let error = refused(gradients.set(&other, &other));
    assert!(error.contains("one of the variables that they were made for"), "{error}");
    let error = refused(gradients.set(&x, &Tensor::new(&[1f32, 2.0], CPU)?));
    assert!(error.contains("F64 of shape [2]") && error.contains("got F32"), "{error}");
    assert!(refused(gradients.set(&x, &other)).contains("got F64 of shape [1]"));
    assert_eq!(gradient(&gradients, &x), [7.0, 11.0]);
    let labels = Var::from_tensor(&Tensor::new(&[1u8], CPU)?)?;
    let error = Gradients::new([&x, &labels]).unwrap_err().to_string();
    assert!(error.contains("floating-point variables, got number 1 of U8"), "{error}");
    let error = Gradients::new([&x, &other, &x]).unwrap_err().to_string();
    assert!(error.contains("each variable once, got number 2 twice"), "{error}");
    Ok(())
}
