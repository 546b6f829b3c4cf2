use clap::Parser;

// because: what is known of a million images is millions of small pieces, read by many threads
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_store::Command::parse();
    command.telemetry.install("info", "weimocir-store")?;
    weimocir_runtime::run(&command.operations, |operations, shutdown| {
        weimocir_store::run(command.nats, command.store, operations, shutdown)
    })
    .await
}
