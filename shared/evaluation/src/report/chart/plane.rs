//! Heat-maps of planes: a column for each metric, whose colours mean the same in all its panels, and a
//! row for each text reference.

use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use weimocir_domain::{Alpha, Beta};

use super::{
    Figure,
    axis::ticks,
    canvas::{At, Canvas, Drawn, FAINT, INK, PAPER, Text},
    drawn,
    legend::{self, Key, Mark},
    viridis::{is_light, viridis},
};
use crate::{metric::Metric, report::plane::Plane, results::Row};

/// The planes of one category.
#[derive(Debug)]
pub(in crate::report) struct Heatmaps<'a> {
    pub(in crate::report) title: String,
    pub(in crate::report) metrics: &'a [Metric],
    /// One for each text reference, at least one.
    pub(in crate::report) planes: Vec<Plane<'a>>,
    /// A point to mark, and what it is.
    pub(in crate::report) point: (Alpha, Beta),
    pub(in crate::report) point_is: &'a str,
}

/// A panel's side; because 21 cells of 12 units are.
const SIDE: f64 = 252.0;
const LEFT: f64 = 58.0;
const MARGIN: f64 = 20.0;
const GAP: f64 = 30.0;
const TITLE: f64 = 46.0;
/// Above a panel, for what it shows and its values in words.
const HEAD: f64 = 60.0;
/// Below a panel, for α.
const FOOT: f64 = 46.0;
const BAR: f64 = 58.0;
const BAR_THICKNESS: f64 = 12.0;
/// Cells a side, up to which each tells its value.
const TOLD: usize = 11;
/// Points of percent that a cell may be worse than the best to be within the line.
const NEAR: f64 = 1.0;

const HEADLINE: Text = Text::new(15.0, INK);
const NAME: Text = Text::new(13.0, INK);
const LABEL: Text = Text::new(12.0, INK);
const TICK: Text = Text::new(11.0, FAINT);
const VALUE: Text = Text::new(11.0, INK);

impl Figure for Heatmaps<'_> {
    fn size(&self) -> (u32, u32) {
        let height = TITLE + self.planes.len() as f64 * (HEAD + SIDE + FOOT) + BAR;
        let height = height + legend::height(&self.keys(), self.width() - LEFT - MARGIN) + MARGIN;
        (self.width() as u32, height.ceil() as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        canvas.text((LEFT, TITLE / 2.0), &self.title, HEADLINE)?;
        for (column, metric) in drawn(self.metrics).into_iter().enumerate() {
            let left = LEFT + column as f64 * (SIDE + GAP);
            let range = self.range(metric);
            for (row, &plane) in self.planes.iter().enumerate() {
                let top = TITLE + HEAD + row as f64 * (HEAD + SIDE + FOOT);
                let panel = Panel { plane, metric, range, at: (left, top) };
                panel.cells(canvas)?;
                self.marks(canvas, &panel)?;
                self.head(canvas, &panel)?;
                panel.axes(canvas, column == 0)?;
            }
            let top = TITLE + self.planes.len() as f64 * (HEAD + SIDE + FOOT);
            let label = format!("{} (%)", self.metrics[metric]);
            colour_bar(canvas, (left, top), range, &label)?;
        }
        let legend = TITLE + self.planes.len() as f64 * (HEAD + SIDE + FOOT) + BAR;
        legend::draw(canvas, (LEFT, legend), self.width() - LEFT - MARGIN, &self.keys())
    }
}

