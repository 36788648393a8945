//! Many records in one call: rows are grouped by the node that owns them, each node gets its rows in
//! as few requests as the policy allows, and all nodes work at the same time.
//!
//! Every row gets an answer of its own. Rows that failed for a passing reason are grouped anew and
//! sent again within the policy's retries, writes only if they were definitely not applied or their own
//! policy calls them idempotent. Nodes that failed are passed over for other replicas. Rows are independent: nothing says in which order a server runs them.

use std::sync::Arc;
use std::time::Instant;

use karst_wire::code::ResultCode;
use karst_wire::command::{self, BatchParent, Body, CommandError, RowHeader, Rows};
use karst_wire::flags::{BatchFlags, Info1};
use karst_wire::frame::MessageHeader;
use karst_wire::response::{Answer, Answers};

use crate::client::Client;
use crate::command::single::{
    bins_flags, delete_header, encode_bin_names, operate_header, write_header,
};
use crate::command::{
    attempt_deadline, bad_answer, filter_field, join_all, millis_until, optional_fields, refused,
    result_of,
};
use crate::error::{Advice, Error, Result};
use crate::expr::Expr;
use crate::key::Key;
use crate::operation::Operation;
use crate::policy::{BatchPolicy, Bins, Replica, WritePolicy};
use crate::pool::Node;
use crate::pool::pipe::Expect;
use crate::record::{Bin, Record};
use crate::retry::{Access, Repeat, Retries, deadline};
use crate::route::{Choice, Failed};
use crate::udf::Udf;

/// Every row is answered, whatever happens to others; small batches need not be handed around.
const BATCH_FLAGS: BatchFlags = BatchFlags::ALLOW_INLINE_MEMORY
    .with(BatchFlags::RESPOND_ALL_KEYS)
    .with(BatchFlags::RESPOND_FAILED_ROW);

/// What a row does.
#[derive(Clone, Debug)]
enum Work {
    Read(Bins),
    Operate(Vec<Operation>),
    Delete,
    Execute(Udf),
}

/// One row of [`Client::batch`].
#[derive(Clone, Debug)]
pub struct BatchOp {
    key: Key,
    work: Work,
    policy: WritePolicy,
}

impl BatchOp {
    fn new(key: Key, work: Work) -> BatchOp {
        BatchOp {
            key,
            work,
            policy: WritePolicy::default(),
        }
    }

    /// Reads a record; the result is `None` if there is none.
    pub fn get(key: Key) -> BatchOp {
        BatchOp::read(key, Bins::All)
    }

    /// Reads these bins of a record.
    pub fn read(key: Key, bins: Bins) -> BatchOp {
        BatchOp::new(key, Work::Read(bins))
    }

    /// Writes bins; the result is a record with the new generation.
    pub fn put(key: Key, bins: impl IntoIterator<Item = Bin>) -> BatchOp {
        BatchOp::operate(key, bins.into_iter().map(Operation::from).collect())
    }

    /// Runs operations; the result holds what they returned.
    pub fn operate(key: Key, operations: Vec<Operation>) -> BatchOp {
        BatchOp::new(key, Work::Operate(operations))
    }

    /// Deletes a record; the result is `None` if there was none.
    pub fn delete(key: Key) -> BatchOp {
        BatchOp::new(key, Work::Delete)
    }

    /// Runs a user-defined function; what it returned is the bin `SUCCESS` of the result. The result is an
    /// [`Error::Udf`] if it failed.
    pub fn execute(key: Key, udf: Udf) -> BatchOp {
        BatchOp::new(key, Work::Execute(udf))
    }

