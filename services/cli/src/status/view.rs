//! One look at a pipeline, drawn on a terminal.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Borders, Row, Table},
};
use weimocir_domain::ModelId;
use weimocir_runtime::WorkerInfo;
use weimocir_wire::names;

use super::{Status, history::History};

/// What the pipeline looked like, and how it is doing now.
pub(super) struct View<'a> {
    pub(super) server: &'a str,
    pub(super) history: &'a History,
    /// Why there is no newer status, and for how long.
    pub(super) silent: Option<(String, Duration)>,
}

/// Looks that are drawn as bars.
const BARS: usize = 30;

impl View<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let Some(status) = self.history.latest() else {
            frame.render_widget(self.header(), frame.area());
            return;
        };
        let height = |rows: usize| Constraint::Length(rows as u16 + 2);
        let areas: [Rect; 4] = Layout::vertical([
            Constraint::Length(1),
            height(status.collections.len().max(1)),
            height(status.backlog.len() + 1),
            height(names::SERVICES.len() + 1),
        ])
        .areas(frame.area());
        frame.render_widget(self.header(), areas[0]);
        frame.render_widget(self.galleries(status), areas[1]);
        frame.render_widget(self.queues(status), areas[2]);
        frame.render_widget(workers(status), areas[3]);
    }

    fn header(&self) -> Line<'_> {
        let mut line = vec![" weimocir ".bold(), Span::raw(self.server), Span::raw("   q ends ")];
        if let Some((reason, silent)) = &self.silent {
            let told = format!("  no answer for {} s: {reason}", silent.as_secs());
            line.push(Span::styled(told, Style::new().fg(Color::Red).bold()));
        }
        Line::from(line)
    }

    fn galleries(&self, status: &Status) -> Table<'_> {
        let rows = status.collections.iter().map(|gallery| {
            let of = |number: fn(&super::Gallery) -> u64| {
                let name = gallery.name.clone();
                move |status: &Status| {
                    status.collections.iter().find(|other| other.name == name).map(number)
                }
            };
            let missing = match gallery.missing_shards.len() {
                0 => Span::raw(gallery.shards.to_string()),
                missing => format!("{missing} of {} missing", gallery.shards).red().bold(),
            };
            let model = gallery.model.as_ref().map_or("no model yet", ModelId::as_str);
            Row::new([
                Line::from(gallery.name.to_string()),
                right(gallery.images.to_string()),
                right(rate(self.history.rate(of(|gallery| gallery.images)))),
                right(gallery.captioned.to_string()),
                right(rate(self.history.rate(of(|gallery| gallery.captioned)))),
                Line::from(missing),
                Line::from(model.to_owned()),
            ])
        });
        let widths = [16, 12, 10, 12, 10, 16].map(Constraint::Length);
        let heads = ["gallery", "images", "each s", "captioned", "each s", "shards", "model"];
        table(rows, widths.into_iter().chain([Constraint::Fill(1)]), heads, &[1, 2, 3, 4])
    }

    fn queues(&self, status: &Status) -> Table<'_> {
        let rows = status.backlog.iter().map(|(&name, backlog)| {
            let waiting = move |status: &Status| status.backlog.get(name).map(|b| b.waiting);
            Row::new([
                Line::from(name),
                right(backlog.waiting.to_string()),
                right(rate(self.history.rate(waiting))),
                right(backlog.in_work.to_string()),
                Line::from(self.history.bars(BARS, waiting).cyan()),
            ])
        });
        let letters = |status: &Status| Some(status.dead_letters);
        let count = right(status.dead_letters.to_string());
        let dead = Row::new([
            Line::from("dead letters"),
            if status.dead_letters > 0 { count.red().bold() } else { count },
            right(rate(self.history.rate(letters))),
        ]);
        let widths = [16, 12, 10, 12].map(Constraint::Length);
        let heads = ["queue", "waiting", "each s", "in work", "history"];
        let widths = widths.into_iter().chain([Constraint::Fill(1)]);
        table(rows.chain([dead]), widths, heads, &[1, 2, 3])
    }
}

fn workers(status: &Status) -> Table<'static> {
    let kinds = names::SERVICES.into_iter().chain([names::GATEWAY_SERVICE]);
    let rows = kinds.map(|name| {
        let alive: Vec<&WorkerInfo> =
            status.workers.iter().filter(|worker| worker.name == name).collect();
        let count = right(alive.len().to_string());
        let needed = name != names::GATEWAY_SERVICE;
        let count = if alive.is_empty() && needed { count.red().bold() } else { count };
        Row::new([Line::from(name), count, Line::from(super::facts(&alive))])
    });
    let widths = [Constraint::Length(18), Constraint::Length(6), Constraint::Fill(1)];
    table(rows, widths, ["worker", "alive", ""], &[1])
}

/// `numbers` are the columns whose heads stand at the right.
fn table<'a, const N: usize>(
    rows: impl IntoIterator<Item = Row<'a>>,
    widths: impl IntoIterator<Item = Constraint>,
    heads: [&'static str; N],
    numbers: &[usize],
) -> Table<'a> {
    let head = |(n, head): (usize, &'static str)| {
        if numbers.contains(&n) { right(head.to_owned()) } else { Line::from(head) }
    };
    let heads = Row::new(heads.into_iter().enumerate().map(head)).bold();
    Table::new(rows, widths)
        .header(heads)
        .column_spacing(1)
        .block(Block::new().borders(Borders::TOP).border_style(Style::new().fg(Color::DarkGray)))
}

fn right(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

/// A rate with its sign; nothing where nothing moves.
fn rate(rate: Option<f64>) -> String {
    match rate {
        Some(rate) if rate.abs() >= 0.05 => format!("{rate:+.1}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;
    use weimocir_runtime::Backlog;

    use super::*;
    use crate::status::Gallery;

    fn status(images: u64, waiting: u64) -> Status {
        let gallery = Gallery {
            name: "garments".parse().unwrap(),
            model: Some(ModelId::new("bundled")),
            other_models: vec![],
            fields: Default::default(),
            shards: 2,
            images,
            captioned: 100,
            missing_shards: vec![],
        };
        let worker = |name, facts| {
            let worker = json!({ "name": name, "id": "x", "version": "1", "metadata": facts });
            serde_json::from_value(worker).unwrap()
        };
        Status {
            collections: vec![gallery],
            backlog: [("encode image", Backlog { waiting, in_work: 64 })].into(),
            workers: vec![
                worker("weimocir-encode", json!({ "model": "bundled" })),
                worker("weimocir-gateway", json!({})),
            ],
            dead_letters: 3,
        }
    }

    fn drawn(history: &History, silent: Option<(String, Duration)>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
        let view = View { server: "nats://127.0.0.1:4222", history, silent };
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_pipeline_at_work() {
        let (begin, mut history) = (Instant::now(), History::default());
        history.add(begin, status(200, 800));
        history.add(begin + Duration::from_secs(2), status(300, 700));
        insta::assert_snapshot!(drawn(&history, None));
    }

    #[test]
    fn a_server_that_went_away() {
        let mut history = History::default();
        let silent = || Some(("connection refused".to_owned(), Duration::from_secs(7)));
        let before = drawn(&history, silent());
        assert!(before.contains("no answer for 7 s: connection refused"), "{before}");
        history.add(Instant::now(), status(200, 800));
        let after = drawn(&history, silent());
        assert!(after.contains("no answer for 7 s") && after.contains("garments"), "{after}");
    }
}
