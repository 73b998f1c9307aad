//! Published weights: the file, and the lines that load it.

use taper_lab::BoxError;

use super::Args;

/// Fetches the weights of a repository, and tells where they are and how they are loaded.
#[cfg(feature = "hub")]
pub(super) fn fetch(repository: &str, args: &Args) -> Result<String, BoxError> {
    let progress = super::progress::Progress::new(&repository);
    let file = args.file.as_deref().unwrap_or("model.safetensors");
    let options = super::options(args);
    let result =
        taper_data::download_weights(repository, file, &options, &|event| progress.observe(&event));
    progress.close();
    Ok(summary(repository, file, &result?))
}

#[cfg(feature = "hub")]
fn summary(repository: &str, file: &str, weights: &taper_data::Weights) -> String {
    let taper_data::Weights { path, commit, sha256, bytes, tensors, page, .. } = weights;
    let path = path.display();
    format!(
        "{repository} at {commit}
  {file}: {tensors} tensors, {:.1} MB, SHA-256 {sha256}: the file is as the hub has it on record
  licence: see {page}
  in {path}

It is loaded so (`--revision {commit}` always gives this file):

    let parameters = Parameters::new(&stream(0, \"init\"));
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    // The network is built from `vb`, and then
    parameters.load_safetensors(&std::fs::read({:?})?)?;",
        *bytes as f64 / 1e6,
        path.to_string()
    )
}

#[cfg(not(feature = "hub"))]
pub(super) fn fetch(repository: &str, _: &Args) -> Result<String, BoxError> {
    Err(super::without_downloads(&format!("--weights {repository}")))
}
