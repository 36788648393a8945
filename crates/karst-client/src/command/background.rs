//! Changes of many records that servers make in the background, and following them.
//!
//! Every node is told once and changes the records of the partitions that it leads then. What moves between
//! nodes meanwhile may be changed by both or by neither; a node that stops forgets its job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karst_wire::command::{Body, CommandError, message};
use karst_wire::field;
use karst_wire::flags::Info2;
use karst_wire::frame::MessageHeader;
use karst_wire::response::Answer;
use tokio::time::sleep;

use crate::client::Client;
use crate::command::{bad_answer, filter_field, join_all, millis_until, result_of};
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::policy::BackgroundPolicy;
use crate::pool::Node;
use crate::pool::pipe::Expect;
use crate::query::Query;
use crate::retry::{Access, deadline};
use crate::udf::Udf;

/// How a user-defined function is run: on each record, in the background.
const UDF_OP_BACKGROUND: u8 = 2;

/// Pauses between two looks at a job.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Number of the result code of a job that is not, or no longer, known.
const NOT_FOUND: u8 = 2;

/// A change that servers make in the background.
#[derive(Clone, Debug)]
pub struct BackgroundJob {
    client: Client,
    id: u64,
    /// Names of those that were told.
    nodes: Vec<String>,
}

/// What one node says of a job.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Percent that is done.
    Running(f64),
    Done,
    /// It ended in another way, in the server's words.
    Ended(String),
}

impl Client {
    /// Has all records of a query changed in the background, by operations that write. Records are not
    /// created. Returns when every node has begun.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use karst_client::{BackgroundPolicy, Client, Expr, Lookup, Operation, Query};
    ///
    /// # async fn example(client: &Client) -> karst_client::Result<()> {
    /// let adults = Query::new("test", "users").by(Lookup::range("age", 18..));
    /// let unpaid = BackgroundPolicy::default().with_filter(!Expr::bool_bin("paid"));
    /// let steps = [Operation::add("reminders", 1)];
    /// let job = client.background_operate(&adults, &unpaid, &steps).await?;
    /// job.wait(Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]; those of the node that refused. Where others had begun they are told to stop, and the
    /// error is in doubt.
    pub async fn background_operate(
        &self,
        query: &Query,
        policy: &BackgroundPolicy,
        operations: &[Operation],
    ) -> Result<BackgroundJob> {
        self.begin(query, policy, |body| {
            operations
                .iter()
                .for_each(|operation| operation.encode(body));
        })
        .await
    }

    /// Has a user-defined function run on all records of a query in the background. What it returns is lost.
    ///
    /// # Errors
    /// As [`Client::background_operate`].
    pub async fn background_execute(
        &self,
        query: &Query,
        policy: &BackgroundPolicy,
        udf: &Udf,
    ) -> Result<BackgroundJob> {
        self.begin(query, policy, |body| {
            udf.encode(body);
            body.field(field::UDF_OP, &[UDF_OP_BACKGROUND]);
        })
        .await
    }