impl Heatmaps<'_> {
    fn width(&self) -> f64 {
        let columns = drawn(self.metrics).len() as f64;
        (LEFT + columns * (SIDE + GAP) - GAP + MARGIN).max(400.0)
    }

    fn keys(&self) -> [Key; 3] {
        let (alpha, beta) = self.point;
        [
            Key::new(Mark::Best, "best of the panel"),
            Key::new(Mark::Point, &format!("α {alpha}, β {beta}: {}", self.point_is)),
            Key::new(Mark::Line, &format!("within {NEAR} point of the best")),
        ]
    }

    /// The least and the greatest of a metric, in all panels.
    fn range(&self, metric: usize) -> (f64, f64) {
        let values = self.planes.iter().flat_map(|plane| plane.rows());
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), row| {
            (low.min(row.percents[metric]), high.max(row.percents[metric]))
        })
    }

    fn marks<B: DrawingBackend>(&self, canvas: &Canvas<B>, panel: &Panel<'_>) -> Drawn<B> {
        let (sides, best) = (panel.plane.sides(), panel.plane.best_of(panel.metric));
        // because: in a cell that tells its value, the mark stands above it
        let (up, size) =
            if panel.tells() { (0.28 * SIDE / sides.1 as f64, 0.8) } else { (0.0, 1.0) };
        let place = |(alpha, beta): (Alpha, Beta)| {
            let (x, y) = panel.place(alpha.get(), beta.get());
            (x, y - up)
        };
        Mark::Best.draw(canvas, place((best.alpha, best.beta)), size)?;
        Mark::Point.draw(canvas, place(self.point), size)
    }

    fn head<B: DrawingBackend>(&self, canvas: &Canvas<B>, panel: &Panel<'_>) -> Drawn<B> {
        let (left, top) = panel.at;
        let (metric, plane) = (self.metrics[panel.metric], panel.plane);
        let name = format!("{metric}, text reference {}", plane.text_reference());
        canvas.text((left, top - 46.0), &name, NAME)?;
        let Row { alpha, beta, percents, .. } = plane.best_of(panel.metric);
        let best = format!("best {:.2} at α {alpha}, β {beta}", percents[panel.metric]);
        canvas.text((left, top - 28.0), &best, VALUE)?;
        let own = plane.at(self.point.0, self.point.1);
        let at = match (own.alpha, own.beta) == self.point {
            true => "at".to_owned(),
            false => "in the cell nearest to".to_owned(),
        };
        let (alpha, beta) = self.point;
        let text = format!("{:.2} {at} α {alpha}, β {beta}", own.percents[panel.metric]);
        canvas.text((left, top - 12.0), &text, VALUE)
    }
}

/// One metric of one plane.
struct Panel<'a> {
    plane: Plane<'a>,
    metric: usize,
    range: (f64, f64),
    /// Its upper left corner.
    at: At,
}

