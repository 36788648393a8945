//! What the device does without Karst: fio with the same sync mode and as many writes in flight.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Size of the file that fio writes to.
const FILE_MIB: u64 = 512;

/// Durable writes a second of so many bytes, so many in flight, to a preallocated file: sequential, as a
/// log writes. `None` if there is no fio.
pub(crate) fn durable_writes(
    folder: &Path,
    bytes: u64,
    in_flight: u64,
    seconds: u64,
) -> io::Result<Option<f64>> {
    let folder = tempfile::Builder::new().prefix("fio-").tempdir_in(folder)?;
    let mut command = Command::new("fio");
    command.args([
        "--name=durable",
        "--rw=write",
        "--ioengine=io_uring",
        "--direct=1",
        "--sync=dsync",
    ]);
    command.args([
        "--fallocate=posix",
        "--time_based",
        "--output-format=json",
        "--overwrite=1",
    ]);
    command.arg(format!("--directory={}", folder.path().display()));
    command.arg(format!("--size={FILE_MIB}m"));
    command.arg(format!("--bs={bytes}"));
    command.arg(format!("--iodepth={in_flight}"));
    command.arg(format!("--runtime={seconds}"));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("fio: {errors}")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.find('{').map_or("", |at| &text[at..]); // warnings may stand before it
    let report: Value = serde_json::from_str(json).map_err(io::Error::other)?;
    Ok(report["jobs"][0]["write"]["iops"].as_f64())
}
