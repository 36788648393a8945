//! `karst scan`: every record of a namespace or set as a JSON line.
//!
//! A line is what `load` reads: each bin a member. Lines come in no order that means anything. A file
//! is written under a temporary name beside its own and takes it only when it is whole, so a scan
//! that fails half-way leaves no file that looks complete.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::ProgressBar;
use karst_client::{Bins, ScanPolicy, ScanRecord};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::connect::{admin_and_client, explain};
use super::record;
use crate::admin::Admin;
use crate::args::Scan;
use crate::failure::{Failure, Outcome};
use crate::render::{human, output, progress};

/// Member that `--with-meta` adds.
const META_MEMBER: &str = "_meta";

/// Between two redraws of the bar.
const REDRAW_RECORDS: u64 = 256;

/// What `--json` prints when the records go to a file.
#[derive(Debug, Serialize)]
struct Summary {
    records: u64,
    seconds: f64,
    records_per_second: f64,
    output: String,
}

/// `karst scan`
pub(super) async fn run(host: &str, json: bool, args: &Scan) -> Outcome {
    let (mut admin, client) = admin_and_client(host).await?;
    let scan = client
        .scan(&args.place.namespace, &args.place.set, policy(args))
        .map_err(Failure::usage)?;
    let bar = match args.output {
        Some(_) => progress::of_count(expected(&mut admin, args).await),
        None => hidden(), // the records themselves are on the screen
    };
    write_out(scan, args, bar, json).await
}

/// No bar.
pub(super) fn hidden() -> ProgressBar {
    ProgressBar::hidden()
}

/// How records are asked for.
pub(super) fn policy(args: &Scan) -> ScanPolicy {
    ScanPolicy::default()
        .with_bins(match args.bins.is_empty() {
            true => Bins::All,
            false => Bins::named(args.bins.iter().cloned()),
        })
        .with_records_max(args.limit)
}

/// Writes what comes to where it was asked for.
pub(super) async fn write_out(
    mut scan: karst_client::Scan,
    args: &Scan,
    bar: ProgressBar,
    json: bool,
) -> Outcome {
    let mut sink = Sink::open(args.output.as_deref())?;
    let started = Instant::now();
    let mut records = 0;
    while let Some(item) = scan.next().await {
        let found = item.map_err(|error| explain(&error))?;
        sink.line(&to_json(found, args.with_meta))?;
        records += 1;
        show(&bar, records);
    }
    sink.finish()?;
    bar.finish_and_clear();
    match &args.output {
        Some(path) => report(json, path, records, started.elapsed().as_secs_f64()),
        None => Ok(()),
    }
}

fn show(bar: &ProgressBar, records: u64) {
    if records.is_multiple_of(REDRAW_RECORDS) {
        bar.set_position(records);
    }
}

/// How many records will come, for the bar: what the node counts now. An unknown set counts none.
async fn expected(admin: &mut Admin, args: &Scan) -> u64 {
    let namespace = args.place.namespace.clone();
    let records = match args.place.set.as_str() {
        "" => admin
            .namespaces(Some(namespace))
            .await
            .map(|spaces| spaces.iter().map(|space| space.records).sum()),
        set => admin.sets(Some(namespace)).await.map(|sets| {
            let matching = sets.iter().filter(|found| found.name == set);
            matching.map(|set| set.records).sum()
        }),
    };
    let records: u64 = records.unwrap_or_default();
    match args.limit {
        0 => records,
        limit => records.min(limit),
    }
}

/// One record as the object of its line.
fn to_json(found: ScanRecord, with_meta: bool) -> Map<String, Json> {
    let mut line = record::bins(&found.record);
    if with_meta {
        let meta = record::meta(&found.key, &found.record);
        line.insert(META_MEMBER.to_owned(), Json::Object(meta));
    }
    line
}

fn report(json: bool, path: &Path, records: u64, seconds: f64) -> Outcome {
    let summary = Summary {
        records,
        seconds,
        records_per_second: records as f64 / seconds,
        output: path.display().to_string(),
    };
    match json {
        true => output::json(&summary),
        false => output::line(&format!(
            "wrote {} to {} in {seconds:.1} s ({}/s)",
            human::plural(records, "record"),
            summary.output,
            human::count(summary.records_per_second as u64)
        )),
    }
}

