//! One file for each verb or family of verbs, and the way from the command line to them.

mod bench;
mod cluster;
mod connect;
mod dev;
mod entries;
mod index;
mod key;
mod load;
mod operate;
mod partitions;
mod query;
mod record;
mod revive;
mod scan;
mod udf;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory as _;

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Outcome};
use crate::karstd;

/// Longest wait until all nodes have followed what one has agreed to.
const FOLLOW_MAX: Duration = Duration::from_secs(30);

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Outcome {
    let Cli { host, json, verb } = cli;
    match verb {
        Verb::Inspect { device, key_file } => inspect(&device, key_file.as_deref(), json),
        Verb::Wipe { device, yes } => wipe(&device, yes),
        Verb::Completions { shell } => completions(shell),
        Verb::Bench(args) => bench::run(&host, json, &args),
        Verb::Dev(args) => block_on(dev::run(json, &args)),
        Verb::Status => block_on(cluster::status(&host, json)),
        Verb::Nodes => block_on(cluster::nodes(&host, json)),
        Verb::Namespaces { namespace } => block_on(cluster::namespaces(&host, json, namespace)),
        Verb::Sets { namespace } => block_on(cluster::sets(&host, json, namespace)),
        Verb::Damage { namespace } => block_on(cluster::damage(&host, json, namespace)),
        Verb::Partitions(args) => block_on(partitions::run(&host, json, &args)),
        Verb::Drain(args) => block_on(operate::drain(&host, json, &args)),
        Verb::Remove { node } => block_on(operate::remove(&host, json, &node)),
        Verb::Revive(args) => block_on(revive::run(&host, json, &args)),
        Verb::Entries {
            namespace,
            partition,
            after,
            limit,
        } => block_on(entries::run(&host, namespace, partition, after, limit)),
        Verb::Put(args) => block_on(record::put(&host, json, &args)),
        Verb::Get(args) => block_on(record::get(&host, json, &args)),
        Verb::Delete(args) => block_on(record::delete(&host, json, &args)),
        Verb::Scan(args) => block_on(scan::run(&host, json, &args)),
        Verb::Query(args) => block_on(query::run(&host, json, &args)),
        Verb::Index(verb) => block_on(index::run(&host, json, &verb)),
        Verb::Udf(verb) => block_on(udf::run(&host, json, &verb)),
        Verb::Load(args) => block_on(load::run(&host, json, args)),
    }
}

/// Runs one verb on a runtime of its own: one thread is plenty for what a person types.
fn block_on(verb: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?
        .block_on(verb)
}

/// The device format belongs to the node's binary, so this process becomes that one.
fn inspect(device: &Path, key_file: Option<&Path>, json: bool) -> Outcome {
    let mut command = std::process::Command::new(karstd::find()?);
    command.arg("inspect").arg(device);
    if json {
        command.arg("--json");
    }
    if let Some(key_file) = key_file {
        command.arg("--key-file").arg(key_file);
    }
    Err(Failure::failed(command.exec())) // returns only when it failed
}

fn wipe(device: &Path, yes: bool) -> Outcome {
    let mut command = std::process::Command::new(karstd::find()?);
    command.arg("wipe").arg(device);
    if yes {
        command.arg("--yes");
    }
    Err(Failure::failed(command.exec())) // returns only when it failed
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "karst", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "karst", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in ["status", "query", "load", "bench", "inspect", "wipe"] {
                assert!(script.contains(verb), "{shell}: {verb}");
            }
        }
    }
}
