//! Curves over one time, in panels one below the other.

use std::path::Path;

use plotters_backend::DrawingBackend;

use super::{
    Figure,
    axis::ticks,
    canvas::{Canvas, Drawn, FAINT, INK, RULE, Text},
    legend::BLUE,
    write_svg,
};
use crate::error::EvaluationError;

/// What happened over some time.
#[derive(Debug)]
pub struct Timelines {
    pub title: String,
    /// Where time ends, in seconds; it begins at 0.
    pub seconds: f64,
    pub panels: Vec<Panel>,
}

/// A value that is told now and then, and held until it is told again.
#[derive(Debug)]
pub struct Panel {
    pub name: String,
    /// Seconds, and the value from then on, in order.
    pub told: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 110.0;
const LEFT: f64 = 64.0;
const MARGIN: f64 = 20.0;
const TITLE: f64 = 40.0;
const HEAD: f64 = 24.0;
const FOOT: f64 = 44.0;

const HEADLINE: Text = Text::new(15.0, INK);
const NAME: Text = Text::new(12.0, INK);
const TICK: Text = Text::new(11.0, FAINT);

impl Timelines {
    /// Writes an SVG.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), EvaluationError> {
        write_svg(self, file)
    }

    fn across(&self, seconds: f64) -> f64 {
        LEFT + WIDTH * (seconds / self.seconds.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    fn panel<B: DrawingBackend>(&self, canvas: &Canvas<B>, top: f64, panel: &Panel) -> Drawn<B> {
        canvas.text((LEFT, top + HEAD / 2.0), &panel.name, NAME)?;
        let (top, bottom) = (top + HEAD, top + HEAD + HEIGHT);
        let most = panel.told.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let down = |value: f64| bottom - HEIGHT * value / most;
        for (value, text) in ticks(0.0, most, 4) {
            let y = down(value);
            canvas.line((LEFT, y), (LEFT + WIDTH, y), RULE, 1.0)?;
            canvas.text((LEFT - 8.0, y), &text, TICK.to_the_left())?;
        }
        for (nth, (at, value)) in panel.told.iter().enumerate() {
            let next = panel.told.get(nth + 1);
            let (from, y) = (self.across(*at), down(*value));
            let to = self.across(next.map_or(self.seconds, |(at, _)| *at));
            canvas.line((from, y), (to, y), BLUE, 1.5)?;
            if let Some((_, value)) = next {
                canvas.line((to, y), (to, down(*value)), BLUE, 1.5)?;
            }
        }
        canvas.frame((LEFT, top), (LEFT + WIDTH, bottom), RULE)
    }
}

impl Figure for Timelines {
    fn size(&self) -> (u32, u32) {
        let height = TITLE + self.panels.len() as f64 * (HEAD + HEIGHT) + FOOT;
        ((LEFT + WIDTH + MARGIN) as u32, height as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        canvas.text((MARGIN, TITLE / 2.0), &self.title, HEADLINE)?;
        for (nth, panel) in self.panels.iter().enumerate() {
            self.panel(canvas, TITLE + nth as f64 * (HEAD + HEIGHT), panel)?;
        }
        let bottom = TITLE + self.panels.len() as f64 * (HEAD + HEIGHT);
        for (at, text) in ticks(0.0, self.seconds, 8) {
            canvas.text((self.across(at), bottom + 12.0), &text, TICK.centred())?;
        }
        canvas.text((LEFT + WIDTH / 2.0, bottom + 30.0), "seconds", TICK.centred())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_stands_below_the_other_on_one_time() {
        let panel =
            |name: &str, told: &[(f64, f64)]| Panel { name: name.into(), told: told.to_vec() };
        let panels = vec![panel("load", &[(0.0, 1.0), (5.0, 40.0)]), panel("nothing", &[])];
        let chart = Timelines { title: "a day".into(), seconds: 10.0, panels };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chart.svg");
        chart.write(&file).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        for text in ["a day", "load", "nothing", "seconds"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(chart.write(&folder.path().join("no/such/folder.svg")).is_err());
    }
}
