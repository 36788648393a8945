//! Everything a client can send that it should not, against a live node. Each is answered with its
//! documented code or the connection is closed; a well-behaved client notices nothing; memory and
//! descriptors return to what they were.

mod frames;
mod pressure;

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use karst_tests::{Connection, Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;

use crate::client::{code_of, connect, value, version_of};

/// How long a node may take to let go of what a client held.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// Memory that a node may keep after all clients are gone: allocators do not give everything back.
const KEPT_BYTES_MAX: u64 = 96 << 20;

/// What a node holds while it has nothing to do.
struct Rest {
    descriptors: usize,
    resident_bytes: u64,
}

/// A node with a namespace in memory and one on a device whose reads reach the device.
fn server() -> Server {
    let slow = Namespace::device("slow").storage("post_write_cache", "\"0B\"");
    let memory = Namespace::memory("test");
    let spec = ServerSpec::new().cores(2).namespace(memory).namespace(slow);
    spec.set("service", "connections_max", "5000").start()
}

impl Rest {
    /// What the node holds now, after it has served something: the least that is seen for a while, as
    /// the connections of a moment ago go away.
    fn of(server: &Server) -> Rest {
        check_normal_client(server, 1);
        let look = |_| {
            std::thread::sleep(Duration::from_millis(10));
            server.descriptors()
        };
        let descriptors = (0..30).map(look).min().expect("it was looked");
        Rest {
            descriptors,
            resident_bytes: server.resident_bytes(),
        }
    }

    /// A normal client is served, and the node comes to rest again.
    fn check(&self, server: &Server) {
        check_normal_client(server, 2);
        let deadline = Instant::now() + RELEASE_MAX;
        let more = || {
            let descriptors = server.descriptors().saturating_sub(self.descriptors);
            let bytes = server.resident_bytes().saturating_sub(self.resident_bytes);
            (descriptors > 0 || bytes > KEPT_BYTES_MAX).then_some((descriptors, bytes))
        };
        while let Some((descriptors, bytes)) = more() {
            assert!(
                Instant::now() < deadline,
                "the node keeps {descriptors} descriptors and {bytes} bytes"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Writes and reads as a client does that knows nothing of the others.
fn check_normal_client(server: &Server, version: u64) {
    for namespace in ["test", "slow"] {
        let mut client = connect(server, namespace);
        for key in 900_000..900_020 {
            let code = client
                .put(key, &value(key, version, 300))
                .expect("an answer");
            assert_eq!(code, ResultCode::Ok);
            let found = client
                .get(key)
                .expect("an answer")
                .expect("it was just written");
            assert_eq!(version_of(key, &found), version);
        }
    }
}

/// How a node took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It answered with this code.
    Code(ResultCode),
    /// It answered an info request.
    Text,
    /// It closed the connection.
    Closed,
}

/// What comes next on a connection.
///
/// # Panics
/// When nothing does: neither an answer nor the end.
fn outcome(connection: &mut Connection) -> Outcome {
    match connection.read_frame() {
        Ok(None) => Outcome::Closed,
        Ok(Some(frame)) if frame.kind == karst_tests::raw::INFO => Outcome::Text,
        Ok(Some(frame)) if frame.kind == karst_tests::raw::ADMIN => {
            let code = frame.body.get(1).copied().and_then(ResultCode::from_u8);
            Outcome::Code(code.expect("a documented result code"))
        }
        Ok(Some(frame)) => Outcome::Code(code_of(&frame)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Outcome::Closed,
        Err(error) => panic!("neither an answer nor the end of the connection: {error}"),
    }
}

/// Sends bytes and says that no more will come. Returns all outcomes up to the end.
fn send_and_hang_up(server: &Server, bytes: &[u8]) -> Vec<Outcome> {
    let mut connection = server.connect();
    // The node may close before it has read everything; that is an outcome too.
    let _ = connection.send(bytes);
    let _ = connection.stream().shutdown(Shutdown::Write);
    let mut outcomes = Vec::new();
    loop {
        outcomes.push(outcome(&mut connection));
        if outcomes.last() == Some(&Outcome::Closed) {
            return outcomes;
        }
    }
}

/// The most memory that the process ever had at once.
fn peak_bytes(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the status tells VmHWM in kB") << 10
}
