//! The named parameters of a model: seeded when they are made, ordered, saved and loaded.

mod state_dict;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::NormalOrUniform;
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use safetensors::SafeTensors;
use state_dict::{Entry, Strictness};

use crate::{Error, Result, Snapshot, Stateful, Stream};

/// The last parts of the names that PyTorch gives to what a layer remembers but never trains.
const BUFFERS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// The named parameters and buffers behind a candle [`VarBuilder`].
///
/// A parameter draws its initial value from a stream of its own, named after it: the order in which
/// layers are made does not matter, and a layer that is added changes no other. Asking for a name
/// again gives the same variable (shared weights). Names are PyTorch's, so a state dict loads; the
/// buffers of a norm (`running_mean`, `running_var`, `num_batches_tracked`, and the vectors of a spectral norm,
/// `parametrizations.weight.0._u` and `._v`, or `weight_u` and `weight_v` beside a `weight_orig`) are kept and saved,
/// but are not among the trainable ones.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use candle_core::{DType, Device};
/// use taper_core::{LinearConfig, Parameters, linear, stream};
///
/// let parameters = Parameters::new(&stream(7, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let layer = linear(3, 2, LinearConfig::default(), vb.pp("fc"))?;
/// let names: Vec<_> = parameters.trainable().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["fc.bias", "fc.weight"]);
///
/// # let path = std::env::temp_dir().join("taper-parameters-example.safetensors");
/// std::fs::write(&path, parameters.to_safetensors()?)?;
/// parameters.load_safetensors(&std::fs::read(&path)?)?;
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parameters {
    store: Arc<Store>,
}

/// Shared with the builders, which candle wants to own what they build from.
#[derive(Debug)]
struct Store {
    stream: Stream,
    variables: Mutex<BTreeMap<String, Var>>,
}

impl Parameters {
    /// No parameters yet; each will draw its initial value from a child of `stream`.
    pub fn new(stream: &Stream) -> Self {
        let store = Store { stream: stream.clone(), variables: Mutex::default() };
        Self { store: Arc::new(store) }
    }

    /// A builder that makes parameters of this dtype on this device, here.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Builder(self.store.clone())), dtype, device.clone())
    }

    /// What an optimizer trains: everything but the buffers, in the order of the names.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.filtered(|name, variables| !is_buffer(name, variables))
    }

    /// What layers remember without training it, in the order of the names.
    pub fn buffers(&self) -> Vec<(String, Var)> {
        self.filtered(is_buffer)
    }

    /// Parameters and buffers in the order of the names.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.filtered(|_, _| true)
    }

    fn filtered(&self, keep: impl Fn(&str, &BTreeMap<String, Var>) -> bool) -> Vec<(String, Var)> {
        let variables = self.store.variables();
        let kept = variables.iter().filter(|(name, _)| keep(name, &variables));
        kept.map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// The bytes of a safetensors file with every parameter and buffer.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut snapshot = Snapshot::new();
        self.save(&mut snapshot)?;
        snapshot.to_bytes()
    }

    /// Takes every value from the bytes of a safetensors file, as [`Parameters::load`] takes it from a state dict.
    pub fn load_safetensors(&self, bytes: &[u8]) -> Result<()> {
        let file = SafeTensors::deserialize(bytes)?;
        self.set_all(&file.iter().collect(), Strictness::StateDict)
    }

    /// Takes every value from a state dict, which must have the names and shapes that are here.
    ///
    /// As PyTorch's `load_state_dict(strict=True)` does it:
    ///
    /// - Floating dtypes (f16, bf16, f32, f64) are converted to those here; a value that a smaller one does not hold
    ///   becomes infinite. PyTorch converts whole numbers as well, and truth values; here these are errors.
    /// - A `num_batches_tracked` that is not there is left as it is: PyTorch has no version of a safetensors file's
    ///   layers, and takes it for one from before layers counted.
    /// - A `num_batches_tracked` of a norm that has running statistics here and counts nothing is passed over, as
    ///   torchvision's `FrozenBatchNorm2d` does.
    ///
    /// [`Stateful::restore`] allows none of this: what goes on from a saved state must be exactly what was saved.
    ///
    /// # Errors
    /// One that lists every tensor that is missing, unexpected, or of another shape or dtype, and where a prefix of the
    /// names is all that differs, that prefix. After an error nothing has changed.
    pub fn load(&self, state: &HashMap<String, Tensor>) -> Result<()> {
        let state = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.set_all(&state, Strictness::StateDict)
    }

    /// Sets all variables, or none.
    fn set_all<E: Entry>(&self, state: &BTreeMap<&str, E>, strictness: Strictness) -> Result<()> {
        let variables = self.store.variables();
        state_dict::check(&variables, state, strictness)?;
        // All values are made, and copied (one may be a view of a variable), before the first one is set.
        let mut values = Vec::with_capacity(variables.len());
        for (name, var) in variables.iter() {
            // What may be missing keeps its value.
            let Some(entry) = state.get(name.as_str()) else { continue };
            let value = entry.value()?.to_dtype(var.dtype())?.to_device(var.device())?;
            values.push((var, value.copy()?));
        }
        for (var, value) in values {
            var.set(&value)?;
        }
        Ok(())
    }
}

