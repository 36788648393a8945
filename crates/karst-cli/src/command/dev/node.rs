//! One `karstd` of `karst dev`, from its configuration file to its exit.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::args::{Dev, Mode};
use crate::failure::{Failure, Outcome};

/// Longest wait until a node serves: a cold start reads its whole device first.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Between two looks at whether it serves.
const READY_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for one look.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for an orderly stop; then the node is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a node's log is shown when it ends by itself.
const LOG_TAIL_BYTES: u64 = 2000;

/// The ports of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) service: u16,
    pub(super) fabric: u16,
    pub(super) admin: u16,
    pub(super) http: u16,
}

impl Ports {
    /// Four ports for each of so many nodes that were free a moment ago. Someone may take one before the
    /// node does; it then says so and does not start.
    pub(super) fn free(nodes: usize) -> Outcome<Vec<Ports>> {
        // All are held until all are known, so that no two are the same.
        let mut held = Vec::new();
        let mut next = || {
            let listener = TcpListener::bind("127.0.0.1:0");
            let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (address, listener) =
                bound.map_err(|error| Failure::failed(format!("free ports: {error}")))?;
            held.push(listener);
            Ok(address.port())
        };
        let mut ports = || {
            Ok(Ports {
                service: next()?,
                fabric: next()?,
                admin: next()?,
                http: next()?,
            })
        };
        (0..nodes).map(|_| ports()).collect()
    }
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) ports: Ports,
    pub(super) pid: u32,
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Writes the configuration of the node of this number, the first being 1, and starts it; it does not
    /// serve yet. `seeds` are the admin ports of all nodes.
    pub(super) fn start(
        karstd: &Path,
        folder: &Path,
        args: &Dev,
        number: usize,
        ports: Ports,
        seeds: &[u16],
    ) -> Outcome<Node> {
        let name = format!("n{number}");
        let home = folder.join(&name);
        let (file, log) = (home.join("karst.toml"), home.join("karstd.log"));
        let explain = |what: &Path, error: std::io::Error| {
            Failure::failed(format!("{}: {error}", what.display()))
        };
        std::fs::create_dir_all(&home).map_err(|error| explain(&home, error))?;
        let text = config(&name, &home, args, &ports, seeds)?;
        std::fs::write(&file, text).map_err(|error| explain(&file, error))?;
        let output = File::create(&log).map_err(|error| explain(&log, error))?;
        let errors = output.try_clone().map_err(|error| explain(&log, error))?;
        let mut command = Command::new(karstd);
        command
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        for (variable, _) in std::env::vars_os() {
            // This shell's overrides are meant for another node.
            if variable
                .to_str()
                .is_some_and(|name| name.starts_with("KARST_"))
            {
                command.env_remove(variable);
            }
        }
        let child = command.spawn().map_err(|error| explain(karstd, error))?;
        let pid = child.id().unwrap_or_default(); // known until it was waited for
        Ok(Node {
            name,
            ports,
            pid,
            child,
            log,
        })
    }

    /// Waits until the node serves.
    pub(super) async fn ready(&mut self) -> Outcome {
        let port = self.ports.http;
        let poll = async {
            while !probe(port).await {
                tokio::time::sleep(READY_PAUSE).await;
            }
        };
        tokio::select! {
            () = poll => Ok(()),
            status = self.child.wait() => Err(self.epitaph(status)),
            () = tokio::time::sleep(READY_TIMEOUT) => Err(Failure::failed(format!(
                "{} does not serve after {} s; its log ends with\n{}",
                self.name,
                READY_TIMEOUT.as_secs(),
                log_tail(&self.log)
            ))),
        }
    }

    /// Waits for the node to end by itself, which it should not.
    pub(super) async fn ended(&mut self) -> Failure {
        let status = self.child.wait().await;
        self.epitaph(status)
    }

    /// Stops the node in order: it flushes and marks its devices clean. Kills it if that takes too
    /// long. A node that has already ended is fine.
    pub(super) async fn stop(mut self) -> Outcome {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return Ok(());
        }
        // The process has not been waited for, so the id is still its own.
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(Failure::failed)?;
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(self.epitaph(status)),
            Err(_) => {
                self.child.kill().await.map_err(Failure::failed)?;
                Err(Failure::failed(format!(
                    "{} did not stop within {} s and was killed",
                    self.name,
                    STOP_TIMEOUT.as_secs()
                )))
            }
        }
    }

    fn epitaph(&self, status: std::io::Result<std::process::ExitStatus>) -> Failure {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::failed(format!(
            "{} ended ({how}); its log ends with\n{}",
            self.name,
            log_tail(&self.log)
        ))
    }
}

