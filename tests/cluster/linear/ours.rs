//! Many tasks that use Karst's own client and note every request and its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use karst_client::{
    Bin, Bins, Client, Error, Exists, Generation, Key, Operation as Step, ReadMode, ReadPolicy,
    Record, Replica, ResultCode, RetryPolicy, Value, WritePolicy,
};
use karst_tests::linear::{Action, Content, Expect, Operation, Outcome, Seen, operation::now_ns};
use karst_tests::server::Server;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{KEYS, Plan, Silent};
use crate::traffic;

/// Tasks: many, since each waits a second for every request to a node that does not answer.
const TASKS: u32 = 240;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause after a failure: many are told at once, and would be all that is asked.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// How often a record is read in the end until that succeeds.
const LAST_READS: u32 = 30;

/// How far behind its rate a load makes up for what it could not ask.
const BEHIND_MAX: Duration = Duration::from_secs(20);

/// When the next request is due, for all tasks together.
struct Pace {
    began: Instant,
    each: Duration,
    turn: AtomicU64,
}

impl Pace {
    async fn next(&self) {
        let due = self.turn.fetch_add(1, Ordering::Relaxed) as u32;
        let due = self.began + self.each * due;
        let now = Instant::now();
        if due + BEHIND_MAX < now {
            let skipped = (now - due - BEHIND_MAX).as_nanos() / self.each.as_nanos();
            self.turn.fetch_add(skipped as u64, Ordering::Relaxed);
        }
        tokio::time::sleep_until(due).await;
    }

