//! What each choice of captions is worth: a column for each metric, a row for each choice, a dot for
//! each text reference.

use plotters_backend::DrawingBackend;
use weimocir_domain::TextReference;

use super::{
    Figure,
    axis::ticks,
    canvas::{At, Canvas, Drawn, FAINT, INK, RULE, Text},
    drawn,
    legend::{self, Key, Mark},
};
use crate::{captions::CaptionChoice, metric::Metric, results::Row};

#[derive(Debug)]
pub(in crate::report) struct Ablation<'a> {
    pub(in crate::report) title: String,
    pub(in crate::report) metrics: &'a [Metric],
    /// One for each choice and text reference, at one point of the plane.
    pub(in crate::report) rows: Vec<&'a Row>,
    /// Without captions, if that was evaluated.
    pub(in crate::report) without: Option<&'a Row>,
}

const PLOT: f64 = 230.0;
const LEFT: f64 = 84.0;
const MARGIN: f64 = 20.0;
const GAP: f64 = 26.0;
const TITLE: f64 = 46.0;
const HEAD: f64 = 26.0;
const FOOT: f64 = 52.0;
/// For one text reference.
const LINE: f64 = 18.0;
const BETWEEN_CHOICES: f64 = 8.0;
/// At the right of the greatest dot, for its value.
const ROOM: f64 = 50.0;
const PADDING: f64 = 14.0;

const HEADLINE: Text = Text::new(15.0, INK);
const NAME: Text = Text::new(13.0, INK);
const LABEL: Text = Text::new(12.0, INK);
const TICK: Text = Text::new(11.0, FAINT);
const VALUE: Text = Text::new(11.0, INK);

impl Figure for Ablation<'_> {
    fn size(&self) -> (u32, u32) {
        let legend = legend::height(&self.keys(), self.width() - LEFT - MARGIN);
        let height = TITLE + HEAD + self.height() + FOOT + legend + MARGIN;
        (self.width() as u32, height.ceil() as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        canvas.text((MARGIN, TITLE / 2.0), &self.title, HEADLINE)?;
        let top = TITLE + HEAD;
        for (nth, choice) in self.choices().into_iter().enumerate() {
            let middle = top + (nth as f64 + 0.5) * self.choice_height();
            canvas.text((LEFT - 12.0, middle), &choice.to_string(), LABEL.to_the_left())?;
        }
        let middle = top + self.height() / 2.0;
        canvas.text((MARGIN + 4.0, middle), "captions that count", LABEL.upright())?;
        for (column, metric) in drawn(self.metrics).into_iter().enumerate() {
            self.column(canvas, (LEFT + column as f64 * (PLOT + GAP), top), metric)?;
        }
        let place = (LEFT, top + self.height() + FOOT);
        legend::draw(canvas, place, self.width() - LEFT - MARGIN, &self.keys())
    }
}

impl Ablation<'_> {
    fn width(&self) -> f64 {
        let columns = drawn(self.metrics).len() as f64;
        (LEFT + columns * (PLOT + GAP) - GAP + MARGIN).max(400.0)
    }

    fn height(&self) -> f64 {
        self.choices().len() as f64 * self.choice_height()
    }

    fn choice_height(&self) -> f64 {
        self.text_references().len() as f64 * LINE + BETWEEN_CHOICES
    }

    /// Fewest captions first, as they stand.
    fn choices(&self) -> Vec<CaptionChoice> {
        let mut choices: Vec<CaptionChoice> = Vec::new();
        for row in &self.rows {
            if !choices.contains(&row.choice) {
                choices.push(row.choice);
            }
        }
        choices
    }

    fn text_references(&self) -> Vec<TextReference> {
        let both = [TextReference::Image, TextReference::Caption];
        let there = |text: &TextReference| self.rows.iter().any(|row| row.text_reference == *text);
        both.into_iter().filter(there).collect()
    }

    fn keys(&self) -> Vec<Key> {
        let texts = self.text_references().into_iter();
        let texts = texts.map(|text| Key::new(mark(text), &format!("text reference {text}")));
        let without = self.without.map(|_| Key::new(Mark::Dashes, "without captions (β = 0)"));
        texts.chain(without).collect()
    }

    fn column<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        (left, top): At,
        metric: usize,
    ) -> Drawn<B> {
        let bottom = top + self.height();
        let scale = Scale::new(left, self.rows.iter().copied().chain(self.without), metric);
        canvas.text((left, top - 14.0), &format!("{} (%)", self.metrics[metric]), NAME)?;
        for (value, text) in scale.ticks() {
            let x = scale.place(value);
            canvas.line((x, top), (x, bottom), RULE, 1.0)?;
            canvas.text((x, bottom + 14.0), &text, TICK.centred())?;
        }
        if let Some(without) = self.without {
            dashes(canvas, scale.place(without.percents[metric]), top, bottom)?;
        }
        for row in &self.rows {
            let (x, y) = (scale.place(row.percents[metric]), top + self.line_of(row));
            mark(row.text_reference).draw(canvas, (x, y), 1.0)?;
            canvas.text((x + 9.0, y), &format!("{:.2}", row.percents[metric]), VALUE)?;
        }
        canvas.frame((left, top), (left + PLOT, bottom), RULE)
    }

    /// The middle of a row's line, from the top of the plot.
    fn line_of(&self, row: &Row) -> f64 {
        let choice = self.choices().iter().position(|choice| *choice == row.choice).unwrap_or(0);
        let texts = self.text_references();
        let line = texts.iter().position(|text| *text == row.text_reference).unwrap_or(0);
        let within = BETWEEN_CHOICES / 2.0 + (line as f64 + 0.5) * LINE;
        choice as f64 * self.choice_height() + within
    }
}

fn mark(text_reference: TextReference) -> Mark {
    match text_reference {
        TextReference::Image => Mark::Disc,
        TextReference::Caption => Mark::Diamond,
    }
}

fn dashes<B: DrawingBackend>(canvas: &Canvas<B>, x: f64, top: f64, bottom: f64) -> Drawn<B> {
    let mut y = top;
    while y < bottom {
        canvas.line((x, y), (x, (y + 4.0).min(bottom)), FAINT, 1.5)?;
        y += 8.0;
    }
    Ok(())
}

/// Where percentages are, in a plot of which only what happens is shown.
struct Scale {
    left: f64,
    low: f64,
    /// Units of a point of percent.
    unit: f64,
}

impl Scale {
    fn new<'a>(left: f64, rows: impl Iterator<Item = &'a Row>, metric: usize) -> Self {
        let range = rows.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), row| {
            (low.min(row.percents[metric]), high.max(row.percents[metric]))
        });
        let (low, width) = (range.0, (range.1 - range.0).max(0.1));
        Self { left, low, unit: (PLOT - PADDING - ROOM) / width }
    }

    fn place(&self, percent: f64) -> f64 {
        self.left + PADDING + (percent - self.low) * self.unit
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let low = self.low - (PADDING - 4.0) / self.unit;
        let high = self.low + (PLOT - PADDING - 4.0) / self.unit;
        ticks(low, high, 4)
    }
}