    /// With this condition, instead of the batch's own. A row that does not meet it fails with
    /// `FilteredOut`.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> BatchOp {
        self.policy.filter = Some(filter);
        self
    }

    /// With this policy for a row that writes. Its timeout and retries are those of the batch.
    #[must_use]
    pub fn with_policy(mut self, policy: WritePolicy) -> BatchOp {
        self.policy = policy;
        self
    }

    /// The record it is about.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What to do about an error of this row.
    fn advice(&self, error: &Error) -> Advice {
        Repeat::of(self.policy.idempotent).advice(error)
    }

    fn is_passing(&self, error: &Error) -> bool {
        match self.advice(error) {
            Advice::RetryNow | Advice::RefreshMapAndRetry | Advice::BackOffAndRetry => true,
            Advice::ReadBeforeRetry | Advice::GiveUp => false,
        }
    }

    fn access(&self) -> Access {
        match &self.work {
            Work::Read(_) => Access::Read,
            Work::Operate(operations) if !operations.iter().any(Operation::writes) => Access::Read,
            Work::Operate(_) | Work::Delete | Work::Execute(_) => Access::Write,
        }
    }

    fn header(&self, policy: &BatchPolicy) -> MessageHeader {
        match &self.work {
            Work::Read(bins) => MessageHeader {
                info1: Info1::READ | bins_flags(bins),
                info3: policy.read_mode.flags(),
                ..MessageHeader::default()
            },
            Work::Operate(operations) => operate_header(&self.policy, operations).1,
            Work::Delete => delete_header(&self.policy),
            Work::Execute(_) => write_header(&self.policy),
        }
    }

    /// Whether the server may be told to do the same as for the row before.
    fn repeats(&self, before: &BatchOp) -> bool {
        match (&self.work, &before.work) {
            (Work::Read(own), Work::Read(other)) => {
                own == other
                    && self.policy.filter.is_none()
                    && before.policy.filter.is_none()
                    && self.key.namespace() == before.key.namespace()
                    && self.key.set() == before.key.set()
            }
            _ => false,
        }
    }

    fn encode(&self, body: &mut Body<'_>) {
        body.namespace(self.key.namespace());
        body.set(self.key.set());
        match &self.work {
            Work::Read(bins) => {
                filter_field(body, self.policy.filter.as_ref());
                encode_bin_names(body, bins);
            }
            Work::Operate(operations) => {
                self.encode_optional(body);
                operations
                    .iter()
                    .for_each(|operation| operation.encode(body));
            }
            Work::Delete => self.encode_optional(body),
            Work::Execute(udf) => {
                self.encode_optional(body);
                udf.encode(body);
            }
        }
    }

    fn encode_optional(&self, body: &mut Body<'_>) {
        let filter = self.policy.filter.as_ref();
        optional_fields(body, &self.key, self.policy.send_key, filter);
    }
}

/// Result of one row, `None` while there is none.
type RowResult = Option<Result<Option<Record>>>;

/// Rows of one request: their places in the caller's list, ascending.
struct Group {
    node: Arc<Node>,
    places: Vec<usize>,
}

/// A batch under way.
struct Run<'a> {
    client: &'a Client,
    policy: &'a BatchPolicy,
    rows: &'a [BatchOp],
    results: Vec<RowResult>,
    /// Rows of which an attempt may have been applied.
    doubted: Vec<bool>,
    /// Nodes that failed this batch.
    failed: Failed,
    turn: usize,
    deadline: Instant,
}

impl Client {
    /// Runs rows on many records and returns one result for each, in the order of the rows.
    ///
    /// A row's result is `None` where there was no record: for a read, a delete, and a write that
    /// needs one. Rows for the same record run in any order. A row that breaks a limit of the protocol
    /// (a bin name of 16 bytes) fails the rows that would have been sent with it; none of them is sent.
    pub async fn batch(
        &self,
        policy: &BatchPolicy,
        rows: Vec<BatchOp>,
    ) -> Vec<Result<Option<Record>>> {
        let run = Run {
            client: self,
            policy,
            rows: &rows,
            results: rows.iter().map(|_| None).collect(),
            doubted: vec![false; rows.len()],
            failed: Failed::default(),
            turn: self.next_turn(),
            deadline: deadline(Instant::now(), policy.timeout),
        };
        run.finish().await
    }
}

