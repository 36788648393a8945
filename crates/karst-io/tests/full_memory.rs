//! A memory file system that is full: an error, and never the end of the process.
//!
//! The test runs itself again as another process, for which a folder holds 4 MiB: a file system of its
//! own where the kernel lets us mount one, else a limit on the size of files.

use std::env;
use std::path::Path;
use std::process::Command;

use karst_io::buffer::Region;
use karst_io::shm::SharedFile;

const ROOM_BYTES: usize = 4 << 20;

/// Runs `$2`, the test `$3` of this program, where folder `$1` is small.
const SCRIPT: &str = r#"
small='mount -t tmpfs -o size=4m none "$1"'
if unshare --user --map-root-user --mount sh -c "$small" sh "$1" 2>/dev/null; then
    exec unshare --user --map-root-user --mount \
        sh -c "$small"' && exec "$2" --exact "$3" --nocapture' sh "$1" "$2" "$3"
fi
trap "" XFSZ # else a file that grows too long ends the process
ulimit -f 8192 # of 512 bytes
exec "$2" --exact "$3" --nocapture
"#;

#[test]
fn a_full_memory_file_system_is_an_error_and_what_is_backed_can_be_used() {
    const NAME: &str = "a_full_memory_file_system_is_an_error_and_what_is_backed_can_be_used";
    if let Some(folder) = env::var_os("KARST_TEST_SMALL_FOLDER") {
        return fill(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .args([folder.path(), &env::current_exe().unwrap(), Path::new(NAME)])
        .env("KARST_TEST_SMALL_FOLDER", folder.path())
        .output()
        .unwrap();
    let output = [done.stdout, done.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    assert!(done.status.success(), "{}: {output}", done.status);
    assert!(output.contains("refused after"), "it was not run: {output}");
}

/// Takes all the folder has, and touches every page of it.
fn fill(folder: &Path) {
    let file = SharedFile::open(folder.join("region")).unwrap();
    let region = Region::shared(file, 64 << 20).unwrap();
    let step = 300 << 10;
    let steps = (1..)
        .take_while(|at| region.back(at * step).is_ok())
        .count();
    let refused = region.back((steps + 1) * step).unwrap_err();
    println!("refused after {steps} steps: {refused}");
    assert!(region.backed_bytes() >= steps * step);
    assert!((ROOM_BYTES - 2 * step..=ROOM_BYTES).contains(&region.backed_bytes()));
    for at in (0..region.backed_bytes()).step_by(4096) {
        // SAFETY: backed, and nothing else uses the region.
        unsafe { region.as_ptr().as_ptr().add(at).write(1) };
    }
    region.back(steps * step).unwrap();
}
