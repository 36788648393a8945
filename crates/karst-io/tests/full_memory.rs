//! A memory file system that is full: an error, and never the end of the process.
//!
//! The test runs itself again as another process, for which a folder holds 8 MiB: a file system of its
//! own where the kernel lets us mount one, else a limit on the size of files.

use std::env;
use std::path::Path;
use std::process::Command;

use karst_io::buffer::Region;
use karst_io::shm::SharedFile;

const ROOM_BYTES: usize = 8 << 20;

const SCRIPT: &str = include_str!("small_folder.sh");

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
    let region = Region::shared(file, 68 << 20).unwrap();
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
