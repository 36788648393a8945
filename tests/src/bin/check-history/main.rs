//! Checks histories again that `scripts/linear-table` kept: is there an order of every record's answers?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use karst_tests::linear::{check, operation::read_file};

#[derive(Parser)]
#[command(about = "Check histories of requests for linearizability")]
struct Arguments {
    /// Files of operations, a line of JSON each.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print every operation of this key too, in order of its call.
    #[arg(long)]
    key: Option<i64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut passed = true;
    for path in &arguments.files {
        let mut history = match read_file(path) {
            Ok(history) => history,
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        };
        history.sort_by_key(|it| it.called_ns);
        let began_ns = history.first().map_or(0, |it| it.called_ns);
        for it in history.iter().filter(|it| Some(it.key) == arguments.key) {
            let [called_s, returned_s] =
                [it.called_ns, it.returned_ns].map(|ns| (ns - began_ns) as f64 / 1e9);
            println!(
                "{called_s:10.6} {returned_s:10.6}  client {:<4} {} -> {}  {}",
                it.client, it.action, it.outcome, it.note
            );
        }
        let report = check(&history);
        report.violations.iter().for_each(|it| println!("{it}\n"));
        println!(
            "{}: {} operations, {} keys, {} violations, undecided: {:?}",
            path.display(),
            history.len(),
            report.keys,
            report.violations.len(),
            report.undecided
        );
        passed &= report.passed();
    }
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
