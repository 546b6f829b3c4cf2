//! Models of the Hugging Face hub, through the cache that Hugging Face's own programs use.
//!
//! `settings` reads the environment, `repository` finds or fetches the files of one model, `failure`
//! sorts what can go wrong and repeats what may pass, `advice` tells the user, `progress` shows a download.
//! What the files are for is `files`' matter.

mod advice;
mod failure;
mod progress;
mod repository;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use repository::Repository;
pub use settings::Hub;
