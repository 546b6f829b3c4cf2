//! A gallery of the mixture on disk for the peers, and its exact answers.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use anyhow::Context;
use rayon::prelude::*;
use weimocir_tests::mixture::{CAPTIONS, Image, Mixture, Query, unit};

use crate::truth::Truth;

/// Images made at once. because: larger blocks take their memory from the system anew each time
const BLOCK: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Gallery {
    pub(crate) mixture: Mixture,
    pub(crate) rows: usize,
    pub(crate) queries: Vec<Query>,
    /// Of the whole gallery.
    pub(crate) truth: Truth,
    /// Of its beginning alone, and how long that is.
    pub(crate) truth_of_beginning: (usize, Truth),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) queries: usize,
    pub(crate) beginning: usize,
    /// Whether each caption is written too, three halves of the rows' size.
    pub(crate) captions: bool,
}

impl Gallery {
    /// Makes it, and writes into `folder` what the peers read.
    pub(crate) fn make(wanted: Wanted, folder: &Path) -> anyhow::Result<Self> {
        let Wanted { rows, dim, .. } = wanted;
        let start = Instant::now();
        let mixture = Mixture::new(dim);
        let queries: Vec<Query> = (0..wanted.queries).map(|n| mixture.query(n)).collect();
        let folded: Vec<Vec<f32>> = queries.iter().map(Query::folded).collect();
        let mut files = Files::create(folder, &queries, &folded, wanted.captions)?;
        let mut truth = Truth::new(&folded)?;
        let mut truth_of_beginning = (0, truth.clone());
        let beginning = wanted.beginning.min(rows);
        let mut first = 0;
        while first < rows {
            let end = if first < beginning { beginning } else { rows };
            let count = BLOCK.min(end - first);
            truth.add(first, &files.write(&mixture, first, count)?, |_| true)?;
            first += count;
            if first == beginning {
                truth_of_beginning = (first, truth.clone());
            }
        }
        files.close()?;
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{rows} images of d = {dim} and {} answers in {seconds:.0} s", queries.len());
        Ok(Self { mixture, rows, queries, truth, truth_of_beginning })
    }

    /// The exact answers among the first `rows`.
    pub(crate) fn truth_among(&self, rows: usize) -> anyhow::Result<&Truth> {
        let (beginning, truth) = &self.truth_of_beginning;
        match rows {
            _ if rows == self.rows => Ok(&self.truth),
            _ if rows == *beginning => Ok(truth),
            _ => anyhow::bail!("no answers are known among {rows} images"),
        }
    }
}

struct Files {
    rows: BufWriter<File>,
    captions: Vec<BufWriter<File>>,
}

impl Files {
    fn create(
        folder: &Path,
        queries: &[Query],
        folded: &[Vec<f32>],
        captions: bool,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let composed: Vec<f32> = queries.iter().flat_map(Query::composed).collect();
        let beta: Vec<f32> = queries.iter().map(|query| query.beta).collect();
        fs::write(folder.join("queries.f32"), bytes(&folded.concat()))?;
        fs::write(folder.join("composed.f32"), bytes(&composed))?;
        fs::write(folder.join("beta.f32"), bytes(&beta))?;
        let create = |name: String| anyhow::Ok(BufWriter::new(File::create(folder.join(name))?));
        let captions = if captions { 0..CAPTIONS } else { 0..0 };
        let captions = captions.map(|r| create(format!("captions-{r}.f32")));
        Ok(Self { rows: create("rows.f32".into())?, captions: captions.collect::<Result<_, _>>()? })
    }

    /// The rows of these images, written.
    fn write(&mut self, mixture: &Mixture, first: usize, count: usize) -> anyhow::Result<Vec<f32>> {
        let images = mixture.images(first, count);
        let rows: Vec<f32> = images.par_iter().flat_map_iter(Image::row).collect();
        self.rows.write_all(&bytes(&rows))?;
        for (r, file) in self.captions.iter_mut().enumerate() {
            for image in &images {
                file.write_all(&bytes(&unit(&image.captions[r])))?;
            }
        }
        Ok(rows)
    }

    /// because: what is not yet on the disk would be written while something is measured
    fn close(self) -> anyhow::Result<()> {
        for file in std::iter::once(self.rows).chain(self.captions) {
            file.into_inner()?.sync_all()?;
        }
        Ok(())
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