impl Run<'_> {
    async fn finish(mut self) -> Vec<Result<Option<Record>>> {
        let mut retries = Retries::new(self.policy.retry, self.deadline);
        loop {
            self.round().await;
            let advice = self.most_pressing_advice();
            let step =
                advice.and_then(|advice| retries.after(advice, Instant::now(), rand::random()));
            let Some(step) = step else {
                break;
            };
            self.client.pause(step, self.deadline).await;
            self.forget_passing_errors();
        }
        let results = self.results.into_iter().flatten().zip(self.doubted);
        let results =
            results.map(|(result, doubted)| result.map_err(|error| error.after_doubt(doubted)));
        results.collect()
    }

    /// Sends every row without a result once.
    async fn round(&mut self) {
        let deadline = attempt_deadline(self.policy.attempt_timeout, self.deadline);
        let groups = self.group();
        let sent = groups
            .iter()
            .map(|group| exchange(self.policy, self.rows, group, deadline));
        for (group, answered) in groups.iter().zip(join_all(sent).await) {
            let answers = match answered {
                Ok(body) => read_rows(self.rows, group, &body),
                Err(error) => {
                    group.node.note(&error);
                    if error.blames_node() {
                        self.failed.add(&group.node);
                    }
                    let places = group.places.iter();
                    let errors = places.map(|place| Err(for_row(&error, &self.rows[*place])));
                    errors.collect()
                }
            };
            for (place, answer) in group.places.iter().zip(answers) {
                self.doubted[*place] |= answer.as_ref().is_err_and(Error::in_doubt);
                self.results[*place] = Some(answer);
            }
        }
    }

    /// Groups the rows without a result by node; rows that nobody owns get that error as result.
    fn group(&mut self) -> Vec<Group> {
        let mut groups: Vec<Group> = vec![];
        let rows_max = self.policy.rows_max.max(1);
        let now = Instant::now();
        for (place, row) in self.rows.iter().enumerate() {
            if self.results[place].is_some() {
                continue;
            }
            let choice = self.choice(row, now);
            let node = self
                .client
                .owner(row.key.namespace(), row.key.partition(), choice);
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    self.results[place] = Some(Err(error));
                    continue;
                }
            };
            // The newest group of a node comes last; a cluster has few nodes.
            let open = groups
                .iter_mut()
                .rev()
                .find(|group| Arc::ptr_eq(&group.node, &node));
            match open.filter(|group| group.places.len() < rows_max) {
                Some(group) => group.places.push(place),
                None => groups.push(Group {
                    node,
                    places: vec![place],
                }),
            }
        }
        groups
    }

    fn choice(&self, row: &BatchOp, now: Instant) -> Choice<'_> {
        let (replica, strong_needs_master) = match row.access() {
            Access::Write => (Replica::Sequence, true),
            Access::Read => (self.policy.replica, self.policy.read_mode.needs_master()),
        };
        Choice {
            replica,
            strong_needs_master,
            turn: self.turn,
            racks: self.client.racks(),
            failed: &self.failed,
            now,
        }
    }

    fn errors(&self) -> impl Iterator<Item = (&BatchOp, &Error)> {
        let results = self.rows.iter().zip(&self.results);
        results.filter_map(|(row, result)| Some((row, result.as_ref()?.as_ref().err()?)))
    }

    /// What to do before the next round: learn the map anew if any row asks for it. `None` if no row can
    /// be sent again.
    fn most_pressing_advice(&self) -> Option<Advice> {
        let passing = self.errors().filter(|(row, error)| row.is_passing(error));
        let advices = passing.map(|(row, error)| row.advice(error));
        advices.max_by_key(|advice| match advice {
            Advice::RefreshMapAndRetry => 2,
            Advice::BackOffAndRetry => 1,
            Advice::RetryNow | Advice::ReadBeforeRetry | Advice::GiveUp => 0,
        })
    }

    fn forget_passing_errors(&mut self) {
        for (row, result) in self.rows.iter().zip(&mut self.results) {
            if matches!(result, Some(Err(error)) if row.is_passing(error)) {
                *result = None;
            }
        }
    }
}

/// Sends the rows of a group and waits for the bodies of all its answers. Errors are those of a
/// write; [`for_row`] makes them fit each row.
async fn exchange(
    policy: &BatchPolicy,
    rows: &[BatchOp],
    group: &Group,
    deadline: Instant,
) -> Result<Vec<u8>> {
    let started = Instant::now();
    let pipe = group.node.pipe(deadline).await?;
    let timeout_ms = millis_until(deadline);
    let pending = pipe
        .submit(Expect::Stream, deadline, |out| {
            encode_group(out, policy, rows, group, timeout_ms)
        })
        .await
        .map_err(|refused| group.node.refused(refused, started))?;
    let answered = pending.wait().await;
    answered.map_err(|lost| group.node.unanswered(lost, Access::Write, started))
}

