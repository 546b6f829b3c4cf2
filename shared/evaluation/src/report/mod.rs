//! The report of an evaluation: report.md with its charts, in words and pictures that a researcher can
//! use. All numbers come from the rows that results.csv, ablation.csv and tuned.csv have too.
//!
//! `sections` writes the text, `chart` draws, `published` knows the paper's figures, `problems` lists
//! names. Pictures of the data set are the caller's.

mod chart;
mod markdown;
mod plane;
mod problems;
mod published;
mod sections;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use weimocir_domain::{Alpha, Beta};

pub use plane::{Plane, planes};
pub use problems::Problem;

use crate::{
    error::EvaluationError, metric::Metric, results::Row, test_set::TestSet, tuning::Tuned,
};
use chart::{Ablation, Heatmaps};
pub use chart::{Panel, Timelines};

/// What is reported.
#[derive(Debug)]
pub struct Report<'a> {
    /// The categories, or the one test set. At least one; all have the same metrics.
    pub sets: &'a [&'a TestSet],
    /// What else was evaluated, such as the model and its captions.
    pub facts: Vec<(String, String)>,
    /// The point that is reported first.
    pub alpha: Alpha,
    pub beta: Beta,
    /// Where it comes from, for example "the default of the model".
    pub point_is: String,
    pub rows: &'a [Row],
    /// Empty if it was not asked for.
    pub ablation: &'a [Row],
    /// One for each text reference; empty if it was not asked for.
    pub tuned: &'a [Tuned],
    /// What the halves of `tuned` were drawn by.
    pub seed: Option<u64>,
    pub problems: Vec<Problem>,
    /// Sheets of examples that lie in the folder.
    pub sheets: Vec<Sheet>,
    /// Tables that lie in the folder.
    pub tables: Vec<PathBuf>,
    /// What took how long.
    pub took: Vec<(&'static str, Duration)>,
}

/// A sheet of examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Its name in the folder.
    pub file: String,
    /// What it shows.
    pub what: String,
}

impl Report<'_> {
    /// Writes report.md, the charts, and problems.txt if there are any, and says where the report is.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, EvaluationError> {
        for (name, figure) in self.heatmaps() {
            chart::write(&figure, folder, &name)?;
        }
        if let Some(figure) = self.ablation_chart() {
            chart::write(&figure, folder, ABLATION)?;
        }
        if !self.problems.is_empty() {
            problems::write(folder, &self.problems)?;
        }
        let file = folder.join("report.md");
        std::fs::write(&file, sections::report(self)).map_err(|error| EvaluationError::Write {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        Ok(file)
    }

    fn metrics(&self) -> &[Metric] {
        &self.sets[0].metrics
    }

    /// The data set, or the one category of it.
    fn name(&self) -> &str {
        match self.sets {
            [one] => &one.name,
            many => many[0].name.split('-').next().unwrap_or(&many[0].name),
        }
    }

    /// The planes of the whole data set: the mean of its categories, if it has more than one.
    fn whole<'a>(&self, rows: &'a [Row]) -> Vec<Plane<'a>> {
        let all = planes(rows);
        let whole = all.last().map(|plane| plane.category());
        all.into_iter().filter(|plane| Some(plane.category()) == whole).collect()
    }

    /// With the names of their files; that of the whole data set is the first.
    fn heatmaps(&self) -> Vec<(String, Heatmaps<'_>)> {
        let all = planes(self.rows);
        if all.first().is_none_or(|plane| plane.is_point()) {
            return Vec::new();
        }
        let categories: Vec<Vec<Plane<'_>>> =
            all.chunk_by(|a, b| a.category() == b.category()).map(<[Plane<'_>]>::to_vec).collect();
        let figures = categories.into_iter().rev().enumerate().map(|(nth, planes)| {
            let category = planes[0].category();
            let name = match category {
                Some(category) if nth > 0 => format!("{PLANE}-{category}"),
                _ => PLANE.to_owned(),
            };
            (name, self.heatmap(category, planes))
        });
        figures.collect()
    }

    fn heatmap<'a>(&'a self, category: Option<&str>, planes: Vec<Plane<'a>>) -> Heatmaps<'a> {
        let title = match category.filter(|_| self.sets.len() > 1) {
            Some("mean") => format!("{}, mean of the categories", self.name()),
            Some(category) => format!("{}, {category}", self.name()),
            None => self.name().to_owned(),
        };
        let (metrics, point_is) = (self.metrics(), self.point_is.as_str());
        Heatmaps { title, metrics, planes, point: (self.alpha, self.beta), point_is }
    }

    fn ablation_chart(&self) -> Option<Ablation<'_>> {
        let planes = self.whole(self.ablation);
        let first = planes.first()?;
        let rows: Vec<&Row> = planes.iter().map(|plane| plane.at(self.alpha, self.beta)).collect();
        let Row { alpha, beta, .. } = rows[0];
        let without = first.at(*alpha, Beta::new(0.0).expect("0 is a weight"));
        let title = format!("{}, captions at α {alpha}, β {beta}", self.name());
        let without = (without.alpha == *alpha && without.beta.get() == 0.0).then_some(without);
        Some(Ablation { title, metrics: self.metrics(), rows, without })
    }
}

/// Names of charts, without endings.
const PLANE: &str = "plane";
const ABLATION: &str = "ablation";
