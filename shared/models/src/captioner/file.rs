//! Captions made before, in a file by the names of the pictures.

use std::{num::NonZeroUsize, path::Path};

use futures::{FutureExt, future::BoxFuture};

use super::{ByName, CaptionError, Captioner, Picture, TableError, refusal::is_refusal};

/// Knows the captions of a file, and makes none.
#[derive(Debug)]
pub struct FileCaptioner {
    name: String,
    captions: ByName<Vec<String>>,
}

impl FileCaptioner {
    /// # Errors
    /// A file that is no captions file; see `ByName::captions`.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let captions = ByName::captions(path)?;
        tracing::info!(file = %path.display(), pictures = captions.len(), "captions read");
        Ok(Self { name: format!("file:{}", path.display()), captions })
    }

    /// All that the entry of a picture has, as it is.
    pub fn entry(&self, source: &str) -> Option<&[String]> {
        self.captions.get(source).map(Vec::as_slice)
    }

    /// The first `r` sentences count, as they are: what an entry has beyond them belongs to other
    /// pictures that its maker was asked about at once. Blank ones are left out.
    ///
    /// # Errors
    /// No name, no entry of that name, or one without a sentence or with a refusal.
    pub fn look_up(
        &self,
        source: Option<&str>,
        r: NonZeroUsize,
    ) -> Result<Vec<String>, CaptionError> {
        let rejected = |reason| Err(CaptionError::Rejected { reason });
        let Some(source) = source else {
            return rejected(format!("{} goes by names, and this picture has none", self.name));
        };
        let Some(entry) = self.captions.get(source) else {
            return rejected(format!("{} has no entry for {source}", self.name));
        };
        let counted = || entry.iter().take(r.get()).map(|caption| caption.trim());
        // because: what follows a refusal talks about the refusal
        if let Some(refusal) = counted().find(|caption| is_refusal(caption)) {
            return rejected(format!("{} has a refusal for {source}: {refusal}", self.name));
        }
        let sentences = counted().filter(|caption| caption.contains(char::is_alphabetic));
        let captions: Vec<String> = sentences.map(str::to_owned).collect();
        match captions.is_empty() {
            true => rejected(format!("{} has no sentence for {source}", self.name)),
            false => Ok(captions),
        }
    }
}

impl Captioner for FileCaptioner {
    fn name(&self) -> &str {
        &self.name
    }

    fn caption(
        &self,
        picture: Picture,
        r: NonZeroUsize,
    ) -> BoxFuture<'_, Result<Vec<String>, CaptionError>> {
        let captions = self.look_up(picture.source.as_deref(), r);
        async { captions }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(source: Option<&str>, r: usize) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let entries = r###"[
            {"candidate": "dress-1", "captions": ["A red dress.", "The image shows a dress.", "A dress with sleeves.", "A blue hat."]},
            {"candidate": "dress-2", "captions": ["A dress.", "  A dress. ", "\""]},
            {"candidate": "dress-3", "captions": ["I understand you, but I am unable to describe it", "It is what it is"]},
            {"candidate": "dress-4", "captions": [" ", "## "]}
        ]"###;
        std::fs::write(file.path(), entries).unwrap();
        let captioner = FileCaptioner::open(file.path()).unwrap();
        let r = NonZeroUsize::new(r).unwrap();
        captioner.look_up(source, r).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_r_sentences_count() {
        let three = ["A red dress.", "The image shows a dress.", "A dress with sleeves."];
        assert_eq!(captions(Some("/pictures/dress-1.png"), 3).unwrap(), three);
        assert_eq!(captions(Some("dress-1"), 2).unwrap(), three[..2]);
        assert_eq!(captions(Some("dress-1.jpg"), 9).unwrap().len(), 4);
        assert_eq!(captions(Some("dress-2.jpg"), 3).unwrap(), ["A dress.", "A dress."]);
    }

    #[test]
    fn what_has_no_captions_is_rejected_with_the_reason() {
        for (source, why) in [
            (None, "this picture has none"),
            (Some("a/hat-7.png"), "no entry for a/hat-7.png"),
            (Some("dress-3.png"), "a refusal for dress-3.png: I understand you"),
            (Some("dress-4.png"), "no sentence for dress-4.png"),
        ] {
            let error = captions(source, 3).unwrap_err();
            assert!(error.contains(why), "{source:?}: {error}");
        }
    }
}
