//! `karst load`: JSON lines into records, or, with `--verify`, compared with them.
//!
//! ```text
//! file -> lines (own thread: inflate, parse) -> row -> at most --concurrency calls in flight
//! ```
//!
//! Without `--skip-bad` the first line that is no record ends the load: what was sent before stays,
//! and running it again is harmless, as it writes the same records. A write that fails after the
//! client's retries always ends it.

mod lines;
mod row;

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use karst_client::{Client, ReadPolicy, Record, RetryPolicy, WritePolicy};
use serde::Serialize;
use tokio::task::{JoinError, JoinSet};

use super::connect::{client, explain};
use crate::args::Load;
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::render::{human, output, progress};
use lines::{Line, Lines};
use row::Row;

/// Longest time of one record with all its retries: an import would rather wait than stop.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Retries of one record: a node that restarts or sheds load is back within them.
const RETRY: RetryPolicy = RetryPolicy {
    retries_max: 50,
    pause_first: Duration::from_millis(10),
    pause_max: Duration::from_secs(1),
};

/// Bad lines and differences that are spelled out; the rest are only counted.
const COMPLAINTS_MAX: u64 = 10;

/// Between two redraws of the bar's text.
const REDRAW_RECORDS: u64 = 256;

/// What `--json` prints at the end.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// "load" or "verify".
    verb: &'static str,
    /// Written, or read back.
    records: u64,
    /// Lines that are no record.
    skipped: u64,
    /// Records that are not there; only of `--verify`.
    missing: u64,
    /// Records that are not as the file says; only of `--verify`.
    different: u64,
    seconds: f64,
    records_per_second: f64,
}

/// What became of one record.
#[derive(Debug)]
enum Fate {
    Written,
    Same,
    Missing,
    Different(String),
}

/// `karst load`
pub(super) async fn run(host: &str, json: bool, args: Load) -> Outcome {
    let lines = Lines::open(&args.file)?;
    let client = client(host).await?;
    let mut work = Work {
        bar: progress::of_file(lines.file_bytes),
        lines,
        client,
        flying: JoinSet::new(),
        summary: Summary {
            verb: if args.verify { "verify" } else { "load" },
            ..Summary::default()
        },
        started: Instant::now(),
        complaints: 0,
        args,
    };
    let outcome = work.all().await;
    work.bar.finish_and_clear();
    work.report(json, outcome)
}

/// A load on its way.
struct Work {
    args: Load,
    lines: Lines,
    client: Client,
    /// Never more than `--concurrency`.
    flying: JoinSet<(u64, Outcome<Fate>)>,
    summary: Summary,
    started: Instant,
    bar: ProgressBar,
    complaints: u64,
}

impl Work {
    /// Sends every line. Whatever ends it, nothing is in flight afterwards.
    async fn all(&mut self) -> Outcome {
        let sent = self.send_lines().await;
        let mut landed = Ok(());
        while let Some(joined) = self.flying.join_next().await {
            landed = landed.and(self.land(joined));
        }
        sent.and(landed)
    }

    async fn send_lines(&mut self) -> Outcome {
        let file = self.args.file.display().to_string();
        let unreadable = |error: io::Error| Failure::failed(format!("{file}: {error}"));
        while let Some(line) = self.lines.next().await.map_err(unreadable)? {
            match self.row(&line) {
                Ok(row) => self.send(line.number, row).await?,
                Err(what) => self.bad_line(line.number, &what)?,
            }
        }
        Ok(())
    }

    fn row(&self, line: &Line) -> Result<Row, String> {
        let object = line.object.as_ref().map_err(Clone::clone)?;
        Row::new(object, &self.args.key_field, &self.args.place)
    }

    fn bad_line(&mut self, number: u64, what: &str) -> Outcome {
        let text = format!("{}:{number}: {what}", self.args.file.display());
        if !self.args.skip_bad {
            return Err(Failure::failed(format!("{text} (--skip-bad goes on)")));
        }
        self.summary.skipped += 1;
        self.complain(&text);
        Ok(())
    }

