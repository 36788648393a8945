//! One real `karstd`: a process, its folder, its ports and its log.
//!
//! ```text
//! ServerSpec::start -> ready ----------------> kill9 or stop -> down -> restart -> ready ...
//!                        \-- Drop: kill -9
//! ServerSpec::start_to_exit -> the exit code and the log of a server that should refuse to start
//! ```
//!
//! Invariants
//!   ports and folder stay the same over restarts, so that clients find it again
//!   only the process that was started here is ever signalled
//!   every wait ends: by what was waited for, or by a panic that shows the end of the log

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, OpenOptions};
use std::hash::BuildHasher as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binary;
use crate::raw::Connection;
use crate::spec::{Namespace, Ports, ServerSpec};

/// How long a server may take until it serves. Recovery of a test's small devices is a part of it.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to stop when it is told to.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// How often a start is tried when another process took one of the ports just found free.
const PORT_TRIES: usize = 5;

/// Lines of the log that a failing test shows.
const TAIL_LINES: usize = 60;

/// A running, or stopped, server.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    folder: TempDir,
    /// Memory that outlives the process; on a memory file system where there is one.
    shm: TempDir,
    ports: Ports,
    child: Option<Child>,
}

impl ServerSpec {
    /// Starts a server and waits until it serves.
    ///
    /// # Panics
    /// When it does not, with the end of its log.
    pub fn start(self) -> Server {
        let mut server = Server::prepare(self);
        for _ in 1..PORT_TRIES {
            server.spawn();
            match server.wait_until_ready() {
                Ok(()) => return server,
                Err(NotReady::Exited(_)) if server.log().contains("cannot listen on") => {
                    server.ports = ports(&server.spec);
                    server.write_config();
                }
                Err(not_ready) => server.fail(&not_ready.to_string()),
            }
        }
        server.fail("no free ports were found")
    }

    /// Starts a server and waits for nothing: for one that looks for others which are not there yet.
    ///
    /// # Panics
    /// When no process can be had.
    pub fn launch(self) -> Server {
        let mut server = Server::prepare(self);
        server.spawn();
        server
    }

    /// A server that is yet to be started, with its ports, so that others can be told of them.
    ///
    /// # Panics
    /// When no folder can be had.
    pub fn prepare(self) -> Server {
        Server::prepare(self)
    }

    /// Starts a server that should refuse to, and waits for its end. The server that is returned is
    /// down, with its log to look at.
    ///
    /// # Panics
    /// When it serves nevertheless, or does neither in time.
    pub fn start_to_exit(self) -> (ExitStatus, Server) {
        let mut server = Server::prepare(self);
        let status = server.restart_to_exit();
        (status, server)
    }
}

/// Why a server is not ready.
#[derive(Debug)]
enum NotReady {
    Exited(ExitStatus),
    TooSlow,
}

impl std::fmt::Display for NotReady {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotReady::Exited(status) => write!(out, "karstd ended instead of serving: {status}"),
            NotReady::TooSlow => write!(out, "karstd does not serve after {READY_MAX:?}"),
        }
    }
}