    async fn begin(
        &self,
        query: &Query,
        policy: &BackgroundPolicy,
        change: impl Fn(&mut Body<'_>),
    ) -> Result<BackgroundJob> {
        query.check()?;
        let snapshot = self.cluster().snapshot();
        if !snapshot.map.has(&query.namespace) {
            let namespace = query.namespace.to_string();
            return Err(Error::UnknownNamespace { namespace });
        }
        let id: u64 = rand::random();
        let deadline = deadline(Instant::now(), policy.timeout);
        let request =
            |out: &mut Vec<u8>, timeout_ms| encode(out, query, policy, id, timeout_ms, &change);
        let told = snapshot.nodes.iter();
        let told = told.map(|node| tell(node, deadline, &request));
        let answers = join_all(told).await;
        let (mut nodes, mut refused) = (vec![], None);
        for (node, answer) in snapshot.nodes.iter().zip(answers) {
            match answer {
                Ok(()) => nodes.push(node.name().to_owned()),
                Err(error) => refused = Some(error),
            }
        }
        let job = BackgroundJob {
            client: self.clone(),
            id,
            nodes,
        };
        match refused {
            None => Ok(job),
            Some(error) => {
                let begun = !job.nodes.is_empty();
                let _ = job.abort().await; // what matters is why it was refused
                Err(error.after_doubt(begun))
            }
        }
    }
}

fn encode(
    out: &mut Vec<u8>,
    query: &Query,
    policy: &BackgroundPolicy,
    id: u64,
    timeout_ms: u32,
    change: impl Fn(&mut Body<'_>),
) -> std::result::Result<(), CommandError> {
    let durable = match policy.durable_delete {
        true => Info2::DURABLE_DELETE,
        false => Info2::NONE,
    };
    let header = MessageHeader {
        info2: Info2::WRITE | durable,
        record_ttl: policy.ttl.on_wire(),
        transaction_ttl: timeout_ms,
        ..MessageHeader::default()
    };
    message(out, header, |body| {
        query.encode(body);
        body.field(field::TASK_ID, &id.to_be_bytes());
        if policy.records_per_second != 0 {
            let limit = policy.records_per_second.to_be_bytes();
            body.field(field::RECORDS_PER_SECOND, &limit);
        }
        filter_field(body, policy.filter.as_ref());
        change(body);
    })
}

/// Sends the request to one node, which answers when it has begun.
async fn tell(
    node: &Arc<Node>,
    deadline: Instant,
    request: &impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
) -> Result<()> {
    let started = Instant::now();
    let pipe = node.pipe(deadline).await?;
    let timeout_ms = millis_until(deadline);
    let encode = |out: &mut Vec<u8>| request(out, timeout_ms);
    let pending = pipe.submit(Expect::Message, deadline, encode).await;
    let pending = pending.map_err(|refused| node.refused(refused, started))?;
    let body = pending.wait().await;
    let body = body.map_err(|lost| node.unanswered(lost, Access::Write, started))?;
    let answer = Answer::single(&body).map_err(|error| bad_answer(node, error, Access::Write))?;
    // An unknown set has no records to change.
    result_of(node, &answer, Access::Write).map(drop)
}

impl BackgroundJob {
    /// Its number, by which servers know it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How much is done, in percent, on the node that has done least.
    ///
    /// # Errors
    /// [`Error::JobEnded`] if a node stopped before its end; [`Error::UnknownNode`] if one has left; those of
    /// info commands.
    pub async fn progress(&self) -> Result<f64> {
        let mut least: f64 = 100.0;
        let stages = self.ask(&format!("query-show:trid={}", self.id)).await?;
        for (node, answer) in stages {
            match stage(answer)? {
                Stage::Running(percent) => least = least.min(percent.min(99.9)),
                Stage::Done => {}
                Stage::Ended(status) => {
                    return Err(Error::JobEnded { node, status });
                }
            }
        }
        Ok(least)
    }

    /// Whether every node is done.
    ///
    /// # Errors
    /// As [`BackgroundJob::progress`].
    pub async fn is_done(&self) -> Result<bool> {
        self.progress().await.map(|percent| percent >= 100.0)
    }

    /// Waits until every node is done.
    ///
    /// # Errors
    /// As [`BackgroundJob::progress`], and [`Error::NotDone`] if it takes longer than this; it goes on.
    pub async fn wait(&self, timeout: Duration) -> Result<()> {
        let started = Instant::now();
        let deadline = deadline(started, timeout);
        let mut pause = LOOK_FIRST;
        while !self.is_done().await? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let node = self.nodes.join(", ");
                let after = started.elapsed();
                return Err(Error::NotDone { node, after });
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        Ok(())
    }

    /// Has every node stop where it is.
    ///
    /// # Errors
    /// Those of info commands. A node that is done already is no error.
    pub async fn abort(&self) -> Result<()> {
        let answers = self.ask(&format!("query-abort:trid={}", self.id)).await?;
        for (_, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(Error::Info { code, .. }) if code == NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks all that were told; their names and answers.
    async fn ask(&self, command: &str) -> Result<Vec<(String, Result<String>)>> {
        let snapshot = self.client.cluster().snapshot();
        let mut nodes = vec![];
        for name in &self.nodes {
            let known = snapshot.nodes.iter().find(|node| node.name() == name);
            let known = known.ok_or_else(|| Error::UnknownNode { node: name.clone() })?;
            nodes.push(Arc::clone(known));
        }
        let asked = nodes.iter().map(|node| self.client.ask(node, command));
        let answers = join_all(asked).await;
        Ok(self.nodes.iter().cloned().zip(answers).collect())
    }
}

/// How far a job is by a node's answer. One that is not known any more is done.
fn stage(answer: Result<String>) -> Result<Stage> {
    let item = match answer {
        Ok(item) => item,
        Err(Error::Info { code, .. }) if code == NOT_FOUND => return Ok(Stage::Done),
        Err(error) => return Err(error),
    };
    let value = |key: &str| {
        let pairs = item.split(':').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .next()
    };
    let status = value("status").unwrap_or_default().to_ascii_lowercase();
    Ok(match status.as_str() {
        "done(ok)" | "done" => Stage::Done,
        status if status.starts_with("done") => Stage::Ended(status.to_owned()),
        _ => {
            let percent = value("job-progress").and_then(|percent| percent.parse().ok());
            Stage::Running(percent.unwrap_or_default())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_stage_is_what_its_node_says() {
        let said = |text: &str| stage(Ok(text.to_owned())).unwrap();
        let active = "trid=1:ns=test:status=active(ok):job-progress=12.50:run-time=35";
        assert_eq!(said(active), Stage::Running(12.5));
        assert_eq!(
            said("trid=1:status=done(ok):job-progress=100.00"),
            Stage::Done
        );
        let aborted = said("trid=1:status=done(user-aborted):job-progress=50.00");
        assert_eq!(aborted, Stage::Ended("done(user-aborted)".into()));
        let gone = Error::Info {
            command: "query-show".into(),
            code: NOT_FOUND,
            message: "job not found".into(),
        };
        assert_eq!(stage(Err(gone)).unwrap(), Stage::Done);
    }

    #[test]
    fn a_change_is_asked_for_as_the_protocol_says() {
        let mut out = vec![];
        let policy = BackgroundPolicy::default().with_records_per_second(7);
        let query = Query::new("n", "s");
        let udf = Udf::new("m", "f");
        encode(&mut out, &query, &policy, 9, 1000, |body| {
            udf.encode(body);
            body.field(field::UDF_OP, &[UDF_OP_BACKGROUND]);
        })
        .unwrap();
        let fields = [
            &[0, 0, 0, 2, 0, b'n', 0, 0, 0, 2, 1, b's'][..],
            &[0, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 9],
            &[0, 0, 0, 5, 10, 0, 0, 0, 7],
            &[0, 0, 0, 2, 30, b'm', 0, 0, 0, 2, 31, b'f'],
            &[0, 0, 0, 2, 32, 0x90, 0, 0, 0, 2, 33, 2],
        ]
        .concat();
        assert!(out.ends_with(&fields));
        assert_eq!(out[8..11], [22, 0, 1]); // info1 does not read, info2 writes
    }
}
