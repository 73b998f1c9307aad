//! Downloads from the Hugging Face hub, through its cache: data sets, into the store of verified ones, and weights.
//!
//! Files come into the cache that all the hub's tools share, and only what has the size and the SHA-256 that the hub has on
//! record for them at the resolved commit is called by its name there.

mod cache;
mod client;
mod transfer;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::repository::RepoTypeAny;

use crate::card::Card;
use crate::import::parquet;
use crate::store::{DataStore, Files, ReadPart, Record, State};
use crate::{DataName, Error, Result};
use cache::Cache;
use client::Hub;
pub use weights::{Weights, download_weights};

/// How a data set or a file of weights is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadOptions {
    /// The branch, tag or commit to fetch. A data set has its card's commit where there is none, and its content is verified
    /// all the same; weights have what `main` is at.
    pub revision: Option<String>,
    /// Whether the network is left alone: only what the hub's cache has is used.
    pub offline: bool,
    /// The address of the hub, in place of `HF_ENDPOINT`.
    pub endpoint: Option<String>,
    /// The cache of the hub's files, in place of `HF_HUB_CACHE` or `HF_HOME`.
    pub cache: Option<PathBuf>,
    /// How often a request is made before it is given up; one that brought bytes does not count.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub pause: Duration,
    /// How long the hub may send nothing before the attempt is given up.
    pub patience: Duration,
}

impl Default for DownloadOptions {
    /// The card's commit or `main`, by the network, as the environment says; 5 attempts a second apart and more, a minute's patience.
    fn default() -> Self {
        Self {
            revision: None,
            offline: false,
            endpoint: None,
            cache: None,
            attempts: 5,
            pause: Duration::from_secs(1),
            patience: Duration::from_secs(60),
        }
    }
}

/// What happens during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The data set is in the store, whole.
    Present,
    /// What is in the store is not what was kept there; it is fetched anew.
    Damaged {
        /// What differs.
        reason: &'a str,
    },
    /// Another process is fetching the same; its end is waited for.
    Waiting,
    /// A file of so many bytes begins, of which so many are there from an earlier attempt.
    File {
        /// Its name.
        name: &'a str,
        /// Its size.
        bytes: u64,
        /// The bytes that are there.
        there: u64,
    },
    /// So many bytes of the file are there now.
    Received {
        /// The bytes that are there.
        there: u64,
    },
    /// An attempt failed, and another follows.
    Again {
        /// What was asked for.
        what: &'a str,
        /// Why it failed.
        reason: &'a str,
        /// The pause before the next.
        pause: Duration,
    },
    /// A file that is not what the hub has on record was moved out of the way.
    Quarantined {
        /// Where it is now.
        path: &'a Path,
        /// What differs.
        reason: &'a str,
    },
    /// All files are there and verified; their images are being decoded.
    Decoding,
}

/// Fetches the data set called `name`, verifies it, and keeps it in `store`.
///
/// Where it is in the store and whole, and no other revision is asked for, nothing is done. Two checks stand between the
/// network and the store: each file against the size and SHA-256 of the hub's own record at the resolved commit, and the
/// decoded pixels and labels against the card ([`DataStore::keep`]).
///
/// A connection that breaks off is taken up where it ended; a file that is not what it should be is moved to the folder
/// `quarantine` of its repository in the cache, and fetched once more from its start.
///
/// # Errors
/// A data set that is compiled in; what the hub or the disk refused, the cache whole and the next attempt free to
/// succeed; a content that is not the card's.
pub fn download(
    name: &DataName,
    options: &DownloadOptions,
    store: &DataStore,
    on: &dyn Fn(Event<'_>),
) -> Result<Record> {
    let card = name.card()?;
    let Some(place) = &card.hub else {
        let reason = "it is compiled in: there is nothing to fetch".to_owned();
        return Err(Error::Hub { what: name.to_string(), reason });
    };
    let _lock = store.lock(name, || on(Event::Waiting))?;
    match store.state(name)? {
        State::Whole if options.revision.is_none() => {
            on(Event::Present);
            return store.require(name);
        }
        State::Damaged { reason } => on(Event::Damaged { reason: &reason }),
        _ => {}
    }
    let revision = options.revision.as_deref().unwrap_or(&card.revision);
    let kind = RepoTypeAny::Dataset;
    let hub = Hub::new(kind, &place.repository, options, on)?;
    let cache = Cache::new(hub.cache_folder(), kind, &place.repository);
    let names: Vec<&str> = card.files.iter().map(|file| file.name.as_str()).collect();
    let (commit, files) = fetched(&hub, &cache, revision, &names)?;
    on(Event::Decoding);
    let parts = card.parts.iter().map(|part| read(&card, &part.name, &files));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let source = format!("{} at {commit}, {}", place.repository, hub.endpoint());
    store.keep(name, &parts, &source)
}

/// A file in the cache, verified.
struct Fetched {
    name: String,
    path: PathBuf,
    sha256: String,
}

/// The commit of the revision, and its files in the cache, brought there where the network is not to be left alone.
fn fetched(
    hub: &Hub<'_>,
    cache: &Cache,
    revision: &str,
    names: &[&str],
) -> Result<(String, Vec<Fetched>)> {
    if hub.is_offline() {
        return cache.offline(revision, names);
    }
    let commit = hub.commit(revision)?;
    let mut files = Vec::new();
    for file in hub.listed(&commit, names)? {
        transfer::fetch(hub, cache, &commit, &file)?;
        let path = cache.point(&commit, &file.name, &file.sha256)?;
        files.push(Fetched { name: file.name, path, sha256: file.sha256 });
    }
    cache.refer(revision, &commit)?;
    Ok((commit, files))
}

/// Decodes the files of a part.
fn read(card: &Card, part: &str, files: &[Fetched]) -> Result<ReadPart> {
    let of_part = card.files.iter().filter(|file| file.part.as_deref() == Some(part));
    let (mut paths, mut stand) = (Vec::new(), Files::Known);
    for file in of_part {
        let Some(fetched) = files.iter().find(|fetched| fetched.name == file.name) else {
            continue;
        };
        paths.push(fetched.path.clone());
        // The worst counts.
        stand = stand.max(match &file.sha256 {
            Some(sha256) if *sha256 == fetched.sha256 => Files::Known,
            Some(_) => Files::Others,
            None => Files::Unknown,
        });
    }
    let images = parquet(card, &paths).map_err(|error| Error::Content {
        name: card.name.clone(),
        part: part.to_owned(),
        reason: format!("the files are as the hub has them, but not readable: {error}"),
    })?;
    Ok(ReadPart { name: part.to_owned(), images, files: stand })
}
