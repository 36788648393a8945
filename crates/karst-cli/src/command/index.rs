//! `partitions`, `entries`: what a node's index holds, to compare it with what it was or with another's.

use karst_proto::admin as proto;

use crate::admin::Admin;
use crate::failure::Outcome;
use crate::render::{output, table};
use crate::view::{IndexEntry, Partition};

/// Partitions of a namespace.
const PARTITIONS: u32 = 4096;

/// `karst partitions`
pub(super) async fn partitions(
    host: &str,
    json: bool,
    namespace: &str,
    only: Option<u32>,
) -> Outcome {
    let mut admin = Admin::connect(host).await?;
    let mut found = Vec::new();
    let (mut next, end) = only.map_or((0, PARTITIONS), |only| (only, only + 1));
    while next < end {
        let some = admin.partitions(namespace, next, end - next).await?;
        next = some.last().map_or(end, |last| last.number + 1);
        found.extend(some.into_iter().map(Partition::from));
    }
    match json {
        true => output::json(&found),
        false => output::line(&table::partition_contents(&found)),
    }
}

/// `karst entries`
pub(super) async fn entries(
    host: &str,
    namespace: String,
    partition: u32,
    after: Option<[u8; 20]>,
    limit: u64,
) -> Outcome {
    let mut admin = Admin::connect(host).await?;
    let mut request = proto::EntriesRequest {
        namespace,
        partition,
        after: after.map(Vec::from).unwrap_or_default(),
        limit: 0,
    };
    let mut left = if limit == 0 { u64::MAX } else { limit };
    loop {
        request.limit = left.min(1000) as u32;
        let answer = admin.entries(request.clone()).await?;
        left -= answer.entries.len() as u64;
        let last = answer.entries.last().map(|entry| entry.digest.clone());
        for entry in answer.entries {
            output::json_line(&IndexEntry::from(entry))?;
        }
        let Some(last) = last.filter(|_| !answer.done && left > 0) else {
            return Ok(());
        };
        request.after = last;
    }
}
