//! Variables that are put back after a measurement.

use candle_core::{Tensor, Var};
use taper_core::Result;

/// Runs `measure`, which may change `variables`, and puts them back to the bit.
///
/// # Equation
/// θ after = θ before
///
/// # Shapes
/// Variables of any shapes and dtypes.
///
/// # Parameters
/// - `variables`: whatever `measure` changes: parameters, and the running statistics that a forward pass in training
///   moves, such as all of [`Parameters::all`](taper_core::Parameters::all).
/// - `measure`: what to run; its result is returned.
///
/// # Numerics
/// Values are copied before and set after.
///
/// # Deviations
/// None.
///
/// # Errors
/// Those of `measure`, after which the variables are put back as well, as they are after a panic in it. Where a
/// variable cannot be set, that error; the others are put back.
///
/// # References
/// - `torch.func.functional_call`, which runs a module with other values of its parameters and buffers,
///   <https://docs.pytorch.org/docs/stable/generated/torch.func.functional_call.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_norm::restoring;
///
/// let x = Var::new(2.0, &Device::Cpu)?;
/// let square = restoring([&x], || {
///     x.set(&(x.as_tensor() + 1.0)?)?;
///     Ok(x.sqr()?.to_scalar::<f64>()?)
/// })?;
/// assert_eq!((square, x.to_scalar::<f64>()?), (9.0, 2.0));
/// # Ok(())
/// # }
/// ```
pub fn restoring<'a, T>(
    variables: impl IntoIterator<Item = &'a Var>,
    measure: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut kept = Kept(Vec::new());
    for variable in variables {
        kept.0.push((variable.clone(), variable.copy()?));
    }
    let measured = measure();
    let restored = kept.restore();
    kept.0.clear();
    let measured = measured?;
    restored?;
    Ok(measured)
}

/// Variables and what they were.
struct Kept(Vec<(Var, Tensor)>);

impl Kept {
    /// Sets every variable that can be set; the first error.
    fn restore(&self) -> Result<()> {
        let mut restored = Ok(());
        for (variable, value) in &self.0 {
            let set = variable.set(value);
            restored = restored.and(set);
        }
        Ok(restored?)
    }
}

/// After a panic.
impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::Error;

    use super::*;

    #[test]
    fn after_an_error_and_a_panic_too() -> Result<()> {
        // 0.1 has no exact form; −0 and NaN are told apart by their bits.
        let values = [0.1f32, -0.0, f32::NAN];
        let x = Var::new(&values, &Device::Cpu)?;
        let n = Var::new(7i64, &Device::Cpu)?;
        let change = || -> Result<()> {
            x.set(&x.ones_like()?)?;
            Ok(n.set(&n.zeros_like()?)?)
        };
        let check = || -> Result<()> {
            assert_eq!(x.to_vec1::<f32>()?.map_bits(), values.to_vec().map_bits());
            assert_eq!(n.to_scalar::<i64>()?, 7);
            Ok(())
        };
        restoring([&x, &n], change)?;
        check()?;
        let error = restoring([&x, &n], || {
            change()?;
            Err::<(), _>(Error::argument("measure", "it", "done", "not"))
        });
        assert_eq!(error.unwrap_err().to_string(), "measure: it should be done, got not");
        check()?;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            restoring([&x, &n], || -> Result<()> {
                change()?;
                panic!("in the measurement")
            })
        }));
        assert!(panicked.is_err());
        check()
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