fn encode_group(
    out: &mut Vec<u8>,
    policy: &BatchPolicy,
    rows: &[BatchOp],
    group: &Group,
    timeout_ms: u32,
) -> std::result::Result<(), CommandError> {
    if let Some(reason) = policy.filter.as_ref().and_then(Expr::fault) {
        return Err(CommandError::Argument { reason });
    }
    let parent = BatchParent {
        flags: BATCH_FLAGS,
        info3: policy.read_mode.flags(),
        timeout_ms,
        filter: policy.filter.as_ref().map(Expr::as_bytes),
    };
    command::batch(out, parent, |sent| {
        let mut before: Option<&BatchOp> = None;
        for (index, place) in (0..).zip(&group.places) {
            let row = &rows[*place];
            match before.is_some_and(|before| row.repeats(before)) {
                true => sent.repeat(index, row.key.digest()),
                false => encode_row(sent, index, policy, row),
            }
            before = Some(row);
        }
    })
}

fn encode_row(sent: &mut Rows<'_>, index: u32, policy: &BatchPolicy, row: &BatchOp) {
    let header = row.header(policy);
    let row_header = RowHeader {
        info1: header.info1,
        info2: header.info2,
        info3: header.info3,
        generation: (row.access() == Access::Write).then_some(header.generation as u16),
        ttl: Some(header.record_ttl),
    };
    sent.row(index, row.key.digest(), row_header, |body| row.encode(body));
}

/// The results of a group's rows from the bodies of its answers.
fn read_rows(rows: &[BatchOp], group: &Group, body: &[u8]) -> Vec<Result<Option<Record>>> {
    let mut results: Vec<RowResult> = group.places.iter().map(|_| None).collect();
    let mut trailer = None;
    let mut broken = None;
    for answer in Answers::new(body) {
        match answer {
            Ok(answer) if answer.is_last() => trailer = answer.code().ok(),
            Ok(answer) => {
                let index = answer.header.transaction_ttl as usize;
                if let Some(place) = group.places.get(index) {
                    results[index] = Some(read_row(&rows[*place], &group.node, &answer));
                }
            }
            Err(error) => broken = Some(error),
        }
    }
    let missing = match (broken, trailer) {
        (Some(error), _) => bad_answer(&group.node, error, Access::Write),
        (None, Some(code)) if code != ResultCode::Ok => parent_refused(&group.node, code),
        _ => Error::NoRowAnswer {
            node: group.node.name().to_owned(),
            in_doubt: true,
        },
    };
    let places = group.places.iter();
    let filled = places
        .zip(results)
        .map(|(place, result)| result.unwrap_or_else(|| Err(for_row(&missing, &rows[*place]))));
    filled.collect()
}

/// The error of rows without an answer in a batch that ended with `code`. Only a batch refused before
/// its first row has definitely not run them.
fn parent_refused(node: &Node, code: ResultCode) -> Error {
    let before_start = matches!(
        code,
        ResultCode::Unavailable
            | ResultCode::BatchDisabled
            | ResultCode::BatchMaxRequests
            | ResultCode::BatchQueuesFull
            | ResultCode::NotAuthenticated
    );
    Error::Server {
        node: node.name().to_owned(),
        code,
        in_doubt: !before_start,
    }
}

fn read_row(row: &BatchOp, node: &Node, answer: &Answer<'_>) -> Result<Option<Record>> {
    let access = row.access();
    match result_of(node, answer, access)? {
        ResultCode::NotFound => Ok(None),
        ResultCode::Ok => Record::from_answer(answer, access == Access::Write).map(Some),
        code => Err(refused(node, code, access)),
    }
}

/// The error of a whole request as one row's: a row that reads is never in doubt.
fn for_row(error: &Error, row: &BatchOp) -> Error {
    match row.access() {
        Access::Write => error.clone(),
        Access::Read => error.clone().without_doubt(),
    }
}
