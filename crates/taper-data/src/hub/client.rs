//! What is asked of the hub, and what its answers mean.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use hf_hub::repository::{RepoTreeEntry, RepoType, RepoTypeAny};
use hf_hub::{HFClient, HFClientBuilder, HFError, HFRepository};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::cache::{is_commit, is_sha256};
use super::{DownloadOptions, Event};
use crate::{Error, Result};

/// A repository of the hub, how patiently it is asked, and who is told what happens.
pub(super) struct Hub<'a> {
    runtime: Runtime,
    client: HFClient,
    repository: HFRepository<RepoTypeAny>,
    kind: RepoTypeAny,
    name: String,
    options: &'a DownloadOptions,
    pub(super) on: &'a dyn Fn(Event<'_>),
}

/// What the hub has on record of a file.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Why a request failed.
pub(super) enum Failure {
    /// It may succeed another time; after so long, where the hub has said so.
    Passing(String, Option<Duration>),
    /// It will not.
    Lasting(Error),
}

impl<'a> Hub<'a> {
    pub(super) fn new(
        kind: RepoTypeAny,
        repository: &str,
        options: &'a DownloadOptions,
        on: &'a dyn Fn(Event<'_>),
    ) -> Result<Self> {
        // Attempts are counted in one place, which is here.
        let mut builder = HFClientBuilder::new().retry_max_attempts(0);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(cache) = &options.cache {
            builder = builder.cache_dir(cache);
        }
        let fault = |reason: String| Error::Hub { what: "the hub's client".to_owned(), reason };
        let no_address = |what: &dyn std::fmt::Display| {
            fault(format!(
                "{what}; HF_ENDPOINT should be an address such as https://huggingface.co"
            ))
        };
        let client = builder.build().map_err(|error| no_address(&error))?;
        let endpoint = client.endpoint();
        // The client takes any text, and says so only when it is used.
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(no_address(&format!(
                "`{endpoint}` begins with neither http:// nor https://"
            )));
        }
        // The hub's transfers of large files ask for more than one thread.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        let (owner, name) = hf_hub::split_id(repository);
        Ok(Self {
            repository: client.repository(kind, owner, name),
            kind,
            runtime,
            client,
            name: repository.to_owned(),
            options,
            on,
        })
    }

    pub(super) fn is_offline(&self) -> bool {
        self.options.offline
    }

    pub(super) fn cache_folder(&self) -> &Path {
        self.client.cache_dir()
    }

    pub(super) fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// The commit that a revision is at.
    pub(super) fn commit(&self, revision: &str) -> Result<String> {
        if is_commit(revision) {
            return Ok(revision.to_owned());
        }
        let what = format!("{} at {revision}", self.name);
        let (owner, name) = hf_hub::split_id(&self.name);
        let commit = self.patiently(&what, || match self.kind {
            RepoTypeAny::Model => {
                let repository = self.client.model(owner, name);
                let info = self.answer(&what, repository.info().revision(revision).send())?;
                Ok(info.sha)
            }
            _ => {
                let repository = self.client.dataset(owner, name);
                let info = self.answer(&what, repository.info().revision(revision).send())?;
                Ok(info.sha)
            }
        })?;
        commit
            .filter(|commit| is_commit(commit))
            .ok_or_else(|| Error::Hub { what, reason: "the hub names no commit for it".to_owned() })
    }

    /// What the hub has on record of these files at a commit.
    pub(super) fn listed(&self, commit: &str, names: &[&str]) -> Result<Vec<Listed>> {
        let what = format!("{} at {commit}", self.name);
        let entries = self.patiently(&what, || {
            let paths = names.iter().map(|name| (*name).to_owned()).collect();
            let request = self.repository.get_paths_info().paths(paths).revision(commit).send();
            self.answer(&what, request)
        })?;
        let found = names.iter().map(|name| {
            let entry = entries.iter().find_map(|entry| match entry {
                RepoTreeEntry::File { path, size, lfs, .. } if path == name => Some((size, lfs)),
                _ => None,
            });
            let lacks = |reason: &str| {
                Err(Error::Hub { what: format!("{name} of {what}"), reason: reason.to_owned() })
            };
            let Some((size, lfs)) = entry else {
                return lacks(&format!("the hub has no such file{}", self.other_files(commit)));
            };
            match lfs.as_ref().and_then(|lfs| lfs.sha256.clone()).filter(|hash| is_sha256(hash)) {
                Some(sha256) => Ok(Listed { name: (*name).to_owned(), bytes: *size, sha256 }),
                None => lacks("the hub has no SHA-256 of it on record, so it cannot be verified"),
            }
        });
        found.collect()
    }

    /// Where the files of a model are to be seen: how one is called is up to its makers.
    fn other_files(&self, commit: &str) -> String {
        match self.kind {
            RepoTypeAny::Model => format!(
                "; {}/{}/tree/{commit} shows those that there are, and `--file NAME` takes another",
                self.endpoint(),
                self.name
            ),
            _ => String::new(),
        }
    }

    /// What to do without the hub, after a word that joins it to what stands before.
    fn at_hand(&self, join: &str) -> String {
        match self.kind {
            RepoTypeAny::Model => String::new(),
            _ => format!("{join}`--from DIR` reads files that are at hand"),
        }
    }

    /// Gives `take` the bytes of a file from `from` on, as they come, until it breaks off. An end before the file's is for
    /// the caller to see.
    pub(super) fn stream(
        &self,
        commit: &str,
        file: &Listed,
        from: u64,
        mut take: impl FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> std::result::Result<(), Failure> {
        let what = format!("{} of {}", file.name, self.name);
        let range = (from > 0).then_some(from..file.bytes);
        let request = self
            .repository
            .download_file_stream()
            .filename(&file.name)
            .revision(commit)
            .maybe_range(range)
            .send();
        let (_, mut stream) = self.answer(&what, request)?;
        loop {
            let next = async { timeout(self.options.patience, stream.next()).await };
            match self.runtime.block_on(next) {
                Err(_) => return Err(self.silent()),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(self.failure(&what, error)),
                Ok(Some(Ok(bytes))) => {
                    if take(&bytes).map_err(Failure::Lasting)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Makes a request until it succeeds, lastingly fails, or has failed too often.
    fn patiently<T>(
        &self,
        what: &str,
        mut request: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut attempts = Attempts::new(self);
        loop {
            match request() {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempts.again(what, failure)?,
            }
        }
    }

    fn answer<T>(
        &self,
        what: &str,
        request: impl Future<Output = hf_hub::HFResult<T>>,
    ) -> std::result::Result<T, Failure> {
        match self.runtime.block_on(async { timeout(self.options.patience, request).await }) {
            Err(_) => Err(self.silent()),
            Ok(answer) => answer.map_err(|error| self.failure(what, error)),
        }
    }

    fn silent(&self) -> Failure {
        let patience = self.options.patience.as_secs_f64();
        Failure::Passing(format!("{} sent nothing for {patience} s", self.endpoint()), None)
    }

    /// What an error of the hub's client means to a person, and whether another attempt may help.
    fn failure(&self, what: &str, error: HFError) -> Failure {
        let lasting =
            |reason: String| Failure::Lasting(Error::Hub { what: what.to_owned(), reason });
        let hub = self.endpoint();
        match error {
            HFError::AuthRequired { .. } => lasting(format!(
                "{hub} asks who is there (401): put a token into HF_TOKEN, or log in with the hub's own tool"
            )),
            HFError::Forbidden { .. } => lasting(format!(
                "{hub} does not let this token have it (403): ask for access on its page"
            )),
            HFError::EntryNotFound { context, .. }
            | HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. } => {
                let code = context.and_then(|context| context.error_code);
                lasting(match code.as_deref() {
                    Some("RevisionNotFound") => format!(
                        "{hub} has no such revision (404); a mirror may number its own: `--revision main` takes what it \
                         has, and the content is verified all the same"
                    ),
                    _ => {
                        let kind = match self.kind {
                            RepoTypeAny::Dataset => "data set",
                            other => other.singular(),
                        };
                        format!("{hub} has no such {kind} or file (404){}", self.at_hand("; "))
                    }
                })
            }
            HFError::RateLimited { retry_after, .. } => {
                Failure::Passing(format!("{hub} asks for a pause (429)"), retry_after)
            }
            HFError::Http { context } => {
                let status = context.status;
                match status.as_u16() {
                    408 | 500..=599 => Failure::Passing(format!("{hub} answers {status}"), None),
                    _ => lasting(format!("{hub} answers {status}")),
                }
            }
            HFError::Request { source, .. } if is_no_json(&source) => lasting(format!(
                "{hub} answers with something else than the hub's data: is there a login page in between, or is \
                 HF_ENDPOINT another server's?"
            )),
            HFError::Request { source, .. } => {
                Failure::Passing(format!("{hub}: {}", cause(&source)), None)
            }
            HFError::Xet { source, .. } => {
                Failure::Passing(format!("{hub}: {}", cause(&*source)), None)
            }
            other => lasting(other.to_string()),
        }
    }
}

/// Whether an answer came whole and was not what the hub's interface says.
fn is_no_json(error: &dyn std::error::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<serde_json::Error>())
}

/// The innermost cause of an error, which says what happened; the others say where in the client.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// Counts attempts, and pauses between them.
pub(super) struct Attempts<'a> {
    hub: &'a Hub<'a>,
    made: u32,
    pause: Duration,
}

impl<'a> Attempts<'a> {
    /// The longest pause, also where the hub asks for a longer one.
    const LONGEST: Duration = Duration::from_secs(120);

    pub(super) fn new(hub: &'a Hub<'a>) -> Self {
        Self { hub, made: 1, pause: hub.options.pause }
    }

    /// Pauses before another attempt, or returns the error that ends them.
    pub(super) fn again(&mut self, what: &str, failure: Failure) -> Result<()> {
        let (reason, asked) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing(reason, asked) => (reason, asked),
        };
        if self.made >= self.hub.options.attempts {
            let reason = format!(
                "{reason}; given up after {} attempts. HF_ENDPOINT names another address of the hub, `--offline` takes \
                 what its cache has{}",
                self.made,
                self.hub.at_hand(", and ")
            );
            return Err(Error::Hub { what: what.to_owned(), reason });
        }
        let pause = asked.unwrap_or(self.pause).min(Self::LONGEST);
        (self.hub.on)(Event::Again { what, reason: &reason, pause });
        thread::sleep(pause);
        self.made += 1;
        self.pause *= 2;
        Ok(())
    }
}
