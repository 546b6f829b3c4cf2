use std::process::ExitCode;

use clap::Parser;

// because: inference takes and returns large buffers all the time, which glibc hands back to the
// kernel; with this allocator the encoder does half as many images again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let weimocir = weimocir_cli::Weimocir::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(weimocir_cli::main(weimocir));
    // because: an endpoint's late answer, which nobody waits for any more, must not hold the end
    runtime.shutdown_background();
    Ok(code)
}
