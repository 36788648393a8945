//! One history: clients of both kinds ask while a nemesis does harm; what they were told is checked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use karst_tests::linear::operation::{now_ns, write_file};
use karst_tests::linear::{Operation, Outcome, Report, Violation, check};
use tokio::task::block_in_place;

use super::Setting;
use super::nemesis::Nemesis;
use super::nodes::Nodes;
use super::official::Official;
use super::ours::{Ours, last_reads};
use crate::wires::Wires;

/// Requests a second of Karst's own client.
const OUR_RATE: u32 = 1300;

/// Requests a second of each process of the official client.
const OFFICIAL_RATE: u32 = 450;

/// Processes of the official client.
const OFFICIALS: u32 = 2;

/// How long clients go on when all is healed and all nodes serve.
const AFTER: Duration = Duration::from_secs(2);

/// Violations that are shown in full: the earliest.
const SHOWN: usize = 5;

/// What became of one history.
pub(crate) struct Trial {
    pub(crate) setting: Setting,
    pub(crate) history: Vec<Operation>,
    pub(crate) report: Report,
    pub(crate) nemesis: Nemesis,
    /// How long clients asked.
    pub(crate) asked: Duration,
    /// How long the check took.
    pub(crate) checked: Duration,
    /// Records that could not be read in the end.
    pub(crate) unreadable: Vec<String>,
    began_ns: u64,
}

impl Trial {
    /// Lets one history happen on a cluster of its own, and checks it.
    pub(crate) async fn run(wires: &Wires, setting: Setting) -> Trial {
        let nodes = block_in_place(|| Nodes::formed(wires, setting));
        let mut nemesis = Nemesis::new(nodes, setting.seed);
        let (began, began_ns) = (Instant::now(), now_ns());
        let mut history = ask(&mut nemesis, setting).await;
        let asked = began.elapsed();
        block_in_place(|| nemesis.nodes.settle());
        let servers = nemesis.nodes.servers();
        let (last, unreadable) = last_reads(&servers).await;
        history.extend(last);
        let began = Instant::now();
        let report = block_in_place(|| check(&history));
        Trial {
            setting,
            history,
            report,
            nemesis,
            asked,
            checked: began.elapsed(),
            unreadable,
            began_ns,
        }
    }

    /// Whether every record's answers are known to have an order.
    pub(crate) fn passed(&self) -> bool {
        self.report.passed() && self.unreadable.is_empty()
    }

    /// How many operations had such an outcome.
    pub(crate) fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.history.iter().filter(|it| is(&it.outcome)).count()
    }

    /// The longest that a client went without an answer that was neither a failure nor in doubt.
    pub(crate) fn unavailable(&self) -> Duration {
        let mut answered: Vec<(u32, u64)> = self
            .history
            .iter()
            .filter(|it| it.client != 0 && is_answer(&it.outcome))
            .map(|it| (it.client, it.returned_ns))
            .collect();
        answered.sort_unstable();
        let pairs = answered.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let longest = pairs.map(|pair| pair[1].1 - pair[0].1).max();
        Duration::from_nanos(longest.unwrap_or_default())
    }

    /// What is wrong, and where the whole history is kept.
    pub(crate) fn complain(&self) {
        let path = self.keep();
        eprintln!("{:?}: its history is in {}", self.setting, path.display());
        for line in &self.nemesis.diary {
            eprintln!("  {line}");
        }
        let mut violations: Vec<&Violation> = self.report.violations.iter().collect();
        violations.sort_by_key(|it| it.operation.called_ns);
        for violation in violations.iter().take(SHOWN) {
            let at_s = (violation.operation.called_ns - self.began_ns) as f64 / 1e9;
            eprintln!("at {at_s:+.3} s, {violation}\n");
        }
        if violations.len() > SHOWN {
            eprintln!("and {} more, later", violations.len() - SHOWN);
        }
        for key in &self.report.undecided {
            eprintln!("key {key}: undecided");
        }
        self.unreadable.iter().for_each(|why| eprintln!("{why}"));
    }

    /// Writes the history to a file.
    pub(crate) fn keep(&self) -> PathBuf {
        let Setting {
            mode, seed, copies, ..
        } = self.setting;
        let name = format!("history-{mode}-rf{copies}-seed{seed}.jsonl");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let kept = write_file(&path, &self.history);
        kept.unwrap_or_else(|error| eprintln!("the history cannot be kept: {error}"));
        path
    }
}

/// Done, seen, or refused for a reason that is true.
pub(crate) fn is_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed | Outcome::InDoubt => false,
        Outcome::Done
        | Outcome::Told(_)
        | Outcome::Absent
        | Outcome::OtherGeneration
        | Outcome::Exists => true,
    }
}

/// What clients note while harm is done, and for a moment afterwards.
async fn ask(nemesis: &mut Nemesis, setting: Setting) -> Vec<Operation> {
    let Setting {
        seed, linearize, ..
    } = setting;
    let servers = nemesis.nodes.servers();
    let official = |number| Official::start(&servers, seed, number, OFFICIAL_RATE, linearize);
    let officials: Vec<Official> = block_in_place(|| (1..=OFFICIALS).map(official).collect());
    let ours = Ours::start(&servers, seed, OUR_RATE, linearize).await;
    block_in_place(|| match setting.faults {
        true => {
            nemesis.rage(setting.lasts);
            nemesis.nodes.wait_until_serving();
        }
        false => std::thread::sleep(setting.lasts),
    });
    tokio::time::sleep(AFTER).await;
    let mut history = ours.end().await;
    block_in_place(|| {
        for official in officials {
            history.extend(official.end());
        }
    });
    history
}