impl Stateful for Parameters {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        for (name, var) in self.store.variables().iter() {
            // A copy: the variable's own memory changes with the next step.
            snapshot.put_tensor(name, &var.copy()?);
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.set_all(&snapshot.tensors().collect(), Strictness::Exact)
    }
}

impl Store {
    fn variables(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        // No code panics between two changes that belong together: a poisoned map is still whole.
        self.variables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as candle's layers ask for it.
struct Builder(Arc<Store>);

impl SimpleBackend for Builder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut variables = self.0.variables();
        if let Some(var) = variables.get(name) {
            if var.shape() != &shape || var.dtype() != dtype {
                let expected =
                    format!("{:?} of shape {:?}, as it was first made", var.dtype(), var.dims());
                let received = format!("{dtype:?} of shape {:?}", shape.dims());
                Err(Error::argument("Parameters", name, expected, received))?;
            }
            return Ok(var.as_tensor().clone());
        }
        let mut stream = self.0.stream.child(name);
        let var = Var::from_tensor(&initial(&mut stream, init, shape, dtype, device)?)?;
        let tensor = var.as_tensor().clone();
        variables.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(
        &self,
        name: &str,
        _dtype: DType,
        _device: &Device,
    ) -> candle_core::Result<Tensor> {
        let variables = self.0.variables();
        let known = || format!("a parameter already made, one of {:?}", variables.keys());
        let var = variables.get(name);
        Ok(var
            .ok_or_else(|| Error::argument("Parameters", "name", known(), name))?
            .as_tensor()
            .clone())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.variables().contains_key(name)
    }
}

/// What candle's hint asks for, drawn from `stream` instead of candle's unseeded generator.
fn initial(
    stream: &mut Stream,
    init: Init,
    shape: Shape,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    match init {
        Init::Const(value) => {
            Ok(Tensor::full(value, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
        }
        Init::Uniform { lo, up } => stream.uniform(lo, up, shape, dtype, device),
        Init::Randn { mean, stdev } => stream.normal(mean, stdev, shape, dtype, device),
        Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(&shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => stream.normal(0.0, std, shape, dtype, device),
                NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * std;
                    stream.uniform(-bound, bound, shape, dtype, device)
                }
            }
        }
    }
}

/// Whether `name`, one of `variables`, is that of a buffer.
fn is_buffer(name: &str, variables: &BTreeMap<String, Var>) -> bool {
    let parts: Vec<&str> = name.rsplit('.').collect();
    match parts[..] {
        // `parametrizations.<weight>.<which>._u`
        ["_u" | "_v", which, _, "parametrizations", ..] => {
            which.bytes().all(|byte| byte.is_ascii_digit())
        }
        // The older form. A weight norm has a `weight_v` too, and trains it.
        [last @ ("weight_u" | "weight_v"), ..] => {
            let prefix = &name[..name.len() - last.len()];
            variables.contains_key(&format!("{prefix}weight_orig"))
        }
        [last, ..] => BUFFERS.contains(&last),
        [] => false,
    }
}
