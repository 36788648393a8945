//! `entries`: what a node's index holds, to compare it with what it was or with another's.

use karst_proto::admin as proto;

use crate::admin::Admin;
use crate::failure::Outcome;
use crate::render::output;
use crate::view::IndexEntry;

/// `karst entries`
pub(super) async fn run(
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
