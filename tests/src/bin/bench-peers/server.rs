//! The servers of the comparison: which are here, how each is started, and their end.
//!
//! Each gets one thread for requests, a free port of the loopback address, no persistence (the row that
//! is about Karst's device excepted), and more memory than its records need.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use karst_tests::{Namespace, Server, ServerSpec};

use super::dialect::{Dialect, NAMESPACE};

/// How long a peer may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(20);

/// Pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// Room for each record besides its value, in whatever server: keys, headers, links, slack.
const OVERHEAD_BYTES: usize = 300;

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Karst's memory engine.
    Karst,
    /// Karst on a file with direct I/O, nothing kept in memory for reads.
    KarstDevice,
    /// memcached.
    Memcached,
    /// redis-server.
    Redis,
    /// valkey-server.
    Valkey,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Kind::Karst => "karst",
            Kind::KarstDevice => "karst, device",
            Kind::Memcached => "memcached",
            Kind::Redis => "redis-server",
            Kind::Valkey => "valkey-server",
        })
    }
}

/// The servers that can be started here, and the programs that are missing.
pub(crate) fn installed() -> (Vec<Kind>, Vec<&'static str>) {
    let mut kinds = vec![Kind::Karst];
    let mut missing = vec![];
    for kind in [Kind::Memcached, Kind::Redis, Kind::Valkey] {
        match kind.program().and_then(version) {
            Some(_) => kinds.push(kind),
            None => missing.extend(kind.program()),
        }
    }
    kinds.push(Kind::KarstDevice);
    (kinds, missing)
}

/// What to type to have the missing ones; nothing if none is missing. Their packages in Debian and
/// Ubuntu have the names of the programs.
pub(crate) fn how_to_install(missing: &[&str]) -> Option<String> {
    (!missing.is_empty()).then(|| format!("sudo apt-get install --yes {}", missing.join(" ")))
}

/// The first line that a program says about its version; none if it cannot be run.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

/// A server that was started here; ends when dropped.
pub(crate) enum Running {
    /// A node, with its folder.
    Karst(Box<Server>),
    /// Another's process.
    Peer(Peer),
}

/// Another's process.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Running::Karst(server) => server.service(),
            Running::Peer(peer) => peer.address,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Running::Karst(server) => server.pid().as_raw_nonzero().get().unsigned_abs(),
            Running::Peer(peer) => peer.child.id(),
        }
    }
}

impl Kind {
    /// How it is asked.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Kind::Karst | Kind::KarstDevice => Dialect::Karst,
            Kind::Memcached => Dialect::Memcached,
            Kind::Redis | Kind::Valkey => Dialect::Resp,
        }
    }

    fn program(self) -> Option<&'static str> {
        match self {
            Kind::Karst | Kind::KarstDevice => None,
            Kind::Memcached => Some("memcached"),
            Kind::Redis => Some("redis-server"),
            Kind::Valkey => Some("valkey-server"),
        }
    }

    /// What is known of its version.
    pub(crate) fn version(self) -> String {
        let of_program = self.program().and_then(version);
        of_program.unwrap_or_else(|| format!("karstd {}", env!("CARGO_PKG_VERSION")))
    }

    /// Starts it with room for `keys` values and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(self, keys: u64, value_bytes: usize) -> io::Result<Running> {
        let data_bytes = keys * (value_bytes + OVERHEAD_BYTES) as u64;
        let mib = 3 * (data_bytes >> 20) + 256; // overwriting needs room as well
        match self {
            Kind::Karst => Ok(karst(
                Namespace::memory(NAMESPACE).size(&format!("{mib}MiB")),
            )),
            Kind::KarstDevice => Ok(karst(
                Namespace::device(NAMESPACE)
                    .size(&format!("{mib}MiB"))
                    .storage("commit_to_device", "false")
                    .storage("post_write_cache", "\"0B\""),
            )),
            Kind::Memcached => peer(|port| memcached(port, mib)),
            Kind::Redis => peer(|port| redis("redis-server", port)),
            Kind::Valkey => peer(|port| redis("valkey-server", port)),
        }
    }
}

fn karst(namespace: Namespace) -> Running {
    Running::Karst(Box::new(
        ServerSpec::new().cores(1).namespace(namespace).start(),
    ))
}

fn memcached(port: u16, mib: u64) -> Command {
    let mut command = Command::new("memcached");
    let connections_max = "2048";
    command.args(["--listen=127.0.0.1", "--threads=1", "--user=root"]);
    command.args([format!("--port={port}"), format!("--memory-limit={mib}")]);
    command.arg(format!("--conn-limit={connections_max}"));
    command
}

fn redis(program: &str, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--io-threads", "1"]);
    command
}

/// Starts another's server on a port that was free a moment ago.
fn peer(command: impl Fn(u16) -> Command) -> io::Result<Running> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let quiet = Stdio::null;
    let child = command(port)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut peer = Peer { child, address };
    let deadline = Instant::now() + START_MAX;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = peer.child.try_wait()? {
            return Err(io::Error::other(format!(
                "it ended instead of serving: {status}"
            )));
        }
        if Instant::now() >= deadline {
            return Err(io::Error::other(format!(
                "it does not serve after {START_MAX:?}"
            )));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Running::Peer(peer))
}
