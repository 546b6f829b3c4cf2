use std::process::ExitCode;

use clap::Parser;

// because: inference takes and returns large buffers all the time, which glibc hands back to the
// kernel; with this allocator the encoder does half as many images again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    weimocir_cli::main(weimocir_cli::Weimocir::parse()).await
}
