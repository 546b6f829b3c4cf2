//! Where pictures come from: what the user's paths mean, and one item after the other out of them.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, bail};
use tokio::sync::mpsc::Sender;
use weimocir_wire::work::Metadata;

use super::webdataset;

/// One picture on its way in.
#[derive(Debug)]
pub(crate) struct Item {
    /// What the gallery will call its source.
    pub name: String,
    pub content: Content,
    pub captions: Option<Vec<String>>,
    pub metadata: Metadata,
    /// As `Submission`'s.
    pub offer: Option<String>,
}

impl Item {
    pub(super) fn new(name: String, content: Content) -> Self {
        Self { name, content, captions: None, metadata: Metadata::new(), offer: None }
    }
}

#[derive(Debug)]
pub(crate) enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
    Url(String),
    /// A line or entry that names no picture, with why.
    Unreadable(String),
}

/// A file that is a picture or holds some.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Picture(PathBuf),
    Tar(PathBuf),
    List(PathBuf),
}

pub(super) const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

/// What the user's paths stand for, each file once, in a fixed order.
///
/// # Errors
/// A path that does not exist, or a pattern that matches nothing.
pub(crate) fn places(paths: &[String]) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for path in paths {
        let as_is = Path::new(path);
        if as_is.is_dir() {
            places.extend(pictures_below(as_is));
        } else if as_is.exists() {
            places.push(place(as_is.to_path_buf()));
        } else if path.contains(['*', '?', '[']) {
            places.extend(matches(path)?);
        } else {
            bail!("there is no file or folder {path}");
        }
    }
    let mut taken = HashSet::new();
    places.retain(|place| taken.insert(place.clone()));
    Ok(places)
}

pub(super) fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase)
}

/// A file named by the user is taken for a picture, whatever it is called.
fn place(path: PathBuf) -> Place {
    match extension(&path).as_deref() {
        Some("tar") => Place::Tar(path),
        Some("jsonl" | "ndjson") => Place::List(path),
        _ => Place::Picture(path),
    }
}

/// In a folder, only what is called like a picture or a tar shard is taken.
fn pictures_below(folder: &Path) -> Vec<Place> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name().follow_links(true) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                tracing::warn!(%error, "passed over");
                continue;
            }
        };
        let kind = extension(entry.path());
        let wanted = kind.as_deref().is_some_and(|kind| kind == "tar" || PICTURES.contains(&kind));
        if wanted && entry.file_type().is_file() {
            found.push(place(entry.into_path()));
        }
    }
    found
}

fn matches(pattern: &str) -> anyhow::Result<Vec<Place>> {
    let mut found = Vec::new();
    for path in glob::glob(pattern).with_context(|| format!("`{pattern}` is no pattern"))? {
        let path = path.with_context(|| format!("cannot list {pattern}"))?;
        if path.is_file() {
            found.push(place(path));
        }
    }
    if found.is_empty() {
        bail!("nothing matches {pattern}");
    }
    Ok(found)
}

/// How many pictures there are, if that can be known without reading them.
pub(crate) fn known_total(places: &[Place]) -> Option<u64> {
    let only_pictures = places.iter().all(|place| matches!(place, Place::Picture(_)));
    only_pictures.then_some(places.len() as u64)
}

/// Sends every item of the places, in order. Blocking.
///
/// # Errors
/// A tar shard or list that cannot be opened; what is wrong inside one becomes an item of its own.
pub(crate) fn read(places: Vec<Place>, max_bytes: u64, send: &Sender<Item>) -> anyhow::Result<()> {
    for place in places {
        let open = match place {
            Place::Picture(path) => offer(send, picture(path)),
            Place::Tar(path) => webdataset::read(&path, max_bytes, send)?,
            Place::List(path) => read_list(&path, send)?,
        };
        if !open {
            break;
        }
    }
    Ok(())
}

/// `false` once nobody listens any more.
pub(super) fn offer(send: &Sender<Item>, item: Item) -> bool {
    send.blocking_send(item).is_ok()
}

fn picture(path: PathBuf) -> Item {
    Item::new(path.display().to_string(), Content::File(path))
}

/// "captions" (or one "caption") are captions; the rest is metadata.
pub(super) fn describe(item: &mut Item, mut facts: Metadata) {
    let one = facts.remove("caption").map(|text| serde_json::Value::Array(vec![text]));
    match facts.remove("captions").or(one).map(serde_json::from_value).transpose() {
        Ok(captions) => item.captions = captions,
        Err(_) => item.content = Content::Unreadable("its captions are no sentences".into()),
    }
    item.metadata = facts;
}

/// One JSON object a line, with a "path" (from the list's folder) or a "url".
fn read_list(path: &Path, send: &Sender<Item>) -> anyhow::Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let item = list_item(&line, folder).unwrap_or_else(|reason| {
            unreadable(format!("{}:{}", path.display(), number + 1), reason)
        });
        if !offer(send, item) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list_item(line: &str, folder: &Path) -> Result<Item, String> {
    let mut facts: Metadata =
        serde_json::from_str(line).map_err(|e| format!("no JSON object: {e}"))?;
    let mut text = |key| match facts.remove(key) {
        Some(serde_json::Value::String(text)) => Some(text),
        _ => None,
    };
    let (name, content) = match (text("path"), text("url")) {
        (Some(path), _) => (path.clone(), Content::File(folder.join(path))),
        (None, Some(url)) => (url.clone(), Content::Url(url)),
        (None, None) => return Err("the line has neither \"path\" nor \"url\"".into()),
    };
    let mut item = Item::new(name, content);
    describe(&mut item, facts);
    Ok(item)
}

