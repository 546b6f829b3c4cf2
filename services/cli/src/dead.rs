//! `weimocir dead`: look at deliveries that were given up, send them again, or drop them.

use weimocir_runtime::{BusError, DeadLetter, DeadLetters};

use crate::{Done, Shared, say, say_json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters, oldest first
    List(Filter),
    /// Show one dead letter with its original message
    Show {
        #[arg(value_name = "NUMBER")]
        number: u64,
    },
    /// Send the originals again, and drop the letters
    Retry(Choice),
    /// Drop the letters
    Drop(Choice),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of this step: `encode`, `caption`, `store`, `delete`
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Numbers of letters
    #[arg(value_name = "NUMBER", required_unless_present_any = ["all", "reason", "step"],
        conflicts_with_all = ["reason", "step"])]
    numbers: Vec<u64>,
    /// All letters, or with --reason and --step those that these leave
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Filter {
    fn fits(&self, letter: &DeadLetter) -> bool {
        self.reason.as_ref().is_none_or(|text| letter.reason.contains(text))
            && self.step.as_ref().is_none_or(|step| letter.step == *step)
    }
}

pub(crate) async fn run(command: DeadCommand, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    bus.provision().await?;
    let letters = DeadLetters::open(&bus).await?;
    match command {
        DeadCommand::List(filter) => list(&letters, &filter, shared.json).await?,
        DeadCommand::Show { number } => show(&letters.get(number).await?, shared.json)?,
        DeadCommand::Retry(choice) => {
            let mut tally = Tally::default();
            for number in choose(&letters, choice).await? {
                tally.note(number, letters.retry(number).await);
            }
            return tally.tell("retried", shared.json);
        }
        DeadCommand::Drop(choice) => {
            let mut tally = Tally::default();
            for number in choose(&letters, choice).await? {
                tally.note(number, letters.drop_letter(number).await);
            }
            return tally.tell("dropped", shared.json);
        }
    }
    Ok(Done::Fully)
}

async fn list(letters: &DeadLetters, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let mut found = letters.after(0).await?;
    found.retain(|letter| filter.fits(letter));
    if json {
        return say_json(&found);
    }
    if found.is_empty() {
        say("no dead letters");
    }
    for letter in found {
        let image = letter.image.as_deref().unwrap_or("-");
        say(format_args!("{:>6}  {:<8} {image}  {}", letter.number, letter.step, letter.reason));
    }
    Ok(())
}

fn show(letter: &DeadLetter, json: bool) -> anyhow::Result<()> {
    let original: Option<serde_json::Value> = weimocir_wire::peek(&letter.payload);
    if json {
        let mut value = serde_json::to_value(letter)?;
        value["original"] = original.unwrap_or(serde_json::Value::Null);
        return say_json(&value);
    }
    say(format_args!("number    {}", letter.number));
    say(format_args!("at        {}", letter.at));
    say(format_args!("step      {}", letter.step));
    say(format_args!("attempts  {}", letter.attempts));
    say(format_args!("reason    {}", letter.reason));
    say(format_args!("subject   {}", letter.subject));
    match original {
        Some(original) => say(format_args!("original  {original}")),
        None => say(format_args!("original  {} bytes that cannot be read", letter.payload.len())),
    }
    Ok(())
}

async fn choose(letters: &DeadLetters, choice: Choice) -> anyhow::Result<Vec<u64>> {
    if !choice.numbers.is_empty() {
        return Ok(choice.numbers);
    }
    let found = letters.after(0).await?;
    Ok(found
        .into_iter()
        .filter(|letter| choice.filter.fits(letter))
        .map(|letter| letter.number)
        .collect())
}

/// What became of each letter: one that cannot be sent again stays, and holds up no other.
#[derive(Default)]
struct Tally {
    done: Vec<u64>,
    failed: Vec<(u64, String)>,
}

impl Tally {
    fn note(&mut self, number: u64, outcome: Result<(), BusError>) {
        match outcome {
            Ok(()) => self.done.push(number),
            Err(error) => self.failed.push((number, error.to_string())),
        }
    }

    /// # Errors
    /// Nothing could be done, with the first reason.
    fn tell(self, done: &str, json: bool) -> anyhow::Result<Done> {
        let Self { done: numbers, failed } = self;
        if numbers.is_empty()
            && let Some((_, reason)) = failed.first()
        {
            anyhow::bail!("{reason}");
        }
        if json {
            let failed: Vec<_> = failed
                .iter()
                .map(|(number, reason)| serde_json::json!({ "number": number, "reason": reason }))
                .collect();
            say_json(&serde_json::json!({ done: numbers, "failed": failed }))?;
        } else {
            say(format_args!("{} {done}", numbers.len()));
            failed.iter().for_each(|(_, reason)| say(reason));
        }
        Ok(if failed.is_empty() { Done::Fully } else { Done::Partly })
    }
}
