//! How namespaces came up, as the admin service tells it.

use std::sync::atomic::Ordering;

use karst_io::clock;
use karst_proto::admin as proto;

use super::alarm;
use crate::node::NamespaceState;

pub(super) fn recovery(namespace: &NamespaceState) -> proto::Recovery {
    let restart = &namespace.restart;
    let (moment, outcome) = (restart.moment(), restart.outcome());
    let tally = &restart.tally;
    let blocks_scanned = tally.blocks_scanned.load(Ordering::Relaxed);
    let phases = moment
        .phases
        .iter()
        .map(|(phase, seconds)| proto::PhaseTime {
            phase: phase.name().into(),
            seconds: *seconds,
        });
    proto::Recovery {
        phase: moment.phase.name().into(),
        done_bytes: moment.done_bytes,
        total_bytes: moment.total_bytes,
        bytes_per_second: moment.bytes_per_s as u64,
        records: moment.records,
        eta_seconds: moment.eta_s.map(|eta_s| eta_s.ceil() as u64),
        seconds: moment.seconds,
        from: outcome
            .map(|outcome| outcome.way.name().into())
            .unwrap_or_default(),
        why: outcome
            .map(|outcome| outcome.why.clone())
            .unwrap_or_default(),
        phases: phases.collect(),
        scanned_bytes: blocks_scanned * u64::from(namespace.engine.log().config().block_bytes),
        entries_loaded: tally.entries_loaded.load(Ordering::Relaxed),
        damaged_headers: tally.damaged_headers.load(Ordering::Relaxed),
        damaged_records: tally.damaged_records.load(Ordering::Relaxed),
        rotten_stretches: tally.rotten_stretches.load(Ordering::Relaxed),
        torn_or_stale: tally.torn_or_stale.load(Ordering::Relaxed),
    }
}

pub(super) fn checkpoint(namespace: &NamespaceState) -> Option<proto::Checkpoint> {
    let written = namespace.checkpoint.written();
    let failure = namespace.checkpoint.failure();
    if written.is_none() && failure.is_none() {
        return None;
    }
    let mut checkpoint = proto::Checkpoint {
        failure: failure.unwrap_or_default(),
        ..proto::Checkpoint::default()
    };
    if let Some(written) = written {
        checkpoint.age_seconds = (clock::boot_us() - written.at_boot_us) / 1_000_000;
        checkpoint.bytes = written.bytes;
        checkpoint.entries = written.entries;
        checkpoint.seconds = written.seconds;
    }
    Some(checkpoint)
}

pub(super) fn alarms(namespace: &NamespaceState, alarms: &mut Vec<proto::Alarm>) {
    let subject = || format!("namespace {}", namespace.config.name);
    let damaged = namespace
        .restart
        .tally
        .damaged_headers
        .load(Ordering::Relaxed);
    if damaged > 0 {
        let text = format!(
            "the headers of {damaged} blocks were damaged at the start, the records in them are left \
             out; the log names the blocks"
        );
        alarms.push(alarm(proto::Severity::Critical, subject(), text));
    }
    let rotten = namespace
        .restart
        .tally
        .rotten_stretches
        .load(Ordering::Relaxed);
    if rotten > 0 {
        let text = format!(
            "{rotten} stretches of blocks were found damaged at the start, and what was in them is not \
             known: records may be missing or have gone back to an older version"
        );
        alarms.push(alarm(proto::Severity::Critical, subject(), text));
    }
    if let Some(why) = namespace.checkpoint.failure() {
        let text = format!("the latest checkpoint of the index was not written: {why}");
        alarms.push(alarm(proto::Severity::Warning, subject(), text));
    }
}