/// The configuration of one node. Where it is tried out nobody takes the power away, and a file need not be filled
/// with zeros first.
fn config(name: &str, home: &Path, args: &Dev, ports: &Ports, seeds: &[u16]) -> Outcome<String> {
    let text = |value: &str| serde_json::to_string(value).map_err(Failure::failed); // TOML's strings agree
    let path = |file: &str| match home.join(file).to_str() {
        Some(path) => text(path),
        None => Err(Failure::failed(format!("{} is not UTF-8", home.display()))),
    };
    Ok(format!(
        "# Written by `karst dev` at each start.\n\
         [node]\nname = {name}\ndata_dir = {data}\nshm_dir = {shm}\n\
         [service]\nlisten = \"127.0.0.1:{}\"\n\
         [fabric]\nlisten = \"127.0.0.1:{}\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n\
         [http]\nlisten = \"127.0.0.1:{}\"\n\
         [cluster]\nname = \"dev\"\nseeds = [{seeds}]\nbootstrap_expect = {expect}\n\
         [[namespace]]\nname = {namespace}\nmode = {mode}\nreplication_factor = {factor}\n\
         [namespace.storage]\nengine = \"device\"\n{commit}\
         devices = [ {{ path = {device}, size = {size} }} ]\n",
        ports.service,
        ports.fabric,
        ports.admin,
        ports.http,
        name = text(name)?,
        // One alone needs nobody.
        seeds = seeds
            .iter()
            .filter(|_| seeds.len() > 1)
            .map(|port| format!("\"127.0.0.1:{port}\""))
            .collect::<Vec<_>>()
            .join(", "),
        expect = seeds.len(),
        mode = match args.mode {
            Mode::Ap => "\"ap\"",
            Mode::Cp => "\"cp\"",
        },
        commit = match args.commit_to_device {
            None => String::new(),
            Some(commit) => format!("commit_to_device = {commit}\n"),
        },
        factor = seeds.len().min(args.replication_factor.into()),
        data = path("data")?,
        shm = path("shm")?, // in the folder that goes at the end, with everything else
        namespace = text(&args.namespace)?,
        device = path(&format!("{}.dat", args.namespace))?,
        size = text(&args.device_size)?,
    ))
}

/// Whether `GET /readyz` answers 200.
async fn probe(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut start = [0; 12]; // "HTTP/1.1 200"
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(start)
    };
    matches!(
        tokio::time::timeout(PROBE_TIMEOUT, ask).await,
        Ok(Ok(start)) if start.starts_with(b"HTTP/1.") && start.ends_with(b" 200")
    )
}

/// The end of a node's log, for whoever wants to know why it is gone.
fn log_tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(namespace: &str) -> Dev {
        Dev {
            nodes: 1,
            replication_factor: 2,
            mode: Mode::Ap,
            commit_to_device: None,
            dir: None,
            namespace: namespace.into(),
            device_size: "64MiB".into(),
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("karstd");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn one() -> Ports {
        Ports::free(1).unwrap().remove(0)
    }

    #[test]
    fn nodes_of_one_cluster_know_each_other_and_keep_two_copies() {
        let ports = one();
        let text = config("n2", Path::new("/tmp/x"), &args("test"), &ports, &[7, 8, 9]).unwrap();
        for line in [
            "seeds = [\"127.0.0.1:7\", \"127.0.0.1:8\", \"127.0.0.1:9\"]",
            "bootstrap_expect = 3",
            "mode = \"ap\"\nreplication_factor = 2",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let text = config("n1", Path::new("/tmp/x"), &args("test"), &ports, &[7]).unwrap();
        assert!(text.contains("seeds = []\nbootstrap_expect = 1"), "{text}");
    }

    #[test]
    fn free_ports_are_four_different_ones_for_each_node() {
        let ports = Ports::free(3).unwrap();
        let of = |it: &Ports| [it.service, it.fabric, it.admin, it.http];
        let mut all: Vec<u16> = ports.iter().flat_map(of).collect();
        assert_eq!(all.len(), 12);
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    #[test]
    fn what_was_typed_cannot_break_out_of_its_string() {
        let ports = one();
        let nasty = "a\"\n[node]\nname = \"x";
        let text = config(
            "n1",
            Path::new("/tmp/with \"quotes\""),
            &args(nasty),
            &ports,
            &[ports.admin],
        )
        .unwrap();
        assert_eq!(text.matches("\n[node]\n").count(), 1, "{text}");
        assert!(
            text.contains(r#"data_dir = "/tmp/with \"quotes\"/data""#),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_node_that_ends_before_it_serves_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let karstd = script(folder.path(), "echo no such device >&2; exit 1");
        let ports = one();
        let seeds = [ports.admin];
        let mut node =
            Node::start(&karstd, folder.path(), &args("test"), 1, ports, &seeds).unwrap();
        let failure = node.ready().await.unwrap_err();
        let message = failure.message().unwrap();
        assert!(message.contains("no such device"), "{message}");
        assert_eq!(node.stop().await, Ok(()));
    }

    #[tokio::test]
    async fn a_node_is_stopped_by_sigterm_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("stopped");
        let text = format!(
            "trap 'touch {}; exit 0' TERM\ntouch {}\nwhile :; do sleep 0.01; done",
            mark.display(),
            folder.path().join("up").display()
        );
        let karstd = script(folder.path(), &text);
        let ports = one();
        let seeds = [ports.admin];
        let node = Node::start(&karstd, folder.path(), &args("test"), 1, ports, &seeds).unwrap();
        while !folder.path().join("up").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(node.stop().await, Ok(()));
        assert!(mark.exists(), "it was killed, not asked");
    }

    #[tokio::test]
    async fn only_a_200_is_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            };
            let (found, ()) = tokio::join!(probe(port), serve);
            assert_eq!(found, ready, "{answer:?}");
        }
    }
}
