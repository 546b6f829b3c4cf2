//! Where the hub is, where its cache is, and as whom to ask: Hugging Face's environment variables.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::error::ModelError;

const PUBLIC: &str = "https://huggingface.co";

/// The hub and its cache. The same variables as for Hugging Face's own programs: `HF_ENDPOINT`,
/// `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`.
#[derive(Clone)]
pub struct Hub {
    /// Without a slash at the end.
    pub(crate) endpoint: String,
    /// The folder that holds `models--organisation--name`.
    pub(crate) cache: PathBuf,
    pub(crate) token: Option<String>,
    /// Only the cache is used.
    pub(crate) offline: bool,
    /// Before the first repetition of a request that failed; doubled for each further one.
    pub(crate) pause: Duration,
}

impl Hub {
    /// # Errors
    /// No place for the cache (neither `HF_HOME` nor `HOME` is set), or a token file that cannot be
    /// read.
    pub fn from_env() -> Result<Self, ModelError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    pub(crate) fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ModelError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().trim().to_owned());
        let home = match (set("HF_HOME"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(home), _, _) => PathBuf::from(home),
            (None, Some(caches), _) => PathBuf::from(caches).join("huggingface"),
            (None, None, Some(user)) => PathBuf::from(user).join(".cache/huggingface"),
            (None, None, None) => return Err(ModelError::NoCache),
        };
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = match text("HF_TOKEN") {
            Some(token) => Some(token),
            None => read_token(&token_file)?,
        };
        Ok(Self {
            endpoint: text("HF_ENDPOINT")
                .map_or_else(|| PUBLIC.to_owned(), |url| url.trim_end_matches('/').to_owned()),
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            pause: Duration::from_secs(1),
        })
    }

    /// The same, but asking nobody.
    #[must_use]
    pub fn offline(&self) -> Self {
        Self { offline: true, ..self.clone() }
    }

    /// The folder that holds every model of the hub.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder of one repository, whether it exists or not.
    pub(crate) fn folder(&self, repository: &str) -> PathBuf {
        self.cache.join(format!("models--{}", repository.replace('/', "--")))
    }

    /// The commits of a repository that the cache has something of, with their folders.
    pub(crate) fn snapshots(&self, repository: &str) -> Vec<(String, PathBuf)> {
        let Ok(entries) = fs::read_dir(self.folder(repository).join("snapshots")) else {
            return vec![];
        };
        let mut snapshots: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
            .collect();
        snapshots.sort();
        snapshots
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn read_token(file: &Path) -> Result<Option<String>, ModelError> {
    match fs::read_to_string(file) {
        Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Read { file: file.display().to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub, ModelError> {
        Hub::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_where_hugging_face_has_it() {
        let cache = |variables: &[(&str, &str)]| hub(variables).unwrap().cache;
        let home = ("HOME", "/none/u");
        assert_eq!(cache(&[home]), Path::new("/none/u/.cache/huggingface/hub"));
        let xdg = ("XDG_CACHE_HOME", "/none/x");
        assert_eq!(cache(&[home, xdg]), Path::new("/none/x/huggingface/hub"));
        assert_eq!(cache(&[home, xdg, ("HF_HOME", "/none/h")]), Path::new("/none/h/hub"));
        let all = [home, xdg, ("HF_HOME", "/none/h"), ("HF_HUB_CACHE", "/none/c")];
        assert_eq!(cache(&all), Path::new("/none/c"));
        assert!(hub(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn the_token_comes_from_its_variable_or_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(hub(&[home]).unwrap().token, None);
        fs::write(folder.path().join("token"), "of-file\n").unwrap();
        assert_eq!(hub(&[home]).unwrap().token.as_deref(), Some("of-file"));
        let other = folder.path().join("other");
        fs::write(&other, "of-other").unwrap();
        let path = ("HF_TOKEN_PATH", other.to_str().unwrap());
        assert_eq!(hub(&[home, path]).unwrap().token.as_deref(), Some("of-other"));
        let all = hub(&[home, path, ("HF_TOKEN", "of-variable")]).unwrap();
        assert_eq!(all.token.as_deref(), Some("of-variable"));
        assert!(!format!("{all:?}").contains("of-variable"), "a log would show the token");
    }

    #[test]
    fn offline_and_the_mirror() {
        let home = ("HF_HOME", "/none/h");
        for (value, offline) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(
                hub(&[home, ("HF_HUB_OFFLINE", value)]).unwrap().offline,
                offline,
                "{value}"
            );
        }
        assert_eq!(hub(&[home]).unwrap().endpoint, PUBLIC);
        let mirror = hub(&[home, ("HF_ENDPOINT", "https://mirror.example/")]).unwrap();
        assert_eq!(mirror.endpoint, "https://mirror.example");
    }
}
