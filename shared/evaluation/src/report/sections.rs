//! The text of report.md.

use std::path::Path;

use super::{
    ABLATION, Report, Sheet,
    markdown::{facts, percent, table},
    plane::Plane,
    problems,
    published::published,
};
use crate::{metric::Metric, results::Row};

pub(super) fn report(report: &Report<'_>) -> String {
    let title = format!("# Composed image retrieval on {}\n", report.name());
    let sections = [
        Some(evaluated(report)),
        (!report.rows.is_empty()).then(|| result(report)),
        plane(report),
        tuned(report),
        ablation(report),
        examples(report),
        Some(problems(report)),
        files(report),
    ];
    [Some(title)].into_iter().chain(sections).flatten().collect::<Vec<_>>().join("\n")
}

fn evaluated(report: &Report<'_>) -> String {
    let sets = report.sets.iter().map(|set| {
        let size = format!("{} images, {} queries", set.gallery.len(), set.triplets.len());
        (set.name.clone(), size)
    });
    let reference = match report.sets[0].reference_stays {
        true => "is among the images that are ranked",
        false => "is not ranked",
    };
    let took =
        report.took.iter().map(|(what, took)| format!("{what} {}", seconds(took.as_secs_f64())));
    let rest = [
        ("Reference".to_owned(), reference.to_owned()),
        ("Ties".to_owned(), TIES.to_owned()),
        ("Time".to_owned(), took.collect::<Vec<_>>().join(", ")),
    ];
    let all: Vec<_> = sets.chain(report.facts.iter().cloned()).chain(rest).collect();
    format!("## What was evaluated\n\n{}", facts(&all))
}

const TIES: &str = "of equal scores, the image that stands earlier in the gallery's list ranks first; \
                    scores that f32 cannot tell apart are compared in f64";

fn seconds(seconds: f64) -> String {
    match seconds {
        long if long >= 100.0 => format!("{long:.0} s"),
        short => format!("{short:.1} s"),
    }
}

fn result(report: &Report<'_>) -> String {
    let (alpha, beta) = (report.alpha, report.beta);
    let planes = super::planes(report.rows);
    let ours = planes.iter().map(|plane| {
        let name = match plane.category() {
            Some(category) if report.sets.len() > 1 => format!("ours, {category}"),
            _ => "**ours**".to_owned(),
        };
        cells(name, plane.at(alpha, beta))
    });
    let mut rows: Vec<Vec<String>> = ours.collect();
    let published = published(&report.sets[0].name);
    for row in published.iter().flat_map(|published| published.rows) {
        let (alpha, beta) = row.weights;
        let name = format!("paper, {}", row.backbone);
        let leading = [name, "caption".to_owned(), alpha.to_string(), beta.to_string()];
        let percents = report
            .metrics()
            .iter()
            .map(|&metric| percent(published.and_then(|published| published.percent(row, metric))));
        rows.push(leading.into_iter().chain(percents).collect());
    }
    let mut text = format!("## At α = {alpha}, β = {beta}, {}\n\n", report.point_is);
    let own = planes[0].at(alpha, beta);
    if (own.alpha, own.beta) != (alpha, beta) {
        text += "This point is no cell of the sweep. Ours are of the cell nearest to it.\n\n";
    }
    text += &table(&heads(&["", "text reference"], report.metrics()), &rows);
    text += "\nAll figures in percent. “Text reference” is what meets the captions: the reference \
             image, or its own captions, as in the paper's published code.\n";
    if let Some(published) = published {
        text += &format!("{} Source: [arXiv 2409.04918]({PAPER}).\n", published.of);
    }
    text
}

const PAPER: &str = "https://arxiv.org/abs/2409.04918";

fn plane(report: &Report<'_>) -> Option<String> {
    let figures = report.heatmaps();
    let (first, others) = figures.split_first()?;
    let whole = report.whole(report.rows);
    let (alphas, betas) = whole[0].sides();
    let best = whole.iter().flat_map(|&plane| bests(report.metrics(), plane));
    let best: Vec<Vec<String>> = best.collect();
    let mut text = format!(
        "## The plane\n\n{alphas} × {betas} points. Best cells:\n\n{}\n{PICKED}\n\n{}",
        table(&heads(&["best by", "text reference"], report.metrics()), &best),
        figure(&first.0, "Metrics over the plane of α and β"),
    );
    if !others.is_empty() {
        let links =
            others.iter().map(|(name, _)| format!("[{name}]({name}.png) ([SVG]({name}.svg))"));
        text += &format!("\nBy category: {}.\n", links.collect::<Vec<_>>().join(", "));
    }
    Some(text)
}