pub(super) fn unreadable(name: String, reason: String) -> Item {
    Item::new(name, Content::Unreadable(reason))
}

/// Remembers what was taken, so that only new and changed files come again; a file counts once it
/// has stayed the same from one look to the next, so that none is taken half-written.
#[derive(Debug)]
pub(crate) struct Watched {
    taken: HashMap<Place, Mark>,
    growing: HashMap<Place, Mark>,
}

type Mark = (u64, Option<SystemTime>);

impl Watched {
    pub(crate) fn new(taken: &[Place]) -> Self {
        let taken = taken.iter().filter_map(|place| Some((place.clone(), mark(place)?))).collect();
        Self { taken, growing: HashMap::new() }
    }

    pub(crate) fn fresh(&mut self, places: Vec<Place>) -> Vec<Place> {
        let mut fresh = Vec::new();
        for place in places {
            let Some(now) = mark(&place) else { continue };
            if self.taken.get(&place) == Some(&now) {
                continue;
            }
            if self.growing.get(&place) == Some(&now) {
                self.growing.remove(&place);
                self.taken.insert(place.clone(), now);
                fresh.push(place);
            } else {
                self.growing.insert(place, now);
            }
        }
        fresh
    }
}

fn mark(place: &Place) -> Option<Mark> {
    let (Place::Picture(path) | Place::Tar(path) | Place::List(path)) = place;
    let about = path.metadata().ok()?;
    Some((about.len(), about.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(places: Vec<Place>) -> Vec<Item> {
        let (send, mut items) = tokio::sync::mpsc::channel(100);
        read(places, 1_000, &send).unwrap();
        drop(send);
        std::iter::from_fn(|| items.blocking_recv()).collect()
    }

    #[test]
    fn a_folder_gives_its_pictures_once_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.JPG", "notes.txt", "shard.tar"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("more")).unwrap();
        std::fs::write(folder.path().join("more/c.webp"), "x").unwrap();
        let path = folder.path().display().to_string();
        let found = places(&[path.clone(), format!("{path}/*.png")]).unwrap();
        let below = |name: &str| folder.path().join(name);
        assert_eq!(
            found,
            [
                Place::Picture(below("a.JPG")),
                Place::Picture(below("b.png")),
                Place::Picture(below("more/c.webp")),
                Place::Tar(below("shard.tar"))
            ]
        );
        assert!(
            places(&[format!("{path}/none.png")]).unwrap_err().to_string().contains("none.png")
        );
        assert!(places(&[format!("{path}/*.gif")]).unwrap_err().to_string().contains("*.gif"));
    }

    #[test]
    fn a_tar_shard_pairs_pictures_with_their_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        for (name, content) in [
            ("1.png", "one"),
            ("1.json", r#"{"captions": ["a red hat", "a hat"], "shop": "x"}"#),
            ("2.json", r#"{"caption": "a bag"}"#),
            ("2.png", "two"),
            ("3.png", "three"),
            ("4.png", &"x".repeat(1_001)),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap();
        let items = read_all(vec![Place::Tar(path)]);
        assert_eq!(items.len(), 4);
        assert!(
            matches!(&items[3].content, Content::Unreadable(reason) if reason.contains("1000 bytes"))
        );
        assert_eq!(
            items[0].captions.as_deref(),
            Some(&["a red hat".to_owned(), "a hat".to_owned()][..])
        );
        assert_eq!(items[0].metadata["shop"], "x");
        assert_eq!(items[1].captions.as_deref(), Some(&["a bag".to_owned()][..]));
        assert_eq!(items[2].captions, None);
        assert!(items[2].name.ends_with("shard.tar/3.png"));
    }

    #[test]
    fn a_wrong_line_of_a_list_is_one_refusal_and_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.jsonl");
        let lines = "{\"path\": \"a.png\", \"price\": 3}\nnot json\n\n{\"url\": \"http://x/b.png\"}\n{\"x\": 1}\n";
        std::fs::write(&path, lines).unwrap();
        let items = read_all(vec![Place::List(path)]);
        assert!(
            matches!(&items[0].content, Content::File(file) if *file == folder.path().join("a.png"))
        );
        assert_eq!(items[0].metadata["price"], 3);
        assert!(
            matches!(&items[1].content, Content::Unreadable(_)) && items[1].name.ends_with(":2")
        );
        assert!(matches!(&items[2].content, Content::Url(url) if url == "http://x/b.png"));
        assert!(
            matches!(&items[3].content, Content::Unreadable(reason) if reason.contains("neither"))
        );
    }

    #[test]
    fn a_watched_file_is_taken_when_it_has_stopped_growing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let place = Place::Picture(path.clone());
        let mut watched = Watched::new(&[]);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(watched.fresh(vec![place.clone()]), []);
        std::fs::write(&path, "xx").unwrap();
        assert_eq!(watched.fresh(vec![place.clone()]), []);
        assert_eq!(watched.fresh(vec![place.clone()]).len(), 1);
        assert_eq!(watched.fresh(vec![place]), []);
    }
}
