use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_store::Command::parse();
    command.telemetry.install("info")?;
    weimocir_runtime::run(|shutdown| weimocir_store::run(command.nats, command.store, shutdown))
        .await
}
