//! Runs the tests in `python/` against real servers, and makes sure that they did run.

use std::process::Command;

use karst_tests::{Io, Namespace, Server, ServerSpec, venv};

/// Sets with rules of their own, for `test_lives.py`.
const SETS: &str = r#"[
    { name = "hundred", default_ttl = "100s" },
    { name = "touched", read_touch_percent = 100 },
    { name = "three", stop_writes_count = 3 },
    { name = "small", stop_writes_bytes = "2KiB" },
]"#;

fn server(io: Io) -> Server {
    let sets = SETS.replace('\n', " "); // a table within an array stands on one line
    ServerSpec::new()
        .cores(2)
        .io(io)
        .namespace(Namespace::device("disk").size("128MiB").set("set", &sets))
        .namespace(Namespace::memory("mem").set("set", &sets))
        .start()
}

/// Runs pytest and returns how many tests passed.
///
/// # Panics
/// When one failed or was skipped, or fewer ran than there should be, with pytest's output.
fn pytest(server: &Server, namespaces: &str, files: &[&str], tests_min: u32) -> u32 {
    let folder = venv::folder().join("python");
    let output = Command::new(venv::python())
        .args([
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "--maxfail=20",
            "--color=no",
        ])
        .args(files)
        .current_dir(&folder)
        .env("KARST_HOST", server.service().ip().to_string())
        .env("KARST_PORT", server.service().port().to_string())
        .env("KARST_NAMESPACES", namespaces)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the environment's python can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = all_passed(&text);
    if let Some(passed) = passed.filter(|passed| output.status.success() && *passed >= tests_min) {
        return passed;
    }
    panic!(
        "pytest ended with {}; {tests_min} tests or more should have passed and none been skipped\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Reads pytest's last line, `123 passed in 4.56s`; `None` if it tells of anything but passes.
fn all_passed(text: &str) -> Option<u32> {
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let (count, time) = last.split_once(" passed in ")?;
    if time.contains(',') {
        None
    } else {
        count.parse().ok()
    }
}

#[test]
fn the_official_python_client_works_with_io_uring() {
    let mut server = server(Io::Ring);
    let passed = pytest(&server, "disk,mem", &[], 600);
    println!("{passed} tests of the official Python client passed on io_uring");
    server.stop();
}

#[test]
fn the_official_python_client_works_with_device_threads() {
    let mut server = server(Io::Threads);
    let files = [
        "test_records.py",
        "test_operate.py",
        "test_batch.py",
        "test_truncate.py",
    ];
    let passed = pytest(&server, "disk", &files, 75);
    println!("{passed} tests of the official Python client passed on device threads");
    server.stop();
}

#[test]
fn the_official_python_client_sees_writes_stopped_and_records_evicted() {
    let full = Namespace::device("full")
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .set("stop_writes_used_percent", "20");
    let evicts = Namespace::memory("evicts")
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .set("evict_used_percent", "20")
        .set("evict_tenths_percent", "50")
        .set("max_ttl", "\"1d\"")
        .set("apply_ttl_reductions", "false");
    let mut server = ServerSpec::new().namespace(full).namespace(evicts).start();
    pytest(&server, "full,evicts", &["limits.py"], 5);
    server.stop();
}

#[test]
fn only_a_run_in_which_every_test_passed_counts() {
    assert_eq!(all_passed("...\n\n12 passed in 3.45s\n"), Some(12));
    for text in [
        "",
        "no tests ran in 0.01s",
        "1 failed, 11 passed in 3.45s",
        "11 passed, 1 skipped in 3.45s",
        "11 passed, 2 warnings in 3.45s",
        "1 error in 0.10s",
    ] {
        assert_eq!(all_passed(text), None, "{text}");
    }
}