    /// Tells the person, but not a million times.
    fn complain(&mut self, text: &str) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            self.bar.suspend(|| eprintln!("karst: {text}"));
        }
        if self.complaints == COMPLAINTS_MAX {
            self.bar
                .suspend(|| eprintln!("karst: further ones are only counted"));
        }
    }

    /// Puts one record in flight, once there is room.
    async fn send(&mut self, number: u64, row: Row) -> Outcome {
        if self.flying.len() >= usize::from(self.args.concurrency)
            && let Some(joined) = self.flying.join_next().await
        {
            self.land(joined)?;
        }
        let client = self.client.clone();
        match self.args.verify {
            true => self
                .flying
                .spawn(async move { (number, verify(&client, row).await) }),
            false => {
                let policy = self.write_policy();
                self.flying
                    .spawn(async move { (number, write(&client, &policy, row).await) })
            }
        };
        Ok(())
    }

    fn write_policy(&self) -> WritePolicy {
        WritePolicy::default()
            .with_timeout(CALL_TIMEOUT)
            .with_retry(RETRY)
            .with_send_key(self.args.send_key)
    }

    /// Counts one record that has come back.
    fn land(&mut self, joined: Result<(u64, Outcome<Fate>), JoinError>) -> Outcome {
        let (number, fate) = joined.map_err(Failure::failed)?;
        let place = format!("{}:{number}", self.args.file.display());
        match fate {
            Ok(Fate::Written | Fate::Same) => self.summary.records += 1,
            Ok(Fate::Missing) => {
                self.summary.missing += 1;
                self.complain(&format!("{place}: the record is missing"));
            }
            Ok(Fate::Different(what)) => {
                self.summary.different += 1;
                self.complain(&format!("{place}: {what}"));
            }
            Err(failure) => {
                let message = failure.message().unwrap_or_default();
                return Err(Failure::failed(format!("{place}: {message}")));
            }
        }
        self.show();
        Ok(())
    }

    fn show(&self) {
        let records = self.summary.records;
        if !records.is_multiple_of(REDRAW_RECORDS) {
            return;
        }
        self.bar
            .set_position(self.lines.bytes_read.load(Ordering::Relaxed));
        let rate = records as f64 / self.started.elapsed().as_secs_f64();
        self.bar.set_message(format!(
            "{}, {}/s",
            human::plural(records, "record"),
            human::count(rate as u64)
        ));
    }

    /// The last word: what was done, and whether it was all.
    fn report(mut self, json: bool, outcome: Outcome) -> Outcome {
        let seconds = self.started.elapsed().as_secs_f64();
        self.summary.seconds = seconds;
        self.summary.records_per_second = self.summary.records as f64 / seconds;
        match json {
            true => output::json(&self.summary)?,
            false => output::line(&self.summary.text())?,
        }
        outcome?;
        match self.summary.missing + self.summary.different {
            0 => Ok(()),
            wrong => Err(Failure::failed(format!(
                "{} not as {} says",
                human::plural(wrong, "record"),
                self.args.file.display()
            ))),
        }
    }
}

impl Summary {
    fn text(&self) -> String {
        let verb = if self.verb == "load" {
            "loaded"
        } else {
            "verified"
        };
        let mut text = format!(
            "{verb} {} in {:.1} s ({}/s)",
            human::plural(self.records, "record"),
            self.seconds,
            human::count(self.records_per_second as u64)
        );
        for (count, what) in [
            (self.missing, "missing"),
            (self.different, "different"),
            (self.skipped, "skipped"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {} {what}", human::count(count)));
            }
        }
        text
    }
}

async fn write(client: &Client, policy: &WritePolicy, row: Row) -> Outcome<Fate> {
    match client.put_with(policy, &row.key, row.bins).await {
        Ok(()) => Ok(Fate::Written),
        Err(error) => Err(explain(&error)),
    }
}

async fn verify(client: &Client, row: Row) -> Outcome<Fate> {
    let policy = ReadPolicy::default()
        .with_timeout(CALL_TIMEOUT)
        .with_retry(RETRY);
    let read = client
        .get_with(&policy, &row.key, &karst_client::Bins::All)
        .await;
    Ok(match read.map_err(|error| explain(&error))? {
        None => Fate::Missing,
        Some(record) => difference(&row, &record).map_or(Fate::Same, Fate::Different),
    })
}

/// How a record differs from its line; `None` if it does not.
fn difference(row: &Row, record: &Record) -> Option<String> {
    for bin in &row.bins {
        match record.bin(&bin.name) {
            None => return Some(format!("bin {} is missing", bin.name)),
            Some(found) if !json::same(&bin.value, found) => {
                return Some(format!(
                    "bin {} is {}, the file says {}",
                    bin.name,
                    json::from_value(found),
                    json::from_value(&bin.value)
                ));
            }
            Some(_) => {}
        }
    }
    let strange = |name: &str| row.bins.iter().all(|bin| bin.name != name);
    let extra = record.bins.iter().find(|bin| strange(&bin.name))?;
    Some(format!("bin {} is not in the file", extra.name))
}

#[cfg(test)]
mod tests {
    use karst_client::{Bin, Key};

    use super::*;

    #[test]
    fn a_record_differs_by_a_bin_missing_changed_or_added() {
        let row = Row {
            key: Key::new("test", "s", 1).unwrap(),
            bins: vec![Bin::new("a", 1), Bin::new("b", "x")],
        };
        let with = |bins: Vec<Bin>| {
            let record = Record {
                bins,
                ..Record::default()
            };
            difference(&row, &record)
        };
        assert_eq!(with(vec![Bin::new("b", "x"), Bin::new("a", 1)]), None);
        assert_eq!(with(vec![Bin::new("a", 1)]).unwrap(), "bin b is missing");
        assert_eq!(
            with(vec![Bin::new("a", 2), Bin::new("b", "x")]).unwrap(),
            "bin a is 2, the file says 1"
        );
        let more = vec![Bin::new("a", 1), Bin::new("b", "x"), Bin::new("c", 1)];
        assert_eq!(with(more).unwrap(), "bin c is not in the file");
    }

    #[test]
    fn the_summary_counts_what_went_wrong_and_only_that() {
        let mut summary = Summary {
            verb: "load",
            records: 34_000,
            seconds: 2.0,
            records_per_second: 17_000.0,
            ..Summary::default()
        };
        assert_eq!(summary.text(), "loaded 34,000 records in 2.0 s (17,000/s)");
        (summary.verb, summary.missing, summary.skipped) = ("verify", 1, 2);
        assert!(summary.text().ends_with("(17,000/s), 1 missing, 2 skipped"));
    }
}