/// Where lines go.
enum Sink {
    /// Standard output.
    Output(BufWriter<io::Stdout>),
    /// A file.
    File(FileSink),
}

/// A file on its way to being whole.
struct FileSink {
    writer: Writer,
    /// Removed when dropped, unless it has become the file.
    partial: tempfile::TempPath,
    path: PathBuf,
}

enum Writer {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl Sink {
    fn open(path: Option<&Path>) -> Outcome<Sink> {
        let Some(path) = path else {
            return Ok(Sink::Output(BufWriter::new(io::stdout())));
        };
        // What is there is replaced, which must not happen to a device or a pipe.
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            let path = path.display();
            return Err(Failure::usage(format!(
                "--output {path}: exists and is no file"
            )));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let (file, partial) = tempfile::Builder::new()
            .prefix(".karst-scan-")
            .permissions(Permissions::from_mode(0o666)) // less what the umask takes
            .tempfile_in(folder)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?
            .into_parts();
        let file = BufWriter::with_capacity(256 * 1024, file);
        let writer = match path.extension().is_some_and(|extension| extension == "gz") {
            true => Writer::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
            false => Writer::Plain(file),
        };
        Ok(Sink::File(FileSink {
            writer,
            partial,
            path: path.to_owned(),
        }))
    }

    /// Writes an object and a line end.
    fn line(&mut self, object: &Map<String, Json>) -> Outcome {
        let mut text = serde_json::to_vec(object).map_err(Failure::failed)?;
        text.push(b'\n');
        match self {
            Sink::Output(stdout) => stdout.write_all(&text).map_err(Failure::output),
            Sink::File(file) => match &mut file.writer {
                Writer::Plain(writer) => writer.write_all(&text),
                Writer::Gzip(writer) => writer.write_all(&text),
            }
            .map_err(|error| file.explain(&error)),
        }
    }

    /// Everything is written: makes it last, under its name.
    fn finish(self) -> Outcome {
        match self {
            Sink::Output(mut stdout) => stdout.flush().map_err(Failure::output),
            Sink::File(file) => file.finish(),
        }
    }
}

impl FileSink {
    fn finish(self) -> Outcome {
        let path = self.path;
        let explain = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let buffered = match self.writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish().map_err(explain)?,
        };
        let file = buffered
            .into_inner()
            .map_err(|error| explain(error.into_error()))?;
        file.sync_all().map_err(explain)?;
        self.partial
            .persist(&path)
            .map_err(|error| explain(error.error))
    }

    fn explain(&self, error: &io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use karst_client::{Bin, Key, Record};
    use serde_json::json;

    use super::*;

    fn object(number: i64) -> Map<String, Json> {
        json!({ "n": number }).as_object().unwrap().clone()
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let entries = || std::fs::read_dir(folder.path()).unwrap().count();

        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.line(&object(1)).unwrap();
        assert!(!path.exists());
        drop(sink); // as when the scan fails
        assert_eq!(entries(), 0, "something is left of a failed scan");

        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.line(&object(1)).unwrap();
        sink.line(&object(2)).unwrap();
        sink.finish().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"n\":1}\n{\"n\":2}\n"
        );
        assert_eq!(entries(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Sink::open(Some(folder.path())).err().unwrap();
        assert_eq!(refused.exit_code(), 2);
        assert_eq!(
            Sink::open(Some(Path::new("/dev/null")))
                .err()
                .unwrap()
                .exit_code(),
            2
        );
    }

    #[test]
    fn a_name_that_ends_in_gz_is_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl.gz");
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.line(&object(7)).unwrap();
        sink.finish().unwrap();
        let mut text = String::new();
        GzDecoder::new(File::open(&path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "{\"n\":7}\n");
    }

    #[test]
    fn a_line_has_the_bins_and_meta_only_if_asked() {
        let found = ScanRecord {
            key: Key::new("test", "demo", "key1").unwrap(),
            record: Record {
                bins: vec![Bin::new("a", 1)],
                generation: 2,
                void_time_s: 0,
            },
        };
        assert_eq!(
            Json::Object(to_json(found.clone(), false)),
            json!({ "a": 1 })
        );
        let line = to_json(found, true);
        assert_eq!(line["a"], 1);
        assert_eq!(line["_meta"]["key"], "key1");
        assert_eq!(line["_meta"]["generation"], 2);
    }
}
