//! Published weights from the hub.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::repository::RepoTypeAny;
use safetensors::tensor::Metadata;

use super::cache::{Cache, inside};
use super::client::Hub;
use super::{DownloadOptions, Event, fetched};
use crate::{Error, Result};

/// What files of weights that are pickles end in.
const PICKLES: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];

/// The bytes that say how long a safetensors header is, and the longest that readers take.
const LENGTH: u64 = 8;
const LONGEST: u64 = 100_000_000;

/// A file of weights on this machine, as the hub has it on record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Weights {
    /// Where it is, in the hub's cache.
    pub path: PathBuf,
    /// The commit that it is of.
    pub commit: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// How many tensors it holds.
    pub tensors: usize,
    /// The page of its repository, which has its licence.
    pub page: String,
}

/// Fetches a safetensors file of the model `repository`, OWNER/NAME, and verifies it.
///
/// The file comes into the cache that all the hub's tools share, as those of data sets do ([`download`](super::download)):
/// its size and SHA-256 are those of the hub's own record at the resolved commit, a connection that breaks off is taken up
/// where it ended, and where [`DownloadOptions::offline`] is set the network is left alone. The bytes are for
/// [`Parameters::load_safetensors`](taper_core::Parameters::load_safetensors):
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use candle_core::{DType, Device};
/// use taper_core::{Parameters, stream};
/// use taper_data::{DownloadOptions, download_weights};
///
/// let parameters = Parameters::new(&stream(7, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// // A network is built from `vb`, and then
/// let options = DownloadOptions::default();
/// let weights = download_weights("timm/resnet18.tv_in1k", "model.safetensors", &options, &|_| {})?;
/// parameters.load_safetensors(&std::fs::read(weights.path)?)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A pickle, which runs any code that is in it when it is read, and a file that is no safetensors file; what the hub or the
/// disk refused, the cache whole and the next attempt free to succeed.
pub fn download_weights(
    repository: &str,
    file: &str,
    options: &DownloadOptions,
    on: &dyn Fn(Event<'_>),
) -> Result<Weights> {
    check_names(repository, file)?;
    let hub = Hub::new(RepoTypeAny::Model, repository, options, on)?;
    let cache = Cache::new(hub.cache_folder(), RepoTypeAny::Model, repository);
    let revision = options.revision.as_deref().unwrap_or("main");
    let (commit, files) = fetched(&hub, &cache, revision, &[file])?;
    let [file] = <[_; 1]>::try_from(files).map_err(|_| Error::Hub {
        what: file.to_owned(),
        reason: "the hub answers with other files".to_owned(),
    })?;
    let (bytes, tensors) = header(&file.path)?;
    let page = format!("{}/{repository}", hub.endpoint());
    Ok(Weights { path: file.path, commit, sha256: file.sha256, bytes, tensors, page })
}

/// That these can be the names of a repository and of a safetensors file.
fn check_names(repository: &str, file: &str) -> Result<()> {
    let wrong = |argument, expected: &str, received: &str| {
        let received = format!("`{received}`");
        Err(taper_core::Error::argument("download", argument, expected, received).into())
    };
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed)
    };
    if !repository.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name)) {
        return wrong("weights", "a repository of the hub, OWNER/NAME", repository);
    }
    let path = inside("file", file)?;
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "safetensors" => Ok(()),
        pickle if PICKLES.contains(&pickle) => {
            let expected = "a safetensors file, since a pickle runs any code that is in it when it is read; most \
                            repositories have a model.safetensors beside it";
            wrong("file", expected, file)
        }
        _ => wrong("file", "a safetensors file", file),
    }
}

/// The size of a safetensors file and the number of its tensors, from its header alone; an error where it is none.
fn header(path: &Path) -> Result<(u64, usize)> {
    let io = || Error::io("read", path);
    let mut file = File::open(path).map_err(io())?;
    let bytes = file.metadata().map_err(io())?.len();
    let mut start = Vec::new();
    (&mut file).take(LENGTH).read_to_end(&mut start).map_err(io())?;
    let none = |reason: &str| {
        let reason = format!(
            "it is as the hub has it on record, and no safetensors file: {reason}. Tell those who published it, and take \
             another file or revision (`--file`, `--revision`)"
        );
        Error::File { path: path.to_owned(), reason }
    };
    let length = <[u8; LENGTH as usize]>::try_from(start.as_slice()).map(u64::from_le_bytes);
    let length = length.map_err(|_| none("it has no header"))?;
    if length > LONGEST.min(bytes - LENGTH) {
        // The first byte of a pickle, and those of an archive, in which PyTorch puts one.
        if start.starts_with(&[0x80]) || start.starts_with(b"PK\x03\x04") {
            return Err(none("it is a pickle, which runs any code that is in it when it is read"));
        }
        return Err(none(&format!("its header would have {length} bytes, and it has {bytes}")));
    }
    let mut json = Vec::new();
    file.take(length).read_to_end(&mut json).map_err(io())?;
    let metadata: Metadata =
        serde_json::from_slice(&json).map_err(|error| none(&format!("its header: {error}")))?;
    let expected = LENGTH + length + metadata.data_len() as u64;
    match expected == bytes {
        true => Ok((bytes, metadata.tensors().len())),
        false => Err(none(&format!("by its header it has {expected} bytes, and it has {bytes}"))),
    }
}
