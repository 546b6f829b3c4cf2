//! The files of one model at one commit: out of the cache, or from the hub into it.
//!
//! The transfer and the cache's layout are hf-hub's. Added here is what it lacks: a revision is
//! resolved once, so that files of two commits never mix; files that a repository does not have are
//! remembered, so that a complete cache needs no network; what comes is checked; processes wait for
//! each other; what may pass is tried again.

use std::{
    cell::OnceCell,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        RepoInfo,
        sync::{Api, ApiBuilder},
    },
};
use sha2::{Digest, Sha256};

use super::{
    advice::advice,
    failure::{Failure, patiently},
    progress::FileProgress,
    settings::Hub,
};
use crate::error::ModelError;

/// For the hub's answer to what a repository has.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Repository {
    hub: Hub,
    api: Api,
    repository: String,
    revision: String,
    commit: String,
    /// What the hub says that the commit has; none if nobody answered.
    listing: OnceCell<Option<Vec<String>>>,
}

impl Repository {
    /// Resolves the revision: a branch or tag that the cache knows stays at the commit that it had
    /// then.
    ///
    /// # Errors
    /// A revision that neither the cache nor the hub knows.
    pub(crate) fn open(hub: &Hub, repository: &str, revision: &str) -> Result<Self, ModelError> {
        let mut opened = Self {
            api: api(hub).map_err(|failure| {
                let reason = advice(hub, repository, revision, failure);
                ModelError::Hub {
                    repository: repository.to_owned(),
                    file: "anything".to_owned(),
                    reason,
                }
            })?,
            hub: hub.clone(),
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            commit: String::new(),
            listing: OnceCell::new(),
        };
        opened.commit = opened.resolve()?;
        tracing::info!(
            repository,
            revision,
            commit = opened.commit,
            cache = %hub.cache.display(),
            "opening model"
        );
        Ok(opened)
    }

    fn resolve(&mut self) -> Result<String, ModelError> {
        if is_commit(&self.revision) {
            return Ok(self.revision.to_ascii_lowercase());
        }
        if let Some(commit) = self.known_commit() {
            return Ok(commit);
        }
        if self.hub.offline {
            return Err(self.not_cached(&format!("revision {}", self.revision)));
        }
        let info = self
            .ask(&self.revision, may_pass_with_patience)
            .map_err(|failure| self.failed("the list of files", failure))?;
        self.write_ref(&info.sha).map_err(|failure| self.failed("the list of files", failure))?;
        self.listing = OnceCell::from(Some(names(&info)));
        Ok(info.sha)
    }

    /// The cached or fetched file; none if the repository has no such file, or if it is not in the
    /// cache and the hub cannot be asked.
    ///
    /// # Errors
    /// A hub that refuses, or a download that fails for good.
    pub(crate) fn fetch(&self, file: &str) -> Result<Option<PathBuf>, ModelError> {
        let path = self.snapshot().join(file);
        if path.is_file() {
            return Ok(Some(path));
        }
        if self.hub.offline || self.absence(file).exists() {
            return Ok(None);
        }
        let Some(listing) = self.listing()? else {
            return Ok(None);
        };
        if !listing.iter().any(|name| name == file) {
            self.remember_absence(file);
            return Ok(None);
        }
        self.download(file, &path).map_err(|failure| self.failed(file, failure))?;
        Ok(Some(path))
    }

    /// A missing file is a matter of the cache if the hub was not asked.
    pub(crate) fn explain(&self, error: ModelError) -> ModelError {
        let asked = !self.hub.offline && !matches!(self.listing.get(), Some(None));
        match error {
            ModelError::MissingFile { file, .. } if !asked && !self.absence(&file).exists() => {
                self.not_cached(&file)
            }
            other => other,
        }
    }

