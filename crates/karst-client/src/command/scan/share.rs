//! One node's part of a round: a request, and its answers to the end.

use std::sync::Arc;
use std::time::Instant;

use karst_data::key::{Digest, PartitionId};
use karst_wire::code::ResultCode;
use karst_wire::command::{CommandError, message};
use karst_wire::field;
use karst_wire::flags::{Info1, Info3};
use karst_wire::frame::{FrameKind, MessageHeader};
use karst_wire::response::{Answer, Answers};

use super::cursor::{Place, Positions, advance};
use super::{Item, Job, ScanRecord};
use crate::command::single::{bins_flags, encode_bin_names};
use crate::command::{bad_answer, filter_field, refused, result_of};
use crate::error::{Error, Result};
use crate::key::{Key, UserKey};
use crate::policy::Bins;
use crate::pool::Node;
use crate::record::Record;
use crate::retry::{Access, deadline};

/// What one node is asked for in one round.
pub(super) struct Share {
    pub(super) node: Arc<Node>,
    pub(super) positions: Positions,
    /// Most records; 0 for no limit.
    pub(super) records_max: u64,
}

/// How one node's part of a round ended.
pub(super) struct ShareEnd {
    /// What it has left.
    pub(super) positions: Positions,
    pub(super) returned: u64,
    pub(super) error: Option<Error>,
    /// The node, if it failed the whole share.
    pub(super) failed: Option<Arc<Node>>,
}

/// Scans one node's share and says what is left of it.
pub(super) async fn scan_share(job: Arc<Job>, share: Share) -> ShareEnd {
    let Share {
        node,
        positions,
        records_max,
    } = share;
    let mut reader = ShareReader {
        job: &job,
        node: &node,
        positions,
        unread: vec![],
        records_max,
        returned: 0,
    };
    let ended = reader.run().await;
    if ended.is_ok() {
        reader.finish().await;
    }
    let unread =
        (!reader.unread.is_empty()).then(|| refused(&node, ResultCode::Unavailable, Access::Read));
    let positions = reader.positions;
    let returned = reader.returned;
    let failed = ended.as_ref().is_err_and(|error| {
        node.note(error);
        error.blames_node()
    });
    ShareEnd {
        positions,
        returned,
        error: ended.err().or(unread),
        failed: failed.then_some(node),
    }
}

struct ShareReader<'a> {
    job: &'a Job,
    node: &'a Node,
    /// What is left, advanced with every record.
    positions: Positions,
    /// Partitions the node could not read.
    unread: Vec<u16>,
    records_max: u64,
    returned: u64,
}

/// Whether a stream goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    More,
    Ended,
}

