//! The command line: what can be asked of the program, and how it answers.

mod check;
mod compile;
mod exit;
mod out;
mod remote;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use exit::Exit;

/// An edge gateway for MQTT and HTTP whose authentication is WebAssembly.
///
/// Without a command it serves; without a configuration it serves a safe demo on loopback.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop.
    Serve(Serve),
    /// Validate a configuration file: every problem with its line.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Compile a component from standard input to standard output.
    #[command(hide = true)]
    CompilePolicy,
}

/// What `serve` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// The configuration. Without one: a demo on loopback.
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory. Default: the configuration's `data`, or ./portcullis-data.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Demo: take any free ports instead of the well-known ones.
    #[arg(long, conflicts_with = "config")]
    pub(crate) any_port: bool,
}

/// Does what the command line says.
pub(crate) fn run() -> Exit {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check { file }) => check::run(&file),
        Some(Command::CompilePolicy) => compile::run(),
        Some(Command::Serve(serve)) => serve::run(&serve),
        None => serve::run(&cli.serve),
    }
}
