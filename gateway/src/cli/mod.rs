//! The command line: what can be asked of the program, and how it answers.

mod check;
mod compile;
mod desk;
mod directory;
mod entries;
mod exit;
mod out;
mod place;
mod policy;
mod precompile;
mod remote;
mod serve;
mod shadow;
mod table;
mod versions;
mod why;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::assemble::StartError;

use directory::{EntryCommand, KeyCommand, WholeCommand};
use entries::{NewApp, NewDevice, NewDomain, NewProject, NewRole, NewUser};
pub(crate) use exit::Exit;
use place::Place;
use policy::PolicyCommand;

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
    /// The policies of the running gateway, and components in files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Apps: products' backends, whose keys sign their consumers' tokens.
    #[command(subcommand)]
    App(EntryCommand<NewApp>),
    /// Devices.
    #[command(subcommand)]
    Device(EntryCommand<NewDevice>),
    /// People with a password.
    #[command(subcommand)]
    User(EntryCommand<NewUser>),
    /// API keys, and the keys that the gateway signs with.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Domains: tenants of Keystone, services of FIWARE.
    #[command(subcommand)]
    Domain(EntryCommand<NewDomain>),
    /// Projects: accounts of the Open IoT Service Platform, service paths of FIWARE.
    #[command(subcommand)]
    Project(EntryCommand<NewProject>),
    /// Roles that users have somewhere.
    #[command(subcommand)]
    Role(EntryCommand<NewRole>),
    /// The whole directory, to move it or to keep a copy.
    #[command(subcommand)]
    Directory(WholeCommand),
    /// Why a client was let in or refused lately.
    Why {
        /// Its client identifier, its user name, or the subject of its identity.
        client: String,
        /// Write JSON.
        #[arg(long)]
        json: bool,
        /// Go on with what is decided from now on, one after the other, until it is interrupted; with `--json` a line each.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Compile a component from standard input to standard output.
    #[command(hide = true)]
    CompilePolicy {
        /// What for.
        #[arg(long)]
        target: Option<String>,
    },
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

/// Why a command fails: what to say, and how to end.
#[derive(Debug)]
struct Failure {
    words: String,
    exit: Exit,
}

impl Failure {
    /// A sentence without a full stop.
    fn new(words: impl Into<String>, exit: Exit) -> Self {
        Self { words: format!("error: {}", words.into()), exit }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(crate::plain(&error), Exit::Failure)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.to_string(), Exit::Failure)
    }
}

/// Does what the command line says.
pub(crate) fn run() -> Exit {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Check { file }) => check::run(&file),
        Some(Command::CompilePolicy { target }) => Ok(compile::run(target.as_deref())),
        Some(Command::Serve(serve)) => serve::run(&serve),
        None => serve::run(&cli.serve),
        Some(Command::Policy(command)) => policy::run(command),
        Some(Command::App(command)) => directory::run(command),
        Some(Command::Device(command)) => directory::run(command),
        Some(Command::User(command)) => directory::run(command),
        Some(Command::Key(command)) => directory::keys(command),
        Some(Command::Domain(command)) => directory::run(command),
        Some(Command::Project(command)) => directory::run(command),
        Some(Command::Role(command)) => directory::run(command),
        Some(Command::Directory(command)) => directory::whole(command),
        Some(Command::Why { client, json, follow, place }) => why::run(&client, json, follow, &place),
    };
    done.unwrap_or_else(|failure| {
        out::error(failure.words);
        failure.exit
    })
}