impl ShareReader<'_> {
    /// Sends the request and reads its answers to the end.
    async fn run(&mut self) -> Result<()> {
        let started = Instant::now();
        let idle = self.job.policy.idle_timeout;
        let first = deadline(started, idle);
        let mut lease = self.node.lease_for_scan(first).await?;
        let connection = &mut lease.connection;
        let request = |out: &mut Vec<u8>| self.encode(out);
        let sent = connection.send(first, request).await;
        sent.map_err(|failed| self.node.failed(failed, started))?;
        loop {
            let asked = Instant::now();
            let frame = connection
                .receive(FrameKind::Message, deadline(asked, idle))
                .await;
            let frame = frame.map_err(|failed| self.node.failed(failed, asked))?;
            if self.take_frame(connection.body(&frame)).await? == Flow::Ended {
                lease.give_back();
                return Ok(());
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) -> std::result::Result<(), CommandError> {
        let policy = &self.job.policy;
        let idle_ms = u32::try_from(policy.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let no_bins = match &policy.bins {
            Bins::All => Info1::NONE, // a scan without operations returns all bins
            bins => bins_flags(bins),
        };
        let header = MessageHeader {
            info1: Info1::READ | no_bins,
            info3: Info3::PARTITION_DONE,
            record_ttl: u32::MAX,
            transaction_ttl: idle_ms,
            ..MessageHeader::default()
        };
        let resumed = || self.positions.values().flatten();
        let digests: Vec<Digest> = resumed().map(|place| place.digest).collect();
        let values: Vec<u64> = resumed().filter_map(|place| place.value).collect();
        let fresh = self.positions.iter().filter(|(_, after)| after.is_none());
        let fresh: Vec<PartitionId> = fresh.map(|(id, _)| PartitionId(*id)).collect();
        message(out, header, |body| {
            self.job.query.encode(body);
            if policy.records_per_second != 0 {
                let limit = policy.records_per_second.to_be_bytes();
                body.field(field::RECORDS_PER_SECOND, &limit);
            }
            body.field(field::SOCKET_TIMEOUT, &idle_ms.to_be_bytes());
            body.field(field::TASK_ID, &rand::random::<u64>().to_be_bytes());
            filter_field(body, policy.filter.as_ref());
            if !fresh.is_empty() {
                body.partitions(&fresh);
            }
            if !digests.is_empty() {
                body.resume_after(&digests);
            }
            // They come with every digest or with none; without them the order is that of digests.
            if !values.is_empty() && values.len() == digests.len() {
                body.resume_values(&values);
            }
            if self.records_max != 0 {
                body.field(field::SAMPLE_MAX, &self.records_max.to_be_bytes());
            }
            encode_bin_names(body, &policy.bins);
        })
    }

    async fn take_frame(&mut self, body: &[u8]) -> Result<Flow> {
        for answer in Answers::new(body) {
            let answer = answer.map_err(|error| bad_answer(self.node, error, Access::Read))?;
            if self.take_answer(&answer).await? == Flow::Ended {
                return Ok(Flow::Ended);
            }
        }
        Ok(Flow::More)
    }

    async fn take_answer(&mut self, answer: &Answer<'_>) -> Result<Flow> {
        if let Some(partition) = answer.partition_done() {
            if answer.code() != Ok(ResultCode::Ok) {
                self.unread.push(partition.0);
            }
            return Ok(Flow::More);
        }
        let code = result_of(self.node, answer, Access::Read)?;
        if answer.is_last() || code == ResultCode::NotFound {
            return Ok(Flow::Ended); // an unknown set has no records
        }
        if self.records_max != 0 && self.returned >= self.records_max {
            return Ok(Flow::More); // the node sent more than it was asked for
        }
        let value = answer.index_value();
        let place = answer.digest().map(|digest| Place { digest, value });
        let place = place.filter(|place| advance(&mut self.positions, *place));
        let place = place.ok_or_else(|| Error::StrayRecord {
            node: self.node.name().to_owned(),
        })?;
        let record = self.read_record(answer, place.digest)?;
        self.returned += 1;
        let _ = self.job.sender.send(Item::Record(record, value)).await; // a reader that left aborts us
        Ok(Flow::More)
    }

    fn read_record(&self, answer: &Answer<'_>, digest: Digest) -> Result<ScanRecord> {
        let set = answer.field(field::SET).unwrap_or_default();
        let set = match set == self.job.query.set.as_bytes() {
            true => Arc::clone(&self.job.query.set),
            false => String::from_utf8_lossy(set).into(),
        };
        let key = Key::from_digest(Arc::clone(&self.job.query.namespace), set, digest)?;
        let user_key = answer.field(field::KEY).and_then(UserKey::read);
        Ok(ScanRecord {
            key: key.with_user_key(user_key),
            record: Record::from_answer(answer, false)?,
        })
    }

    /// After a sound end: every partition is finished, except those that could not be read, and
    /// except all of them if the node stopped at its limit of records.
    async fn finish(&mut self) {
        if self.records_max != 0 && self.returned >= self.records_max {
            return;
        }
        let unread = self.unread.iter();
        let kept: Positions = unread
            .filter_map(|id| self.positions.get_key_value(id))
            .map(|(id, after)| (*id, *after))
            .collect();
        let all = std::mem::replace(&mut self.positions, kept);
        let finished = all
            .into_keys()
            .filter(|id| !self.positions.contains_key(id));
        let finished: Vec<u16> = finished.collect();
        let _ = self.job.sender.send(Item::Finished(finished)).await;
    }
}
