//! `weimocir`: the pipeline from the command line. One file per command; `exit` gives failures their
//! exit codes, `nats_server` starts a server for `up` and `demo`, `condition` reads `search --where`.

mod backup;
mod caption;
mod condition;
mod dead;
mod delete;
mod demo;
mod embed;
mod eval;
mod exit;
mod get;
pub mod ingest;
mod models;
mod nats_server;
mod plan;
mod provision;
mod reindex;
mod search;
mod sheet;
mod status;
mod up;

use std::{future::ready, io::Write, process::ExitCode};

use futures::{FutureExt, future::BoxFuture};
use weimocir_client::Gallery;
use weimocir_domain::{Collection, ImageId};
use weimocir_runtime::{Bus, Collections, NatsArgs, Patience, TelemetryArgs};
use weimocir_wire::{query::Record, vectors::CollectionRecord};

pub use exit::Done;
pub use nats_server::NatsServer;

/// Composed image search: "like this picture, but …"
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir", version, after_help = exit::HELP, arg_required_else_help = true)]
pub struct Weimocir {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    shared: Shared,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Shared {
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    /// Gallery to work on
    #[arg(long, env = "WEIMOCIR_COLLECTION", default_value_t, value_name = "NAME", global = true)]
    collection: Collection,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run every worker in this process
    Up(Box<up::UpArgs>),
    /// Feed pictures into the pipeline
    Ingest(ingest::IngestArgs),
    /// Find images like a reference, but with what the modifier says
    Search(Box<search::SearchArgs>),
    /// Write captions about picture files, without NATS
    Caption(Box<caption::CaptionCommand>),
    /// Show everything about one image
    Get(get::GetArgs),
    /// Forget images
    Delete(delete::DeleteArgs),
    /// Encode pictures and texts here, and print their raw embeddings
    Embed(Box<embed::EmbedArgs>),
    /// Evaluate the method on a data set
    Eval(Box<eval::EvalArgs>),
    /// List the known models, and which of them are here
    Models,
    /// Show galleries, work that waits, and workers alive
    Status(status::StatusArgs),
    /// Look after deliveries that were given up
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Write a gallery into one file, while the pipeline goes on
    Backup(backup::BackupArgs),
    /// Bring a gallery back from such a file, into this server or a new one
    Restore(backup::RestoreArgs),
    /// Change a gallery's model while everything goes on, and back
    Reindex(reindex::ReindexArgs),
    /// Say what a gallery of some size needs, without NATS
    Plan(plan::PlanArgs),
    /// Make the streams, queues and a gallery, where workers may not make them themselves
    Provision(provision::ProvisionArgs),
    /// Show the whole pipeline at work on a sample gallery
    Demo(Box<demo::DemoArgs>),
}

/// Runs a command and turns what became of it into an exit code.
pub fn main(weimocir: Weimocir) -> BoxFuture<'static, ExitCode> {
    let Weimocir { command, shared } = weimocir;
    // because: a command's own output says what it did; the workers' milestones belong to `up`
    let level = match &command {
        Command::Up(_) => "info",
        // because: a download takes long, and without a terminal its log is all there is to see
        Command::Embed(_) | Command::Eval(_) => "warn,weimocir_models::hub::progress=info",
        Command::Status(args) if args.draws() => "off",
        _ => "warn",
    };
    if let Err(error) = shared.telemetry.install(level, "weimocir") {
        return ready(exit::usage(&error.to_string())).boxed();
    }
    let json = shared.json;
    run(command, shared).map(move |outcome| exit::report(outcome, json)).boxed()
}

fn run(command: Command, shared: Shared) -> BoxFuture<'static, anyhow::Result<Done>> {
    match command {
        Command::Up(args) => up::run(*args, shared).boxed(),
        Command::Ingest(args) => ingest::run(args, shared).boxed(),
        Command::Search(args) => search::run(*args, shared).boxed(),
        Command::Caption(args) => caption::run(*args, shared).boxed(),
        Command::Get(args) => get::run(args, shared).boxed(),
        Command::Delete(args) => delete::run(args, shared).boxed(),
        Command::Embed(args) => embed::run(*args, shared).boxed(),
        Command::Eval(args) => eval::run(*args, shared).boxed(),
        Command::Models => ready(models::run(&shared)).boxed(),
        Command::Status(args) => status::run(args, shared).boxed(),
        Command::Dead(command) => dead::run(command, shared).boxed(),
        Command::Backup(args) => backup::run(args, shared).boxed(),
        Command::Restore(args) => backup::restore(args, shared).boxed(),
        Command::Reindex(args) => reindex::run(args, shared).boxed(),
        Command::Plan(args) => ready(plan::run(&args, &shared)).boxed(),
        Command::Provision(args) => provision::run(args, shared).boxed(),
        Command::Demo(args) => demo::run(*args, shared).boxed(),
    }
}

impl Shared {
    async fn connect(&self) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.nats, "weimocir", Patience::Command).await?)
    }

    async fn existing_collection(&self, bus: &Bus) -> anyhow::Result<CollectionRecord> {
        Ok(Collections::open(bus).await?.get(&self.collection).await?)
    }
}

/// How long a single question to a worker may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

async fn record(
    bus: &Bus,
    collection: &CollectionRecord,
    image: ImageId,
) -> anyhow::Result<Record> {
    Ok(Gallery::new(bus, collection.clone()).record(image).await?)
}

/// Reads a number of seconds that may be waited.
fn seconds(written: &str) -> anyhow::Result<f64> {
    let seconds: f64 = written.parse()?;
    anyhow::ensure!((0.0..=3_600.0).contains(&seconds), "expected 0 to 3600 seconds");
    Ok(seconds)
}

/// A line of a command's result, on standard output.
fn say(text: impl std::fmt::Display) {
    // because: a reader that has seen enough (`| head`) closes the pipe, which is no failure
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(value)?);
    Ok(())
}
