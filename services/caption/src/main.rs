use clap::Parser;

// because: inference takes and returns large buffers all the time, which glibc hands back to the
// kernel; with this allocator the encoder does half as many images again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let command = weimocir_caption::Command::parse();
    command.telemetry.install("info", "weimocir-caption")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome =
        runtime.block_on(weimocir_runtime::run(&command.operations, |operations, shutdown| {
            weimocir_caption::run(command.nats, command.caption, operations, shutdown)
        }));
    // because: an endpoint's late answer, which nobody waits for any more, must not hold the end
    runtime.shutdown_background();
    outcome
}
