//! A process is killed while it changes the index; what does the next one find?
//!
//! Three ways to ask: every state that an undo can be left in, made by hand; every instruction of each
//! kind of change, one by one, in a child process that is traced; and children at full speed, killed at
//! random.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

mod anytime;
mod stepped;
mod undone;

/// Runs the test `name` of this program as another process, with `KARST_TEST_CHILD` set to `what`, and
/// reads what it prints until it says that it is ready, and with which number.
fn child(name: &str, folder: &Path, what: &str) -> (Child, u32) {
    let name = format!("index::attach::tests::killed::{name}");
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", &name, "--nocapture"])
        .env("KARST_TEST_CHILD", what)
        .env("KARST_TEST_FOLDER", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let ready = output.lines().map_while(Result::ok);
    let number = ready
        .into_iter()
        .find_map(|line| line.strip_prefix("ready ")?.parse().ok());
    (child, number.expect("the child is ready"))
}

/// What [`child`] was told, if this is one; it ends with its parent, whose test may fail.
fn told() -> Option<(String, std::path::PathBuf)> {
    let what = env::var("KARST_TEST_CHILD").ok()?;
    // SAFETY: asks for a signal, and touches no memory.
    let asked = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    assert_eq!(asked, 0);
    Some((what, env::var_os("KARST_TEST_FOLDER")?.into()))
}

fn say_ready(number: u32) {
    println!("\nready {number}");
}