    /// Has what failed asked once more than was planned.
    fn give_back(&self) {
        self.turn.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What tasks share.
struct Shared {
    pace: Pace,
    silent: Silent,
    stop: AtomicBool,
}

/// A running load.
pub(crate) struct Ours {
    tasks: JoinSet<Vec<Operation>>,
    shared: Arc<Shared>,
}

impl Ours {
    /// Begins to ask so many requests a second, of which reads are linearizing in so many of a hundred.
    pub(crate) async fn start(servers: &[&Server], seed: u64, rate: u32, linearize: u32) -> Ours {
        let client = traffic::client(servers).await;
        let shared = Arc::new(Shared {
            pace: Pace {
                began: Instant::now(),
                each: Duration::from_secs(1) / rate,
                turn: AtomicU64::new(0),
            },
            silent: Silent::new(),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for number in 1..=TASKS {
            let rng = StdRng::seed_from_u64(seed ^ u64::from(number) << 32);
            let plan = Plan::new(number, rng);
            let (client, shared) = (client.clone(), shared.clone());
            tasks.spawn(async move {
                let asker = Asker { client, number };
                asker.ask_until_stopped(&shared, plan, linearize).await
            });
        }
        Ours { tasks, shared }
    }

    /// Ends it. Returns what was noted.
    pub(crate) async fn end(self) -> Vec<Operation> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.concat()
    }
}

/// Reads every record once more. Returns what was noted, and which records could not be read.
pub(crate) async fn last_reads(servers: &[&Server]) -> (Vec<Operation>, Vec<String>) {
    let client = traffic::client(servers).await;
    let asker = Asker { client, number: 0 };
    let (mut noted, mut unreadable) = (vec![], vec![]);
    for key in 0..KEYS {
        let mut tries = 0;
        let read = loop {
            tries += 1;
            let read = asker.ask(key, Action::Read, true).await;
            if read.outcome != Outcome::Failed || tries == LAST_READS {
                break read;
            }
            tokio::time::sleep(PATIENCE / 10).await;
        };
        if read.outcome == Outcome::Failed {
            unreadable.push(format!("key {key}: {}", read.note));
        }
        noted.push(read);
    }
    (noted, unreadable)
}

struct Asker {
    client: Client,
    number: u32,
}

impl Asker {
    async fn ask_until_stopped(
        &self,
        shared: &Shared,
        mut plan: Plan,
        linearize: u32,
    ) -> Vec<Operation> {
        let mut noted = vec![];
        while !shared.stop.load(Ordering::Relaxed) {
            shared.pace.next().await;
            let (key, action) = plan.next(&shared.silent);
            let linearizes = plan.chance(linearize);
            let operation = self.ask(key, action, linearizes).await;
            plan.told(&operation, &shared.silent);
            if operation.outcome == Outcome::Failed {
                shared.pace.give_back();
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            noted.push(operation);
        }
        noted
    }

    /// Asks once and notes the answer.
    async fn ask(&self, number: i64, action: Action, linearizes: bool) -> Operation {
        let key = Key::new("test", "linear", number).expect("the names are sound");
        let called_ns = now_ns();
        let answer = self.answer(&key, &action, linearizes).await;
        let returned_ns = now_ns();
        let (outcome, note) = match answer {
            Ok(outcome) if action == Action::Read && linearizes => (outcome, "linearize".into()),
            Ok(outcome) => (outcome, String::new()),
            Err(error) => (failure(&action, &error), error.to_string()),
        };
        Operation {
            client: self.number,
            key: number,
            called_ns,
            returned_ns,
            action,
            outcome,
            note,
        }
    }

    async fn answer(&self, key: &Key, action: &Action, linearizes: bool) -> Result<Outcome, Error> {
        let policy = write_policy();
        let found = |found| {
            if found {
                Outcome::Done
            } else {
                Outcome::Absent
            }
        };
        match action {
            Action::Read => {
                let policy = read_policy(linearizes);
                let read = self.client.get_with(&policy, key, &Bins::All).await?;
                Ok(read.map_or(Outcome::Absent, |record| Outcome::Told(seen(&record))))
            }
            Action::Write {
                value,
                expect: Expect::Any,
            } => {
                let steps = [Step::put("v", *value), Step::get("v")];
                let record = self.client.operate(&policy, key, &steps).await?;
                let record = record.expect("writing makes a record");
                Ok(Outcome::Told(seen(&record)))
            }
            Action::Write { value, expect } => {
                let policy = expecting(policy, *expect);
                let bins = [Bin::new("v", *value)];
                let written = self.client.put_with(&policy, key, bins).await;
                written.map(|()| Outcome::Done)
            }
            Action::Delete => self.client.delete_with(&policy, key).await.map(found),
            Action::Add { amount } => {
                let steps = [Step::add("v", *amount), Step::get("v")];
                let record = self.client.operate(&policy, key, &steps).await?;
                let record = record.expect("adding makes a record");
                Ok(Outcome::Told(seen(&record)))
            }
            Action::Append { element } => {
                let steps = [Step::append("v", format!("{element},")), Step::get("v")];
                let record = self.client.operate(&policy, key, &steps).await?;
                let record = record.expect("appending makes a record");
                Ok(Outcome::Told(seen(&record)))
            }
        }
    }
}

fn read_policy(linearizes: bool) -> ReadPolicy {
    let mode = match linearizes {
        true => ReadMode::Linearize,
        false => ReadMode::Session,
    };
    ReadPolicy::default()
        .with_timeout(PATIENCE)
        .with_retry(RetryPolicy::NEVER)
        .with_replica(Replica::Master)
        .with_read_mode(mode)
}

fn write_policy() -> WritePolicy {
    WritePolicy {
        timeout: PATIENCE,
        retry: RetryPolicy::NEVER,
        durable_delete: true,
        ..WritePolicy::default()
    }
}

fn expecting(policy: WritePolicy, expect: Expect) -> WritePolicy {
    let (exists, generation) = match expect {
        Expect::Any => (Exists::Update, Generation::Any),
        Expect::Absent => (Exists::CreateOnly, Generation::Any),
        Expect::Generation(generation) => (Exists::Update, Generation::Equal(generation)),
    };
    WritePolicy {
        exists,
        generation,
        ..policy
    }
}

fn seen(record: &Record) -> Seen {
    let values: Vec<&Value> = record.bins.iter().map(|bin| &bin.value).collect();
    let value = values.iter().rfind(|value| ***value != Value::Nil);
    let content = match value {
        Some(Value::Int(number)) => Content::Number(*number),
        Some(Value::String(text)) => {
            let elements = text.split_terminator(',').map(str::parse);
            Content::List(elements.map(|it| it.expect("a number")).collect())
        }
        other => panic!("nobody writes such a bin: {other:?} of {record:?}"),
    };
    Seen {
        generation: record.generation,
        content,
    }
}

/// What an error says of the record, or of what was asked.
fn failure(action: &Action, error: &Error) -> Outcome {
    let code = match error {
        Error::Server { code, in_doubt, .. } if !in_doubt => Some(*code),
        _ => None,
    };
    match code {
        Some(ResultCode::Generation) => Outcome::OtherGeneration,
        Some(ResultCode::RecordExists) => Outcome::Exists,
        Some(ResultCode::NotFound) => Outcome::Absent,
        _ if action.changes() && error.in_doubt() => Outcome::InDoubt,
        _ => Outcome::Failed,
    }
}