const PICKED: &str = "These cells were picked on the queries that they are reported on: what α and β \
                      would do on others is less than this.";

/// The best cell by the mean of all metrics, and by each.
fn bests(metrics: &[Metric], plane: Plane<'_>) -> Vec<Vec<String>> {
    let all = cells("mean of all".to_owned(), plane.best());
    let each = metrics.iter().enumerate();
    let each = each.map(|(nth, metric)| cells(metric.to_string(), plane.best_of(nth)));
    // because: of one metric, the mean is that metric
    if metrics.len() == 1 { each.collect() } else { [all].into_iter().chain(each).collect() }
}

fn tuned(report: &Report<'_>) -> Option<String> {
    let seed = report.seed.filter(|_| !report.tuned.is_empty())?;
    let row = |half: &str, tuned: &crate::tuning::Tuned, percents: &[f64]| {
        let weights = [tuned.alpha.to_string(), tuned.beta.to_string()];
        let leading =
            [half.to_owned(), tuned.text_reference.to_string()].into_iter().chain(weights);
        leading.chain(percents.iter().map(|&p| percent(Some(p)))).collect::<Vec<_>>()
    };
    let rows = report.tuned.iter().flat_map(|tuned| {
        [
            row("picked on", tuned, &tuned.picked_on),
            row("**reported on**", tuned, &tuned.reported_on),
        ]
    });
    let rows: Vec<_> = rows.collect();
    Some(format!(
        "## Tuned on one half, reported on the other\n\nα and β have the greatest mean of all metrics \
         on a random half of the queries (seed {seed}). The other half had no say: its figures are those \
         to report. {}\n\n{}",
        "The paper tuned on the queries that it reports, as the row “picked on” does.",
        table(&heads(&["half", "text reference"], report.metrics()), &rows)
    ))
}

fn ablation(report: &Report<'_>) -> Option<String> {
    let chart = report.ablation_chart()?;
    let without =
        chart.without.map(|row| Row { text_reference: row.text_reference, ..row.clone() });
    let without = without.iter().map(|row| {
        let mut cells = cells("none (β = 0)".to_owned(), row);
        "–".clone_into(&mut cells[1]);
        cells
    });
    let rows = chart.rows.iter().map(|row| cells(row.choice.to_string(), row));
    let rows: Vec<Vec<String>> = rows.chain(without).collect();
    Some(format!(
        "## Captions\n\nWhich of an image's captions count, at the same α and β.\n\n{}\n{}",
        table(&heads(&["captions", "text reference"], report.metrics()), &rows),
        figure(ABLATION, "Metrics by the captions that count"),
    ))
}

fn examples(report: &Report<'_>) -> Option<String> {
    let sheet = |Sheet { file, what }: &Sheet| format!("{what}\n\n![{file}]({file})\n");
    let sheets: Vec<String> = report.sheets.iter().map(sheet).collect();
    (!sheets.is_empty()).then(|| format!("## Examples\n\n{}", sheets.join("\n")))
}

fn problems(report: &Report<'_>) -> String {
    match report.problems.as_slice() {
        [] => "## Problems\n\nNone.\n".to_owned(),
        some => format!("## Problems\n\n{}", problems::shown(some)),
    }
}

fn files(report: &Report<'_>) -> Option<String> {
    let name = |file: &Path| file.file_name().map(|name| name.to_string_lossy().into_owned());
    let links = report.tables.iter().filter_map(|file| name(file));
    let links: Vec<String> = links.map(|name| format!("[{name}]({name})")).collect();
    (!links.is_empty()).then(|| format!("## All numbers\n\n{}\n", links.join(", ")))
}

fn figure(name: &str, what: &str) -> String {
    format!("![{what}]({name}.png)\n\n[{name}.svg]({name}.svg)\n")
}

fn heads(leading: &[&str; 2], metrics: &[Metric]) -> Vec<String> {
    let leading = leading.iter().copied().chain(["α", "β"]).map(str::to_owned);
    leading.chain(metrics.iter().map(Metric::to_string)).collect()
}

/// A row of a table, under `heads`.
fn cells(name: String, row: &Row) -> Vec<String> {
    let weights = [row.alpha.to_string(), row.beta.to_string()];
    let leading = [name, row.text_reference.to_string()].into_iter().chain(weights);
    leading.chain(row.percents.iter().map(|&p| percent(Some(p)))).collect()
}
