//! Processes of the official Python client that note every request and its answer: `official.py`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use karst_tests::linear::Operation;
use karst_tests::linear::operation::read_file;
use karst_tests::server::Server;
use karst_tests::venv;
use tempfile::TempDir;

/// Numbers of the clients of one process; those of Karst's own client are below.
const CLIENTS: u32 = 1000;

/// How long a process may take to answer its last requests, write down what it noted, and end.
const END_MAX: Duration = Duration::from_secs(60);

/// A running `official.py`.
pub(crate) struct Official {
    child: Child,
    history: PathBuf,
    /// Of `history`.
    _folder: TempDir,
}

impl Official {
    /// Starts the process of this number, from 1, which asks so many requests a second.
    pub(crate) fn start(
        servers: &[&Server],
        seed: u64,
        number: u32,
        rate: u32,
        linearize: u32,
    ) -> Official {
        let hosts: Vec<_> = servers.iter().map(|it| it.service().to_string()).collect();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let history = folder.path().join("history");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/linear/official.py");
        let mut child = Command::new(venv::python())
            .arg(program)
            .env("KARST_HOSTS", hosts.join(","))
            .env("KARST_HISTORY", &history)
            .env("KARST_SEED", seed.to_string())
            .env("KARST_FIRST", (number * CLIENTS).to_string())
            .env("KARST_RATE", rate.to_string())
            .env("KARST_LINEARIZE", linearize.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the environment's python can be run");
        let output = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let official = Official {
            child,
            history,
            _folder: folder,
        };
        read.expect("its output is UTF-8");
        assert_eq!(line, "ready\n");
        official
    }

    /// Lets it end. Returns what it noted.
    pub(crate) fn end(mut self) -> Vec<Operation> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + END_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the official client hangs");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "the official client ended with {status}");
        read_file(&self.history).expect("it noted operations")
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended by itself, if all went well
        let _ = self.child.wait();
    }
}
