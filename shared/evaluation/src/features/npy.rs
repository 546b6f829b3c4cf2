//! Folders of NumPy arrays, as clip-retrieval writes them: `img_emb/img_emb_0.npy`, `img_emb_1.npy` …,
//! `text_emb/` the same for captions, and `modifier/` for modifiers; or a single `NAME.npy` each.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use half::f16;
use npyz::{NpyFile, Order};

use crate::error::FeaturesError;

/// Numbers of all parts, row after row.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// The array that goes by one of these names, if there is one.
pub(super) fn read(folder: &Path, names: [&str; 2]) -> Result<Option<Array>, FeaturesError> {
    let mut all: Option<Array> = None;
    for file in parts(folder, names)? {
        let part = part(&file)?;
        match &mut all {
            None => all = Some(part),
            Some(all) if all.shape[1..] == part.shape[1..] => {
                all.shape[0] += part.shape[0];
                all.values.extend(part.values);
            }
            Some(all) => {
                let reason = format!("it is {:?} behind parts of {:?}", part.shape, all.shape);
                return Err(malformed(&file, reason));
            }
        }
    }
    Ok(all)
}

/// The files of an array, in the order of their numbers.
fn parts(folder: &Path, names: [&str; 2]) -> Result<Vec<PathBuf>, FeaturesError> {
    for name in names {
        let single = folder.join(format!("{name}.npy"));
        if single.is_file() {
            return Ok(vec![single]);
        }
        let within = folder.join(name);
        if !within.is_dir() {
            continue;
        }
        let read = |source| FeaturesError::Read { file: within.clone(), source };
        let mut numbered = Vec::new();
        for entry in fs::read_dir(&within).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = stem.strip_suffix(".npy").and_then(|stem| stem.rsplit('_').next());
            if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
                numbered.push((number, path));
            }
        }
        numbered.sort_unstable();
        return Ok(numbered.into_iter().map(|(_, path)| path).collect());
    }
    Ok(Vec::new())
}

fn part(file: &Path) -> Result<Array, FeaturesError> {
    let opened =
        File::open(file).map_err(|source| FeaturesError::Read { file: file.to_owned(), source })?;
    let wrong = |reason: String| malformed(file, reason);
    let array = NpyFile::new(BufReader::new(opened)).map_err(|error| wrong(error.to_string()))?;
    if array.order() != Order::C {
        return Err(wrong("it is in Fortran's order: save it with numpy.ascontiguousarray".into()));
    }
    let shape: Vec<usize> = array.shape().iter().map(|&side| side as usize).collect();
    if shape.len() < 2 {
        return Err(wrong(format!("it is {shape:?}, and not rows of numbers")));
    }
    let dtype = array.dtype().descr();
    let values = match array.try_data::<f32>() {
        Ok(values) => values.collect::<Result<Vec<f32>, _>>(),
        Err(array) => match array.try_data::<f16>() {
            Ok(values) => values.map(|value| value.map(f16::to_f32)).collect(),
            Err(_) => return Err(wrong(format!("it is of type {dtype}: f32 or f16 is expected"))),
        },
    };
    let values = values.map_err(|error| wrong(format!("it was cut short: {error}")))?;
    Ok(Array { shape, values })
}

fn malformed(file: &Path, reason: String) -> FeaturesError {
    FeaturesError::Malformed { file: file.to_owned(), expected: "an array of features", reason }
}
