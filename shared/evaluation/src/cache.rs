//! Embeddings that were made before, in a file for each model: what an interrupted evaluation has
//! encoded, the next one need not encode again.
//!
//! Records are appended, each with a checksum; a file that was cut short or damaged keeps what comes
//! before the first bad record. A name is the hash of what was encoded, so that a picture or a text
//! that changed is another one.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use weimocir_domain::{Embedding, ImageId, ModelId};

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot use the cache {}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("the cache {} is in use by another evaluation: wait for it, or name another folder", file.display())]
    InUse { file: PathBuf },
    #[error("{} is no cache of {model} with {dim} numbers: remove it, or name another folder", file.display())]
    Foreign { file: PathBuf, model: ModelId, dim: usize },
}

#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    file: BufWriter<File>,
    known: HashMap<ImageId, Vec<f32>>,
    dim: usize,
}

/// What a file begins with; the number is the version of its shape.
const MAGIC: &str = "weimocir embeddings 1";
const NAME: usize = 16;

impl Cache {
    /// Opens or makes the file of a model.
    ///
    /// # Errors
    /// A folder that cannot be used, a file in use, or one of something else.
    pub fn open(folder: &Path, model: &ModelId, dim: usize) -> Result<Self, CacheError> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' };
        let name: String = model.as_str().chars().map(plain).collect();
        let path = folder.join(format!("{name}.embeddings"));
        let failed = |source| CacheError::Io { file: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let mut file = options.open(&path).map_err(failed)?;
        file.try_lock().map_err(|_| CacheError::InUse { file: path.clone() })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let head = format!("{MAGIC}\n{model}\n{dim}\n");
        if bytes.is_empty() {
            file.write_all(head.as_bytes()).map_err(failed)?;
            bytes.extend(head.as_bytes());
        }
        let Some(records) = bytes.strip_prefix(head.as_bytes()) else {
            return Err(CacheError::Foreign { file: path, model: model.clone(), dim });
        };
        let (known, sound) = read(records, dim);
        file.set_len((head.len() + sound) as u64).map_err(failed)?;
        Ok(Self { path, file: BufWriter::new(file), known, dim })
    }

    pub fn get(&self, name: &ImageId) -> Option<&[f32]> {
        self.known.get(name).map(Vec::as_slice)
    }

    /// # Errors
    /// The disk.
    ///
    /// # Panics
    /// An embedding of another length.
    pub fn put(&mut self, name: ImageId, embedding: &Embedding) -> Result<(), CacheError> {
        let values = embedding.values();
        assert_eq!(values.len(), self.dim);
        let record = record(&name, values);
        let written = self.file.write_all(&record);
        written.map_err(|source| CacheError::Io { file: self.path.clone(), source })?;
        self.known.insert(name, values.to_vec());
        Ok(())
    }

    /// Hands what was put in to the system, so that it survives this process.
    ///
    /// # Errors
    /// The disk.
    pub fn flush(&mut self) -> Result<(), CacheError> {
        self.file.flush().map_err(|source| CacheError::Io { file: self.path.clone(), source })
    }
}

/// Name, values and checksum, little-endian.
fn record(name: &ImageId, values: &[f32]) -> Vec<u8> {
    let mut record = name.as_bytes().to_vec();
    record.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    record.extend(crc32fast::hash(&record).to_le_bytes());
    record
}

/// The records up to the first bad one, and how many bytes they are.
fn read(bytes: &[u8], dim: usize) -> (HashMap<ImageId, Vec<f32>>, usize) {
    let size = NAME + 4 * dim + 4;
    let mut known = HashMap::new();
    let mut sound = 0;
    for record in bytes.chunks_exact(size) {
        let (body, checksum) = record.split_at(size - 4);
        if crc32fast::hash(body).to_le_bytes() != checksum {
            break;
        }
        let (name, values) = body.split_at(NAME);
        let name = ImageId::from_bytes(std::array::from_fn(|i| name[i]));
        let values = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        known.insert(name, values.collect());
        sound += size;
    }
    (known, sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(values: [f32; 3]) -> Embedding {
        Embedding::new(ModelId::new("org/m:1"), values).unwrap()
    }

    fn open(folder: &Path) -> Cache {
        Cache::open(folder, &ModelId::new("org/m:1"), 3).unwrap()
    }

    #[test]
    fn what_was_put_in_is_there_again_up_to_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| ImageId::of(bytes));
        let mut cache = open(folder.path());
        cache.put(a, &embedding([1.0, 2.0, 3.0])).unwrap();
        cache.put(b, &embedding([4.0, 5.0, 6.0])).unwrap();
        cache.flush().unwrap();
        let path = cache.path.clone();
        drop(cache);

        // a kill in the middle of the second record
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let mut cache = open(folder.path());
        assert_eq!(cache.get(&a), Some(&[1.0, 2.0, 3.0][..]));
        assert_eq!(cache.get(&b), None);
        cache.put(c, &embedding([7.0, 8.0, 9.0])).unwrap();
        drop(cache);
        assert_eq!(open(folder.path()).get(&c), Some(&[7.0, 8.0, 9.0][..]));

        // a flipped bit in the first
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 2 * (NAME + 16) + NAME;
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(open(folder.path()).known.len(), 0);
    }

    #[test]
    fn other_files_and_two_users_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        let again = Cache::open(folder.path(), &ModelId::new("org/m:1"), 3).unwrap_err();
        assert!(matches!(again, CacheError::InUse { .. }), "{again}");
        drop(cache);
        let longer = Cache::open(folder.path(), &ModelId::new("org/m:1"), 4).unwrap_err();
        assert!(matches!(longer, CacheError::Foreign { dim: 4, .. }), "{longer}");
    }
}
