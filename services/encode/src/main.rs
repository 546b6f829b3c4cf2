use clap::Parser;

// because: inference takes and returns large buffers all the time, which glibc hands back to the
// kernel; with this allocator the encoder does half as many images again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = weimocir_encode::Command::parse();
    command.telemetry.install("info", "weimocir-encode")?;
    weimocir_runtime::run(&command.operations, |operations, shutdown| {
        weimocir_encode::run(command.nats, command.encode, operations, shutdown)
    })
    .await
}
