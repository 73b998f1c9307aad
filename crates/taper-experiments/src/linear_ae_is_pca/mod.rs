//! Does a linear autoencoder learn what PCA computes?

use std::num::NonZeroU64;
use std::ops::ControlFlow;

use candle_core::{DType, Module, Tensor};
use serde::{Deserialize, Serialize};
use taper_classical::{Matrix, Pca, PcaConfig, subspace_agreement};
use taper_core::optim::{Adam, AdamConfig, Optimizer};
use taper_core::{
    Gradients, Linear, LinearConfig, Parameters, Schedule, Snapshot, Stateful, linear,
};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_losses::{LossOptions, Reduction, mse};

use crate::data::{sources, split};

pub(crate) struct LinearAeIsPca;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    method: Method,
    code: usize,
    learning_rate: f64,
    steps: u64,
    record_every: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Pca,
    LinearAutoencoder,
}

impl Experiment for LinearAeIsPca {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "linear_ae_is_pca/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(match settings.method {
            Method::Pca => Box::new(ClosedForm::new(&settings, context)?),
            Method::LinearAutoencoder => Box::new(Autoencoder::new(settings, context)?),
        })
    }
}

/// PCA, which has no steps and no state: everything follows from the data.
struct ClosedForm {
    train_sse: f64,
    test_sse: f64,
    last_step: u64,
}

impl ClosedForm {
    fn new(settings: &Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let (train, test) = (matrix(&split.train()?.0)?, matrix(&split.held_out()?.0)?);
        let pca = Pca::fit(&train, keeping(settings.code))?;
        Ok(Self {
            train_sse: pca.reconstruction_error(&train)?,
            test_sse: pca.reconstruction_error(&test)?,
            last_step: settings.steps,
        })
    }
}

impl Arm for ClosedForm {
    fn steps(&self) -> u64 {
        0
    }

    fn step(&mut self, _: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        Ok(ControlFlow::Break(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        record.metric_at(0, "test_sse", self.test_sse);
        record.metric_at(self.last_step, "test_sse", self.test_sse);
        record.measure("train_sse", self.train_sse);
        record.measure("test_sse", self.test_sse);
        Ok(())
    }
}

impl Stateful for ClosedForm {
    fn save(&self, _: &mut Snapshot) -> taper_core::Result<()> {
        Ok(())
    }

    fn restore(&mut self, _: &Snapshot) -> taper_core::Result<()> {
        Ok(())
    }
}

/// A linear encoder and decoder on centred data, trained by full-batch Adam.
struct Autoencoder {
    parameters: Parameters,
    encoder: Linear,
    decoder: Linear,
    gradients: Gradients,
    optimizer: Adam,
    schedule: Schedule,
    /// Centred by the training mean, as are the test images.
    train: Tensor,
    test: Tensor,
    /// PCA's components on the same training images, a row each.
    principal: Matrix,
    settings: Settings,
}

impl Autoencoder {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let (train, test) = (split.train()?.0, split.held_out()?.0);
        let pca = Pca::fit(&matrix(&train)?, keeping(settings.code))?;
        let mean = train.mean_keepdim(0)?;

        let parameters = Parameters::new(&taper_core::stream(context.seed, "init"));
        let vb = parameters.builder(DType::F32, &context.device);
        // The data is centred, so neither side needs a bias.
        let config = LinearConfig { bias: false, ..Default::default() };
        let encoder = linear(split.features(), settings.code, config, vb.pp("encoder"))?;
        let decoder = linear(settings.code, split.features(), config, vb.pp("decoder"))?;
        let adam = AdamConfig { learning_rate: settings.learning_rate, ..Default::default() };
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let optimizer = Adam::new(trainable, adam)?;
        let steps = NonZeroU64::new(settings.steps).ok_or("`steps` should be at least 1")?;
        Ok(Self {
            encoder,
            decoder,
            gradients,
            optimizer,
            schedule: Schedule::Cosine { steps, min_factor: 0.0 },
            train: train.broadcast_sub(&mean)?,
            test: test.broadcast_sub(&mean)?,
            principal: pca.components().clone(),
            parameters,
            settings,
        })
    }

    /// The mean over images of the sum over pixels of squared errors.
    fn sse(&self, images: &Tensor) -> taper_core::Result<Tensor> {
        let rebuilt = self.decoder.forward(&self.encoder.forward(images)?)?;
        let options = LossOptions { reduction: Reduction::Sum, ..Default::default() };
        Ok((mse(&rebuilt, images, &options)? / images.dim(0)? as f64)?)
    }
}

impl Arm for Autoencoder {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.record_every) {
            record.metric("test_sse", scalar(&self.sse(&self.test)?)?);
        }
        let rate = self.schedule.learning_rate(self.settings.learning_rate, record.step());
        self.optimizer.set_learning_rate(0, rate)?;
        let loss = self.sse(&self.train)?;
        self.gradients.backward(&loss)?;
        self.optimizer.step(&self.gradients)?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let test_sse = scalar(&self.sse(&self.test)?)?;
        record.metric("test_sse", test_sse);
        record.measure("test_sse", test_sse);
        record.measure("train_sse", scalar(&self.sse(&self.train)?)?);
        // The columns of the decoder's weight span the subspace that images are rebuilt in.
        let spanned = matrix(&self.decoder.weight().t()?)?;
        record.measure("subspace_agreement", subspace_agreement(&self.principal, &spanned)?);
        Ok(())
    }
}

impl Stateful for Autoencoder {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("parameters", &self.parameters)?;
        snapshot.put("optimizer", &self.optimizer)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("parameters", &mut self.parameters)?;
        snapshot.get("optimizer", &mut self.optimizer)
    }
}

fn keeping(components: usize) -> PcaConfig {
    PcaConfig { n_components: Some(components), ..Default::default() }
}

/// A tensor's rows in f64.
fn matrix(tensor: &Tensor) -> Result<Matrix, BoxError> {
    let (rows, columns) = tensor.dims2()?;
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(Matrix::new(rows, columns, values)?)
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}