impl Server {
    fn prepare(spec: ServerSpec) -> Server {
        let folder = tempfile::Builder::new().prefix("karst-test-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let shm = tempfile::Builder::new()
            .prefix("karst-test-")
            .tempdir_in("/dev/shm");
        let shm = shm.or_else(|_| tempfile::Builder::new().prefix("karst-shm-").tempdir());
        let shm = shm.expect("a temporary folder can be made");
        let ports = ports(&spec);
        let server = Server {
            spec,
            folder,
            shm,
            ports,
            child: None,
        };
        server.write_config();
        server
    }

    fn write_config(&self) {
        let text = self
            .spec
            .to_toml(self.folder(), self.shm.path(), &self.ports);
        fs::write(self.config_path(), text).expect("the temporary folder takes files");
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server is running already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the temporary folder takes files");
        let errors = log.try_clone().expect("a file can be held twice");
        let program = binary::karstd();
        let mut command = match self.spec.network() {
            None => Command::new(&program),
            Some(network) => {
                let mut within = Command::new("ip"); // which becomes the program
                within.args(["netns", "exec", &network.name]).arg(&program);
                within
            }
        };
        let child = command
            .arg("--config")
            .arg(self.config_path())
            .env("NO_COLOR", "1")
            .envs(self.spec.variables().iter().cloned())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        self.child = Some(child);
    }

    fn wait_until_ready(&mut self) -> Result<(), NotReady> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if let Some(status) = self.exited() {
                return Err(NotReady::Exited(status));
            }
            if self.is_ready() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(NotReady::TooSlow);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.http("/readyz"), Ok((200, _)))
    }

    /// How the process ended, if it has.
    fn exited(&mut self) -> Option<ExitStatus> {
        let status = self
            .child
            .as_mut()?
            .try_wait()
            .expect("a child can be waited for")?;
        self.child = None;
        Some(status)
    }

    /// Kills the process as a crash would: nothing is flushed, nothing is said.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the server is running");
        child.kill().expect("a running child can be killed");
        let status = child.wait().expect("a child can be waited for");
        assert_eq!(
            status.signal(),
            Some(9),
            "it had ended before it was killed: {status}"
        );
    }

    /// Asks the process to end, and waits until it has.
    ///
    /// # Panics
    /// When it is not running, takes more than 20 s, or ends with another code than 0.
    pub fn stop(&mut self) {
        let status = self.terminate();
        if status.code() != Some(0) {
            self.fail(&format!("karstd ended with {status} after SIGTERM"));
        }
    }

    /// As [`stop`](Server::stop), of a process that may have begun a moment ago: before it listens for signals it ends
    /// by this one.
    ///
    /// # Panics
    /// As [`stop`](Server::stop).
    pub fn stop_early(&mut self) {
        let status = self.terminate();
        if status.code() != Some(0) && status.signal() != Some(Signal::TERM.as_raw()) {
            self.fail(&format!("karstd ended with {status} after SIGTERM"));
        }
    }

    fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid();
        kill_process(pid, Signal::TERM).expect("a running child can be signalled");
        self.wait_for_exit(STOP_MAX)
    }

    /// Starts a server that is down and waits for nothing.
    ///
    /// # Panics
    /// When it is running.
    pub fn start(&mut self) {
        self.spawn();
    }

    /// Whether its process was started and has not ended, by itself or otherwise.
    pub fn is_running(&mut self) -> bool {
        self.exited().is_none() && self.child.is_some()
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it does not, with the end of its log.
    pub fn wait_until_serving(&mut self) {
        if let Err(not_ready) = self.wait_until_ready() {
            self.fail(&not_ready.to_string());
        }
    }

    /// Gives a server that is down other ports, as a node on another machine has.
    ///
    /// # Panics
    /// When it is running.
    pub fn move_ports(&mut self) {
        assert!(self.child.is_none(), "the server is running");
        self.ports = ports(&self.spec);
        self.write_config();
    }

    /// Starts a stopped or killed server again, at the same ports with the same files, and waits until
    /// it serves.
    ///
    /// # Panics
    /// When it is running, or does not serve.
    pub fn restart(&mut self) {
        self.spawn();
        if let Err(not_ready) = self.wait_until_ready() {
            self.fail(&not_ready.to_string());
        }
    }

    /// Takes away what the memory file system holds of a server that is down, as a restart of the machine
    /// does.
    ///
    /// # Panics
    /// When it is running.
    pub fn forget_memory(&self) {
        assert!(self.child.is_none(), "the server is running");
        for entry in fs::read_dir(self.shm.path()).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            fs::remove_dir_all(path).expect("what a server left can be removed");
        }
    }

    /// Takes the checkpoints of a server that is down away.
    ///
    /// # Panics
    /// When it is running.
    pub fn forget_checkpoints(&self) {
        assert!(self.child.is_none(), "the server is running");
        // There are none before the first was written.
        let _ = fs::remove_dir_all(self.data_dir().join("checkpoint"));
    }

    /// Starts a server again that should refuse to, and waits for its end.
    ///
    /// # Panics
    /// When it serves nevertheless, or does neither in time.
    pub fn restart_to_exit(&mut self) -> ExitStatus {
        self.spawn();
        match self.wait_until_ready() {
            Err(NotReady::Exited(status)) => status,
            Ok(()) => self.fail("karstd serves, though it should have refused to start"),
            Err(NotReady::TooSlow) => self.fail("karstd neither serves nor ends"),
        }
    }

    /// Changes the configuration of a server that is down; it counts from the next start.
    ///
    /// # Panics
    /// When it is running.
    pub fn reconfigure(&mut self, change: impl FnOnce(ServerSpec) -> ServerSpec) {
        assert!(self.child.is_none(), "the server is running");
        self.spec = change(std::mem::take(&mut self.spec));
        self.write_config();
    }

    fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            if Instant::now() >= deadline {
                self.fail(&format!("karstd has not ended after {limit:?}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the server is running"))
    }

    /// The client port.
    pub fn service(&self) -> SocketAddr {
        self.ports.service
    }

    /// The port between nodes.
    pub fn fabric(&self) -> SocketAddr {
        self.ports.fabric
    }

    /// The gRPC port.
    pub fn admin(&self) -> SocketAddr {
        self.ports.admin
    }

    /// The HTTP port.
    pub fn http_address(&self) -> SocketAddr {
        self.ports.http
    }

    /// The folder of everything that belongs to this server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder().join("karst.toml")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// One of a namespace's files, counted from 0.
    ///
    /// # Panics
    /// When there is no such namespace.
    pub fn file(&self, namespace: &str, number: usize) -> PathBuf {
        let named = |other: &&Namespace| other.name() == namespace;
        let namespace = self
            .spec
            .namespaces()
            .iter()
            .find(named)
            .expect("a namespace of this name");
        namespace.file(self.folder(), number)
    }

    /// Where its log goes, over all restarts.
    pub fn log_path(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// Everything it has logged, over all restarts.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Opens a plain connection to the client port.
    ///
    /// # Panics
    /// When that fails.
    pub fn connect(&self) -> Connection {
        let connection = Connection::open(self.service());
        connection.unwrap_or_else(|error| self.fail(&format!("no connection: {error}")))
    }

    /// The answer to one text command.
    ///
    /// # Panics
    /// When there is none.
    pub fn info(&self, command: &str) -> String {
        match self.connect().info(&[command]) {
            Ok(mut values) => values.remove(0),
            Err(error) => self.fail(&format!("info {command:?}: {error}")),
        }
    }

    /// What `karst` prints with these arguments, which ask for JSON.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn karst(&self, arguments: &[&str]) -> serde_json::Value {
        let output = Command::new(binary::karst())
            .args(["--host", &self.admin().to_string()])
            .args(arguments)
            .output();
        let output = output.expect("karst can be run");
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            self.fail(&format!("karst {arguments:?}: {text}"));
        }
        serde_json::from_slice(&output.stdout).expect("karst prints JSON")
    }

    /// Status and body of a page of the HTTP port.
    ///
    /// # Errors
    /// When nobody answers there within 2 s, or with something else than HTTP.
    pub fn http(&self, path: &str) -> io::Result<(u16, String)> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&self.ports.http, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let host = self.ports.http;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse_http(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Bytes of memory that the process holds now.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("the status tells VmRSS in kB") << 10
    }

    /// File descriptors that the process holds now.
    ///
    /// # Panics
    /// When it is not running.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        fs::read_dir(path)
            .expect("a running process has descriptors")
            .count()
    }

    /// The last lines of the log.
    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Copies the whole log to the folder `KARST_KEEP_LOGS`, if one is set.
    fn keep_log(&self) {
        if let Some(folder) = std::env::var_os("KARST_KEEP_LOGS") {
            let address = self.ports.service;
            let name = format!("{}-{}.log", address.ip(), address.port());
            let kept = fs::write(Path::new(&folder).join(name), self.log());
            kept.unwrap_or_else(|error| eprintln!("the log cannot be kept: {error}"));
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}"); // the log is shown when the server is dropped
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "---- end of the log of karstd at {}\n{}",
                self.ports.service,
                self.tail()
            );
        }
        self.keep_log();
    }
}

/// Ports that the kernel gives to nobody by itself, so that no outgoing connection takes one before its server does.
const OWN_PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Ports that this process has given out. None is given twice: a server that is prepared first and started last
/// listens to nothing in between.
static GIVEN_PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Where a server is to listen: in a network of its own at the usual ports, since nobody else is there.
fn ports(spec: &ServerSpec) -> Ports {
    let Some(network) = spec.network() else {
        return free_ports();
    };
    let [service, fabric, admin, http] =
        std::array::from_fn(|at| SocketAddr::from((network.address, 3000 + at as u16)));
    Ports {
        service,
        fabric,
        admin,
        http,
    }
}

/// Four ports that were free a moment ago.
fn free_ports() -> Ports {
    let [service, fabric, admin, http] = std::array::from_fn(|_| free_port());
    Ports {
        service,
        fabric,
        admin,
        http,
    }
}

fn free_port() -> SocketAddr {
    let mut given = GIVEN_PORTS
        .lock()
        .expect("nobody panics while holding the ports");
    loop {
        let random = RandomState::new().hash_one(std::process::id());
        let port = OWN_PORTS.start + (random % OWN_PORTS.len() as u64) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && given.insert(port) {
            return address;
        }
    }
}

fn parse_http(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}
