use clap::Parser;

// because: pictures come and go as large buffers, which glibc would keep
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_gateway::Command::parse();
    command.telemetry.install("info", "weimocir-gateway")?;
    weimocir_runtime::run(&command.operations, |operations, shutdown| {
        weimocir_gateway::run(command.nats, command.gateway, operations, shutdown)
    })
    .await
}