impl Panel<'_> {
    /// Whether its cells are large enough to tell their values.
    fn tells(&self) -> bool {
        self.plane.sides().0.max(self.plane.sides().1) <= TOLD
    }

    /// The upper left corner of a cell, by its places on both axes. β grows upwards.
    fn corner(&self, across: usize, up: usize) -> At {
        let (columns, rows) = self.plane.sides();
        let x = self.at.0 + SIDE * across as f64 / columns as f64;
        (x, self.at.1 + SIDE * (1.0 - (up + 1) as f64 / rows as f64))
    }

    /// Where weights are, at the middle of their cell.
    fn place(&self, alpha: f32, beta: f32) -> At {
        let (columns, rows) = self.plane.sides();
        let middle =
            |weight: f32, of: usize| (f64::from(weight) * (of - 1) as f64 + 0.5) / of as f64;
        let (x, y) = (middle(alpha, columns), middle(beta, rows));
        (self.at.0 + SIDE * x, self.at.1 + SIDE * (1.0 - y))
    }

    fn value(&self, across: usize, up: usize) -> f64 {
        self.plane.rows()[across * self.plane.sides().1 + up].percents[self.metric]
    }

    fn colour(&self, value: f64) -> RGBColor {
        let (low, high) = self.range;
        viridis(if high > low { (value - low) / (high - low) } else { 0.5 })
    }

    fn cells<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let (columns, rows) = self.plane.sides();
        for (across, up) in (0..columns).flat_map(|x| (0..rows).rev().map(move |y| (x, y))) {
            let ((left, top), value) = (self.corner(across, up), self.value(across, up));
            // because: each reaching below the next, no seam shows between them at any size
            let right = (left + SIDE / columns as f64 + 1.0).min(self.at.0 + SIDE);
            let bottom = (top + SIDE / rows as f64 + 1.0).min(self.at.1 + SIDE);
            canvas.fill((left, top), (right, bottom), self.colour(value))?;
        }
        if self.tells() {
            self.values(canvas)?;
        }
        self.outline(canvas)?;
        canvas.frame(self.at, (self.at.0 + SIDE, self.at.1 + SIDE), INK)
    }

    fn values<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let (columns, rows) = self.plane.sides();
        let size = (SIDE / columns as f64 * 0.38).min(12.0);
        for (across, up) in (0..columns).flat_map(|x| (0..rows).map(move |y| (x, y))) {
            let ((left, top), value) = (self.corner(across, up), self.value(across, up));
            let ink = if is_light(self.colour(value)) { INK } else { PAPER };
            let at = (left + SIDE / columns as f64 / 2.0, top + 0.62 * SIDE / rows as f64);
            canvas.text(at, &format!("{value:.1}"), Text::new(size, ink).centred())?;
        }
        Ok(())
    }

    /// A line around the cells that are near the best.
    fn outline<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let (columns, rows) = self.plane.sides();
        let best = self.plane.best_of(self.metric).percents[self.metric];
        let near = |across: usize, up: usize| self.value(across, up) >= best - NEAR;
        for (across, up) in (0..columns).flat_map(|x| (0..rows).map(move |y| (x, y))) {
            let (left, top) = self.corner(across, up);
            let (right, bottom) = (left + SIDE / columns as f64, top + SIDE / rows as f64);
            if across + 1 < columns && near(across, up) != near(across + 1, up) {
                canvas.line((right, top), (right, bottom), INK, 1.5)?;
            }
            if up + 1 < rows && near(across, up) != near(across, up + 1) {
                canvas.line((left, top), (right, top), INK, 1.5)?;
            }
        }
        Ok(())
    }

    /// Where 0, 0.2, … 1 are; β in words only in the leftmost column.
    fn axes<B: DrawingBackend>(&self, canvas: &Canvas<B>, leftmost: bool) -> Drawn<B> {
        let (left, bottom) = (self.at.0, self.at.1 + SIDE);
        for (weight, text) in ticks(0.0, 1.0, 5) {
            let (x, y) = self.place(weight as f32, weight as f32);
            canvas.line((x, bottom), (x, bottom + 4.0), INK, 1.0)?;
            canvas.text((x, bottom + 12.0), &text, TICK.centred())?;
            canvas.line((left - 4.0, y), (left, y), INK, 1.0)?;
            if leftmost {
                canvas.text((left - 8.0, y), &text, TICK.to_the_left())?;
            }
        }
        canvas.text((left + SIDE / 2.0, bottom + 30.0), "α (modifier)", LABEL.centred())?;
        if leftmost {
            canvas.text((left - 42.0, bottom - SIDE / 2.0), "β (captions)", LABEL.upright())?;
        }
        Ok(())
    }
}

/// Colours from the least to the greatest value.
fn colour_bar<B: DrawingBackend>(
    canvas: &Canvas<B>,
    (left, top): At,
    (low, high): (f64, f64),
    label: &str,
) -> Drawn<B> {
    let steps = SIDE as u32;
    for step in 0..steps {
        let share = f64::from(step) / f64::from(steps);
        let from = (left + share * SIDE, top);
        canvas.fill(from, (left + SIDE, top + BAR_THICKNESS), viridis(share))?;
    }
    canvas.frame((left, top), (left + SIDE, top + BAR_THICKNESS), INK)?;
    for (value, text) in ticks(low, high, 5) {
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        let x = left + share * SIDE;
        let end = top + BAR_THICKNESS;
        canvas.line((x, end), (x, end + 4.0), INK, 1.0)?;
        canvas.text((x, end + 12.0), &text, TICK.centred())?;
    }
    canvas.text((left + SIDE / 2.0, top + BAR_THICKNESS + 28.0), label, LABEL.centred())
}
