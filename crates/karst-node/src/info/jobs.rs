//! Long queries: those that run, and those that have ended lately ([`crate::jobs`]). Short ones are never listed.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use karst_io::clock;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::{Answer, Asked, Entry, entry, made, printable, refused, text};
use crate::jobs::{Job, Status, Work};

pub(super) const COMMANDS: &[Entry] = &[
    entry("query-show", show),
    entry("query-abort", abort),
    entry("query-abort-all", abort_all),
];

fn show(asked: &mut Asked<'_>) -> Answer {
    let (jobs, now_us) = (&asked.node.jobs, clock::monotonic_us());
    match id(asked)? {
        None => {
            let all = jobs.all();
            let items = all.iter().map(|job| item(job, now_us));
            made(items.collect::<Vec<_>>().join(";"))
        }
        Some(id) => match jobs.find(id) {
            Some(job) => made(item(&job, now_us)),
            None => refused(ResultCode::NotFound, "job not found"),
        },
    }
}

fn abort(asked: &mut Asked<'_>) -> Answer {
    match id(asked)? {
        Some(id) if asked.node.jobs.abort(id) => text("ok"),
        Some(_) => refused(ResultCode::NotFound, "id not active"),
        None => refused(ResultCode::Parameter, "bad id"),
    }
}

fn abort_all(asked: &mut Asked<'_>) -> Answer {
    made(format_args!(
        "number-of-queries-killed:{}",
        asked.node.jobs.abort_all()
    ))
}

/// The job asked for, by today's key or the older one.
fn id(asked: &Asked<'_>) -> Result<Option<u64>, InfoError> {
    let params = asked.params();
    let bad = |_| InfoError::new(ResultCode::Parameter, "bad id");
    let id = match params.text("id", 20)? {
        Some(id) => Some(id),
        None => params.text("trid", 20)?,
    };
    id.map(str::parse).transpose().map_err(bad)
}

/// A query as tools read it. What a filter leaves out counts as left out by the bins, even if the index could tell.
fn item(job: &Job, now_us: u64) -> String {
    let mut item = format!("trid={}", job.id);
    // Writing to a string does not fail.
    let _ = put(&mut item, job, now_us);
    item
}

fn put(item: &mut String, job: &Job, now_us: u64) -> std::fmt::Result {
    let (asked, tally) = (&job.asked, &job.tally);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let status = job.status();
    write!(item, ":ns={}", asked.namespace)?;
    if !asked.set.is_empty() {
        write!(item, ":set={}", printable(&asked.set))?;
    }
    if let Some(index) = &asked.index {
        write!(item, ":sindex-name={}", printable(index.as_bytes()))?;
    }
    if let Some(from_start) = asked.from_start {
        write!(item, ":n-pids-requested={from_start}")?;
        write!(item, ":n-keyds-requested={}", asked.resumed)?;
    }
    write!(item, ":rps={}", asked.records_per_second)?;
    write!(item, ":active-threads={}", u8::from(status.is_none()))?;
    write!(item, ":status={}", word(status))?;
    let progress = job.progress();
    write!(
        item,
        ":job-progress={}.{:02}",
        progress / 100,
        progress % 100
    )?;
    write!(item, ":run-time={}", job.run_ms(now_us))?;
    write!(item, ":time-since-done={}", job.ended_ms_ago(now_us))?;
    write!(item, ":recs-throttled={}", count(&tally.throttled))?;
    write!(item, ":recs-filtered-meta=0")?;
    write!(item, ":recs-filtered-bins={}", count(&tally.filtered))?;
    write!(item, ":recs-succeeded={}", count(&tally.succeeded))?;
    write!(item, ":recs-failed={}", count(&tally.failed))?;
    write!(item, ":from={}", asked.client.replace(':', "+"))?;
    write!(item, ":job-type={}", kind(&asked.work))?;
    match &asked.work {
        Work::Basic | Work::Aggregation => {
            write!(item, ":net-io-bytes={}", count(&tally.sent_bytes))?;
            write!(item, ":socket-timeout={}", asked.socket_timeout_ms)
        }
        Work::Function { module, name } => {
            write!(item, ":udf-filename={}", printable(module.as_bytes()))?;
            write!(item, ":udf-function={}", printable(name.as_bytes()))?;
            write!(item, ":udf-active={}", count(&tally.under_way))
        }
        Work::Operations => write!(item, ":ops-active={}", count(&tally.under_way)),
    }
}

fn kind(work: &Work) -> &'static str {
    match work {
        Work::Basic => "basic",
        Work::Aggregation => "aggregation",
        Work::Function { .. } => "background-udf",
        Work::Operations => "background-ops",
    }
}

/// Clients that wait for a query look whether this begins with `done`.
fn word(status: Option<Status>) -> &'static str {
    match status {
        None => "active(ok)",
        Some(Status::Done) => "done(ok)",
        Some(Status::Aborted) => "done(user-aborted)",
        Some(Status::ClientGone) => "done(abandoned-response-error)",
        Some(Status::Failed) => "done(abandoned-unknown)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{self, Jobs};

    #[test]
    fn a_query_is_told_of_in_the_order_and_words_of_the_reference() {
        let asked = jobs::Asked {
            id: 7,
            namespace: "test".into(),
            set: b"a:b".to_vec(),
            index: Some("ages".into()),
            work: Work::Function {
                module: "m".into(),
                name: "f".into(),
            },
            from_start: None,
            resumed: 0,
            partitions: 4096,
            records_per_second: 100,
            socket_timeout_ms: 0,
            client: "10.0.0.1:4000".into(),
        };
        let jobs = Jobs::default();
        let running = jobs.begin(asked).unwrap();
        let job = running.job().clone();
        job.tally.partitions.store(512, Ordering::Relaxed);
        job.tally.succeeded.store(3, Ordering::Relaxed);
        let shown = item(&job, 0);
        let parts = [
            "trid=7:ns=test:set=a?b:sindex-name=ages:rps=100:active-threads=1:status=active(ok)",
            "job-progress=12.50:run-time=0:time-since-done=0:recs-throttled=0",
            "recs-filtered-meta=0:recs-filtered-bins=0:recs-succeeded=3:recs-failed=0",
            "from=10.0.0.1+4000:job-type=background-udf",
            "udf-filename=m:udf-function=f:udf-active=0",
        ];
        assert_eq!(shown, parts.join(":"));
        running.end(Status::Done);
        let shown = item(&job, 0);
        assert!(shown.contains("active-threads=0:status=done(ok):job-progress=100.00"));
    }
}
