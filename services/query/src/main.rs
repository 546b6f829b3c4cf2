use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_query::Command::parse();
    command.telemetry.install("info", "weimocir-query")?;
    weimocir_runtime::run(&command.operations, |operations, shutdown| {
        weimocir_query::run(command.nats, command.query, operations, shutdown)
    })
    .await
}
