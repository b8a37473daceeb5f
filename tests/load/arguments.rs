//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures what messages and connections cost, and checks that each message comes: once, in order, to whom it is for.
///
/// The gateway is built in the profile of this tool (`PORTCULLIS_BIN` names another binary). It exits with 1 when anything
/// was lost, came twice, out of order or to the wrong client, and with 2 when the command line is wrong. Costs never make it
/// fail.
#[derive(Parser)]
#[command(name = "portcullis-load")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The gateway and the brokers that are installed, in turn, at every kind of work.
    Compare(Compare),
    /// How cost grows with connections, subscriptions, rules, payload, receivers and policies.
    Growth(Growth),
    /// One kind of work, for profiles: prints the process to look at and the figures of each round.
    One(One),
    /// Every kind of work for an instant, and the beginning of each curve: whether it works, and nothing about cost.
    Quick,
    /// Writes tables and plots again from results that are there.
    Render(Output),
    /// Passes octets on, and nothing else: what the rest of this program costs. It is started by the others.
    #[command(hide = true)]
    Floor,
}

#[derive(Args)]
pub(crate) struct Output {
    /// Where results, tables and plots are written.
    #[arg(long, default_value = "docs/performance")]
    pub(crate) out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Compare {
    /// How often each broker has its turn.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds that count of each turn; a quarter more goes before.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Only these rows.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// No broker but the gateway.
    #[arg(long)]
    pub(crate) alone: bool,
    /// The program rumqttd (`cargo install rumqttd`), where it is not in the PATH.
    #[arg(long, env = "RUMQTTD")]
    pub(crate) rumqttd: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Growth {
    /// How often each point is measured.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds that count of each turn; a quarter more goes before.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Only these curves.
    #[arg(long, value_delimiter = ',')]
    pub(crate) series: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct One {
    /// The key of a row, or a point of a curve: `payload/262144`.
    pub(crate) row: String,
    /// Who does it.
    #[arg(long, value_enum, default_value = "jwt")]
    pub(crate) with: Who,
    /// Seconds that count of each round.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
    /// The program rumqttd.
    #[arg(long, env = "RUMQTTD")]
    pub(crate) rumqttd: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Who {
    Jwt,
    Anonymous,
    Device,
    ApiKey,
    Mosquitto,
    Nats,
    Rumqttd,
    Floor,
}
