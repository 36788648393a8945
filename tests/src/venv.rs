//! The Python environment of the official client: made once, in `tests/compat/.venv`, then only looked at.
//!
//! It is ready when its marker holds the same text as `requirements.txt`. A lock on that
//! file lets one test make it while others wait, whether they are threads or processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `tests/compat`.
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/compat"))
}

/// The interpreter of an environment that holds what `requirements.txt` names.
///
/// # Panics
/// When it cannot be made, with what is missing.
pub fn python() -> PathBuf {
    let venv = folder().join(".venv");
    let python = venv.join("bin/python");
    let requirements = folder().join("requirements.txt");
    let lock = File::open(&requirements).expect("requirements.txt is beside this file");
    lock.lock().expect("a file can be locked"); // until this function returns
    let wanted = fs::read_to_string(&requirements).expect("a file just opened can be read");
    let marker = venv.join("ready");
    if fs::read_to_string(&marker).is_ok_and(|made| made == wanted) {
        return python;
    }
    if !python.is_file() {
        make(&venv);
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    let output = run(pip.arg(&requirements));
    assert!(
        output.status.success(),
        "the official Python client could not be installed (it needs CPython 3.10 or newer on Linux, and a \
         package index or its mirror):\n{}",
        text(&output)
    );
    fs::write(&marker, wanted).expect("the environment takes files");
    python
}

/// Makes an empty environment. Debian keeps the module for it in a package of its own.
fn make(venv: &Path) {
    let attempt = || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(venv))
    };
    let first = attempt();
    if first.status.success() {
        return;
    }
    if rustix::process::geteuid().is_root() {
        run(Command::new("apt-get").args(["install", "--yes", "python3-venv"]));
        let second = attempt();
        assert!(
            second.status.success(),
            "python3 cannot make an environment, even after `apt-get install python3-venv`:\n{}",
            text(&second)
        );
        return;
    }
    panic!(
        "python3 cannot make an environment; on Debian and Ubuntu install the package python3-venv:\n{}",
        text(&first)
    );
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| {
        panic!("{} cannot be run: {error}", command.get_program().display())
    })
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}
