use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_encode::Command::parse();
    command.telemetry.install()?;
    weimocir_runtime::run(|shutdown| weimocir_encode::run(command.nats, command.encode, shutdown))
        .await
}
