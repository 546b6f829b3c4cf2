use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    weimocir_cli::main(weimocir_cli::Weimocir::parse()).await
}
