//! `weimocir status --watch`: the same again and again, drawn where there is a terminal to draw on.

use std::{
    io::{IsTerminal, stdout},
    pin::pin,
    time::{Duration, Instant},
};

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures::{Stream, StreamExt, stream};
use ratatui::DefaultTerminal;
use tokio::time::{MissedTickBehavior, interval};
use weimocir_runtime::Bus;

use super::{Status, collect, history::History, show, view::View};
use crate::{Done, say};

pub(super) async fn run(
    bus: &Bus,
    server: &str,
    every: Duration,
    json: bool,
) -> anyhow::Result<Done> {
    if json || !stdout().is_terminal() {
        return print(bus, every, json).await;
    }
    let mut terminal = ratatui::try_init()?;
    let outcome = draw(&mut terminal, bus, server, every).await;
    ratatui::restore();
    outcome
}

/// One block of text, or one line of JSON, each time; until it is stopped.
async fn print(bus: &Bus, every: Duration, json: bool) -> anyhow::Result<Done> {
    let mut answers = pin!(answers(bus, every));
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(status) if json => say(serde_json::to_string(&status)?),
            Ok(status) => {
                show(&status);
                say("");
            }
            Err(error) => tracing::warn!("no status: {error:#}"),
        }
    }
    Ok(Done::Fully)
}

async fn draw(
    terminal: &mut DefaultTerminal,
    bus: &Bus,
    server: &str,
    every: Duration,
) -> anyhow::Result<Done> {
    let (mut history, mut heard, mut failure) = (History::default(), Instant::now(), None);
    let mut answers = pin!(answers(bus, every));
    let mut events = EventStream::new();
    // because: how long a server has been silent is told meanwhile
    let mut clock = interval(Duration::from_secs(1));
    loop {
        let silent = failure.clone().map(|reason| (reason, heard.elapsed()));
        let view = View { server, history: &history, silent };
        terminal.draw(|frame| view.draw(frame))?;
        tokio::select! {
            Some(answer) = answers.next() => match answer {
                Ok(status) => {
                    (heard, failure) = (Instant::now(), None);
                    history.add(heard, status);
                }
                Err(error) => failure = Some(format!("{error:#}")),
            },
            _ = clock.tick() => {}
            event = events.next() => match event.transpose()? {
                Some(event) if !ends(&event) => {}
                _ => return Ok(Done::Fully),
            },
        }
    }
}

/// The status each time, for ever.
fn answers(bus: &Bus, every: Duration) -> impl Stream<Item = anyhow::Result<Status>> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(ticks, move |mut ticks| async move {
        ticks.tick().await;
        Some((collect(bus).await, ticks))
    })
}

/// `q`, Esc and Ctrl-C: a terminal that is drawn on sends no signal for the last.
fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => control,
            _ => false,
        }
}
