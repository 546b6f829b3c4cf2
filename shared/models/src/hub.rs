//! Files of a repository on the Hugging Face hub, through the cache under `HF_HOME`.

use std::path::PathBuf;

use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};

use crate::error::ModelError;

pub(crate) struct Repository {
    name: String,
    remote: ApiRepo,
}

impl Repository {
    pub(crate) fn open(repository: &str, revision: &str) -> Result<Self, ModelError> {
        let repo = Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned());
        let name = format!("{repository}@{revision}");
        tracing::info!(repository = name, cache = %Cache::from_env().path().display(), "opening model");
        let remote =
            ApiBuilder::from_env().with_progress(true).build().map_err(|e| ModelError::Hub {
                repository: name.clone(),
                file: "anything".to_owned(),
                reason: e.to_string(),
            })?;
        Ok(Self { remote: remote.repo(repo), name })
    }

    /// The cached or downloaded file; none if the repository has no such file.
    pub(crate) fn fetch(&self, file: &str) -> Result<Option<PathBuf>, ModelError> {
        match self.remote.get(file) {
            Ok(path) => Ok(Some(path)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(ModelError::Hub {
                repository: self.name.clone(),
                file: file.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

fn is_not_found(error: &ApiError) -> bool {
    // The client's error type is private to hf-hub's own dependency; its text is all there is.
    matches!(error, ApiError::RequestError(request) if request.to_string().contains("404"))
}
