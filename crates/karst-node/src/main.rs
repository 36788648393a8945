//! karstd: a Karst node.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use karst_node::config::{self, LogFormat};
use karst_node::{boot, inspect, logs, wipe};

/// A Karst node: an open hybrid-memory database that speaks the Aerospike client protocol.
#[derive(Parser)]
#[command(name = "karstd", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one key; may be repeated. Wins over file and environment.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Checks the configuration and exits.
    #[arg(long)]
    check_config: bool,
    /// Prints the effective configuration and exits.
    #[arg(long)]
    print_config: bool,
    /// How log lines look; wins over the configuration.
    #[arg(long, value_enum)]
    log_format: Option<Format>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at a device offline: superblocks, blocks, records, checksums.
    Inspect(inspect::Arguments),
    /// Empties a device, so that a node can take it into use.
    Wipe(wipe::Arguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Inspect(arguments)) => return inspect::main(&arguments),
        Some(Command::Wipe(arguments)) => return wipe::main(&arguments),
        None => {}
    }
    let mut config = match config::load(arguments.config.as_deref(), &arguments.set) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    match arguments.log_format {
        Some(Format::Text) => config.log.format = LogFormat::Text,
        Some(Format::Json) => config.log.format = LogFormat::Json,
        None => {}
    }
    if arguments.print_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    logs::start(&config.log);
    match boot::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
