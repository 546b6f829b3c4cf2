//! Captions and metadata that come in files of their own, by the names of the pictures.

use std::path::Path;

use weimocir_models::{ByName, TableError};
use weimocir_wire::work::Metadata;

#[derive(Debug, Default)]
pub(crate) struct Tables {
    captions: ByName<Vec<String>>,
    metadata: ByName<Metadata>,
}

impl Tables {
    /// # Errors
    /// A file that cannot be read, or an entry that is not what the file is for, by its name.
    pub(crate) fn read(
        captions: Option<&Path>,
        metadata: Option<&Path>,
    ) -> Result<Self, TableError> {
        Ok(Self {
            captions: captions.map(ByName::captions).transpose()?.unwrap_or_default(),
            metadata: metadata.map(ByName::metadata).transpose()?.unwrap_or_default(),
        })
    }

    pub(crate) fn captions(&self, source: &str) -> Option<&Vec<String>> {
        self.captions.get(source)
    }

    pub(crate) fn metadata(&self, source: &str) -> Option<&Metadata> {
        self.metadata.get(source)
    }
}
