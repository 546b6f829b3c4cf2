//! Opens a file that `torch.save` wrote: a zip of one pickle and the storages, or, before PyTorch
//! 1.6, one stream of them. What the pickle says about tensors is `state_dict`'s matter.

use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use super::{
    layout::Layout,
    pickle::{self, Pickle, Value},
    state_dict::{self, Storages},
};

/// Many times what the names and shapes of the largest model take.
const LONGEST_PICKLE: usize = 4 << 20;

/// How every stream starts: a pickle of the number 0x1950a86a20f9469cfc6c.
const STREAM_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// Every tensor's name and layout; the error says what is wrong with the file.
pub(super) fn index(file: &[u8]) -> Result<Vec<(String, Layout)>, String> {
    let (pickle, storages) = if file.starts_with(b"PK") {
        open_zip(file)?
    } else if file.starts_with(STREAM_START) {
        open_stream(file)?
    } else {
        return Err("it is not a file that torch.save writes".to_owned());
    };
    state_dict::tensors(&pickle, &storages)
}

fn open_zip(file: &[u8]) -> Result<(Pickle, Storages), String> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|e| e.to_string())?;
    let mut storages = Storages::new();
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).map_err(|e| e.to_string())?;
        // Every name starts with the name of the folder that the file was saved as.
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!("\"{name}\" in it is compressed"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let range = start.zip(usize::try_from(entry.size()).ok());
        let range = range.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let range = range.filter(|range| range.end <= file.len());
        let range = range.ok_or_else(|| format!("\"{name}\" reaches outside it"))?;
        storages.insert(name.to_owned(), range);
    }
    if storages.get("byteorder").is_some_and(|range| &file[range.clone()] != b"little") {
        return Err("it was written on a big-endian machine".to_owned());
    }
    let pickle = storages.get("data.pkl").ok_or_else(|| "there is no data.pkl in it".to_owned())?;
    let (pickle, _) = read_pickle(&file[pickle.clone()])?;
    let storages = storages
        .into_iter()
        .filter_map(|(name, range)| Some((name.strip_prefix("data/")?.to_owned(), range)));
    Ok((pickle, storages.collect()))
}

/// After the start: the protocol's version, facts about the machine, the pickle, the storages'
/// keys, and for each storage the number of its elements and its bytes.
fn open_stream(file: &[u8]) -> Result<(Pickle, Storages), String> {
    let mut position = STREAM_START.len();
    let mut next = || -> Result<Pickle, String> {
        let (pickle, length) = read_pickle(&file[position..])?;
        position += length;
        Ok(pickle)
    };
    let (_version, _machine, pickle, keys) = (next()?, next()?, next()?, next()?);
    let Value::List(ids) = keys.root() else {
        return Err("its list of storages is no list".to_owned());
    };
    let types = state_dict::storage_types(&pickle)?;
    let mut storages = Storages::new();
    for id in ids {
        let Value::Text(key) = keys.get(*id) else {
            return Err("the key of a storage is not a text".to_owned());
        };
        let dtype = types.get(key).ok_or_else(|| format!("no tensor uses storage {key}"))?;
        let (count, _) = file[position..].split_first_chunk().ok_or_else(too_short)?;
        let start = position + count.len();
        let count = usize::try_from(i64::from_le_bytes(*count)).ok();
        let length = count.and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        let end = length.and_then(|length| start.checked_add(length));
        position = end.filter(|end| *end <= file.len()).ok_or_else(too_short)?;
        storages.insert(key.clone(), start..position);
    }
    Ok((pickle, storages))
}

fn read_pickle(bytes: &[u8]) -> Result<(Pickle, usize), String> {
    pickle::read(&bytes[..bytes.len().min(LONGEST_PICKLE)])
}

fn too_short() -> String {
    "it ends too early".to_owned()
}
