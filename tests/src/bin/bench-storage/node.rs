//! One `karstd` on one file, and `karst bench` as its load.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use karst_tests::{Namespace, Server, ServerSpec, binary};
use serde_json::Value;

/// Name of the namespace.
const NAMESPACE: &str = "test";

/// How often free blocks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A node under load.
pub(crate) struct Node {
    server: Server,
}

/// What to load it with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) keys: u64,
    pub(crate) read_percent: u64,
    pub(crate) connections: u64,
    pub(crate) seconds: u64,
    pub(crate) object_bytes: u64,
}

/// A number inside a JSON value; 0 where there is none.
pub(crate) fn number(value: &Value, path: &[&str]) -> f64 {
    let found = path.iter().fold(value, |value, name| &value[*name]);
    found.as_f64().unwrap_or(0.0)
}

/// One of the counters of writes in a namespace's status.
pub(crate) fn counter(status: &Value, name: &str) -> f64 {
    number(status, &["writes", name])
}

impl Node {
    /// A node with one core for each CPU on a file of so many MiB.
    pub(crate) fn start(device_mib: u64, commit_to_device: bool, cache: &str) -> Node {
        let namespace = Namespace::device(NAMESPACE)
            .size(&format!("{device_mib}MiB"))
            .storage("commit_to_device", &commit_to_device.to_string())
            .storage("scrub_rate", "\"off\"")
            .storage("post_write_cache", &format!("\"{cache}\""));
        let server = ServerSpec::new().cores(0).namespace(namespace).start();
        Node { server }
    }

    fn bench(&self, load: &Load, more: &[&str]) -> io::Result<Child> {
        let mut command = Command::new(binary::karst());
        command.args([
            "bench",
            "--json",
            "--namespace",
            NAMESPACE,
            "--set",
            "bench",
        ]);
        command.args(["--host", &self.server.admin().to_string()]);
        for (name, value) in [
            ("--keys", load.keys),
            ("--read-percent", load.read_percent),
            ("--connections", load.connections),
            ("--seconds", load.seconds),
            ("--object-bytes", load.object_bytes),
        ] {
            command.args([name, &value.to_string()]);
        }
        command
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        command.spawn()
    }

    fn outcome(child: Child) -> io::Result<Value> {
        let output = child.wait_with_output()?;
        let parsed = serde_json::from_slice(&output.stdout);
        parsed.map_err(|error| {
            io::Error::other(format!("karst bench ended {}: {error}", output.status))
        })
    }

    /// Writes every key once.
    pub(crate) fn fill(&self, load: &Load) -> io::Result<()> {
        let load = Load {
            seconds: 1,
            ..*load
        };
        Node::outcome(self.bench(&load, &["--load", "--pipeline", "16"])?).map(|_| ())
    }

    /// Overwrites until clients have written at least so many bytes.
    pub(crate) fn overwrite_at_least(&self, load: &Load, bytes: u64) -> io::Result<()> {
        let from = counter(&self.status()?, "client_bytes_total");
        let load = Load {
            seconds: 5,
            ..*load
        };
        while counter(&self.status()?, "client_bytes_total") - from < bytes as f64 {
            Node::outcome(self.bench(&load, &["--pipeline", "4"])?)?;
        }
        Ok(())
    }

    /// Loads it and returns what `karst bench` says.
    pub(crate) fn load(&self, load: &Load) -> io::Result<Value> {
        Node::outcome(self.bench(load, &[])?)
    }

    /// As `load`, with the number of free blocks over time.
    pub(crate) fn load_watched(&self, load: &Load) -> io::Result<(Value, Vec<u64>)> {
        let mut child = self.bench(load, &[])?;
        let mut free = Vec::new();
        while child.try_wait()?.is_none() {
            free.push(number(&self.status()?, &["space", "blocks_free"]) as u64);
            std::thread::sleep(LOOK_EVERY);
        }
        Ok((Node::outcome(child)?, free))
    }

    /// Two loads at the same time.
    pub(crate) fn load_beside(&self, one: &Load, other: &Load) -> io::Result<(Value, Value)> {
        let (one, other) = (self.bench(one, &[])?, self.bench(other, &[])?);
        Ok((Node::outcome(one)?, Node::outcome(other)?))
    }

    /// What the node says of the namespace.
    pub(crate) fn status(&self) -> io::Result<Value> {
        let mut command = Command::new(binary::karst());
        command.args([
            "namespaces",
            "--json",
            "--host",
            &self.server.admin().to_string(),
        ]);
        let output = command.output()?;
        let mut all: Value = serde_json::from_slice(&output.stdout).map_err(io::Error::other)?;
        Ok(all[0].take())
    }
}
