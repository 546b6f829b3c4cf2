//! A tar shard in WebDataset's manner: `a.png` and `a.json`, in either order, are one picture.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::Context;
use tokio::sync::mpsc::Sender;
use weimocir_client::too_large;
use weimocir_wire::work::Metadata;

use super::sources::{Content, Item, PICTURES, describe, extension, offer, unreadable};

/// An entry that matters.
enum Entry {
    Picture(Content),
    About(Metadata),
}

/// Sends the shard's pictures, in order; one that waits for its metadata is sent with the next.
/// Returns `false` once nobody listens any more. Entries over `max_bytes` are not read.
///
/// # Errors
/// A file that cannot be opened. One that breaks off is an item of its own.
pub(super) fn read(path: &Path, max_bytes: u64, send: &Sender<Item>) -> anyhow::Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let shard = path.display().to_string();
    let mut about: HashMap<String, Metadata> = HashMap::new();
    let mut waiting: Option<Item> = None;
    let entries = archive.entries().with_context(|| format!("{shard} is no tar file"))?;
    for entry in entries {
        let (name, entry) = match entry.and_then(|entry| read_entry(entry, max_bytes)) {
            Ok(Some((name, entry))) => (format!("{shard}/{name}"), entry),
            Ok(None) => continue,
            Err(error) => {
                let broken = unreadable(shard, format!("the tar file breaks off: {error}"));
                return Ok(pass_on(&mut waiting, send) && offer(send, broken));
            }
        };
        match entry {
            Entry::About(facts) => {
                match waiting.as_mut().filter(|item| stem(&item.name) == stem(&name)) {
                    Some(item) => describe(item, facts),
                    None => drop(about.insert(stem(&name).to_owned(), facts)),
                }
            }
            Entry::Picture(content) => {
                if !pass_on(&mut waiting, send) {
                    return Ok(false);
                }
                let facts = about.remove(stem(&name));
                let item = waiting.insert(Item::new(name, content));
                if let Some(facts) = facts {
                    describe(item, facts);
                }
            }
        }
    }
    Ok(pass_on(&mut waiting, send))
}

fn pass_on(waiting: &mut Option<Item>, send: &Sender<Item>) -> bool {
    waiting.take().is_none_or(|item| offer(send, item))
}

/// Name and content, if the entry is a picture or says something about one.
fn read_entry(
    mut entry: tar::Entry<'_, impl Read>,
    max_bytes: u64,
) -> std::io::Result<Option<(String, Entry)>> {
    let path = entry.path()?.into_owned();
    let name = path.display().to_string();
    let kind = extension(&path).unwrap_or_default();
    let is_picture = PICTURES.contains(&kind.as_str());
    if !is_picture && kind != "json" {
        tracing::debug!(name, "passed over");
        return Ok(None);
    }
    if entry.size() > max_bytes {
        return Ok(Some((name, Entry::Picture(Content::Unreadable(too_large(max_bytes))))));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    let entry = match serde_json::from_slice(&bytes) {
        _ if is_picture => Entry::Picture(Content::Bytes(bytes)),
        Ok(facts) => Entry::About(facts),
        Err(error) => Entry::Picture(Content::Unreadable(format!("no JSON object: {error}"))),
    };
    Ok(Some((name, entry)))
}

/// The name without its last extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