    fn listing(&self) -> Result<Option<&Vec<String>>, ModelError> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing.as_ref());
        }
        // because: what the cache has may be all that is needed, so nobody waits for a network here
        let cached = self.snapshot().is_dir();
        let again = |failure: &Failure| may_pass(failure) || (!cached && unreachable(failure));
        let listing = match self.ask(&self.commit, again) {
            Ok(info) => Some(names(&info)),
            Err(Failure::Unreachable { reason }) if cached => {
                tracing::warn!(
                    repository = self.repository,
                    reason,
                    "the hub does not answer: only the cache is used"
                );
                None
            }
            Err(failure) => return Err(self.failed("the list of files", failure)),
        };
        Ok(self.listing.get_or_init(|| listing).as_ref())
    }

    fn ask(&self, revision: &str, again: impl Fn(&Failure) -> bool) -> Result<RepoInfo, Failure> {
        let remote = self.api.repo(self.at(revision));
        patiently(self.hub.pause, again, || {
            let request = remote
                .info_request()
                .config()
                .http_status_as_error(false)
                .timeout_global(Some(ANSWER_WITHIN))
                .build();
            let mut response = request.call()?;
            let status = response.status();
            if !status.is_success() {
                let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
                let pause = header("retry-after").and_then(|seconds| seconds.parse().ok());
                let code = header("x-error-code").unwrap_or_default();
                return Err(Failure::status(status.as_u16(), code, pause.map(Duration::from_secs)));
            }
            let text = response.body_mut().read_to_string()?;
            let info: RepoInfo = serde_json::from_str(&text).map_err(|e| Failure::Lasting {
                reason: format!("{} does not answer as a hub does: {e}", self.hub.endpoint),
            })?;
            match is_commit(&info.sha) {
                true => Ok(info),
                false => Err(Failure::Lasting {
                    reason: format!("the hub names \"{}\" as the commit", info.sha),
                }),
            }
        })
    }

    fn download(&self, file: &str, path: &Path) -> Result<(), Failure> {
        let _lock = self.lock()?;
        if path.is_file() {
            return Ok(());
        }
        if path.is_symlink() {
            fs::remove_file(path)?;
        }
        let remote = self.api.repo(self.at(&self.commit));
        patiently(self.hub.pause, may_pass_with_patience, || {
            let mut progress = FileProgress::new(file);
            match remote.download_with_progress(file, &mut progress).map_err(Failure::from) {
                Ok(fetched) if fetched == path => check(path, progress.size()),
                Ok(_) => Err(Failure::Lasting {
                    reason: format!("the hub gives it for another commit than {}", self.commit),
                }),
                Err(Failure::BadPart) => {
                    self.remove_parts()?;
                    Err(Failure::passing(Failure::BadPart.to_string()))
                }
                Err(failure) => Err(failure),
            }
        })
    }

    /// Held while the cache is written, so that workers that start together fetch it once.
    fn lock(&self) -> Result<File, Failure> {
        self.wait_for_lock().map_err(|error| Failure::Lasting {
            reason: format!("the cache {} cannot be locked: {error}", self.hub.cache.display()),
        })
    }

    fn wait_for_lock(&self) -> io::Result<File> {
        let folder =
            self.hub.cache.join(".locks").join(self.folder().file_name().unwrap_or_default());
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("weimocir.lock"))?;
        if lock.try_lock().is_err() {
            tracing::warn!(repository = self.repository, "waiting: another process is fetching it");
            lock.lock()?;
        }
        Ok(lock)
    }

    fn remove_parts(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder().join("blobs"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repository.clone(), RepoType::Model, revision.to_owned())
    }

    fn folder(&self) -> PathBuf {
        self.hub.folder(&self.repository)
    }

    fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshots").join(&self.commit)
    }

    /// Hugging Face's own mark of a file that a commit does not have.
    fn absence(&self, file: &str) -> PathBuf {
        self.folder().join(".no_exist").join(&self.commit).join(file)
    }

    fn remember_absence(&self, file: &str) {
        let mark = self.absence(file);
        let made =
            mark.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&mark));
        if let Err(error) = made {
            // because: a cache that others filled may be read-only; the hub is asked again then
            tracing::debug!(mark = %mark.display(), %error, "cannot remember that a file is absent");
        }
    }

    fn known_commit(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder().join("refs").join(&self.revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    fn write_ref(&self, commit: &str) -> Result<(), Failure> {
        let _lock = self.lock()?;
        let path = self.folder().join("refs").join(&self.revision);
        let part = self.folder().join("refs.part");
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&part, commit)?;
        Ok(fs::rename(part, path)?)
    }

    fn failed(&self, file: &str, failure: Failure) -> ModelError {
        let reason = advice(&self.hub, &self.repository, &self.revision, failure);
        ModelError::Hub { repository: self.name(), file: file.to_owned(), reason }
    }

    fn not_cached(&self, file: &str) -> ModelError {
        let reason = match self.hub.offline {
            true => "HF_HUB_OFFLINE forbids to fetch it".to_owned(),
            false => format!("{} does not answer", self.hub.endpoint),
        };
        ModelError::NotCached {
            repository: self.name(),
            file: file.to_owned(),
            cache: self.hub.cache.display().to_string(),
            reason,
        }
    }

    fn name(&self) -> String {
        format!("{}@{}", self.repository, self.revision)
    }
}

fn api(hub: &Hub) -> Result<Api, Failure> {
    let builder = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
        .with_endpoint(hub.endpoint.clone())
        .with_token(hub.token.clone());
    Ok(builder.build()?)
}

fn names(info: &RepoInfo) -> Vec<String> {
    info.siblings.iter().map(|sibling| sibling.rfilename.clone()).collect()
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn may_pass(failure: &Failure) -> bool {
    matches!(failure, Failure::Passing { .. })
}

fn unreachable(failure: &Failure) -> bool {
    matches!(failure, Failure::Unreachable { .. })
}

fn may_pass_with_patience(failure: &Failure) -> bool {
    may_pass(failure) || unreachable(failure)
}

/// That a fetched file is what the hub said: its size, and its SHA-256 where that is its name in the
/// cache. One that is not is removed.
fn check(path: &Path, size: u64) -> Result<(), Failure> {
    let blob = fs::canonicalize(path)?;
    let mut file = File::open(&blob)?;
    file.sync_all()?;
    let found = file.metadata()?.len();
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut whole = found == size;
    if whole && name.len() == 64 {
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        whole = digits == name;
    }
    if whole {
        return Ok(());
    }
    fs::remove_file(path)?;
    fs::remove_file(&blob)?;
    Err(Failure::passing(format!("it came damaged ({found} of {size} bytes)")))
}
