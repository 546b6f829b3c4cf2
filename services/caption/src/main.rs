use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_caption::Command::parse();
    command.telemetry.install()?;
    weimocir_runtime::run(|shutdown| weimocir_caption::run(command.nats, command.caption, shutdown))
        .await
}
