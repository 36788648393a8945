//! Nodes with a network namespace each, and wires between them that can be cut in either direction.
//!
//! ```text
//! the test's own namespace: the test, its client, the bridge `hub` 10.77.0.254
//!     |- a  10.77.0.1   one karstd, and an nft set of the addresses it does not hear
//!     |- b  10.77.0.2   ...
//! ```
//!
//! [`apart`] runs a test once more as a process of its own, in network, mount and process namespaces that nobody
//! else sees. Everything of the test is in them, its nodes' namespaces too, so nothing on the machine is named,
//! bound or changed; and when that process ends, by itself or killed, the kernel ends and forgets all of it.
//! Where a machine refuses namespaces, or has no `ip`, `nft` and `unshare`, the test says so and is not run.
//!
//! What is cut is lost without a word, as on a real wire: no connection is reset. The client always reaches all.

use std::any::type_name;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use karst_tests::server::Server;
use karst_tests::spec::ServerSpec;

use crate::group::{seeds, spec};

/// Says to a process that it is the test's second one, in namespaces of its own.
const INSIDE: &str = "KARST_APART";

/// A user without rights is root in a namespace of its own, where the machine lets him.
const UNSHARE: [&str; 8] = [
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// The file system where `ip` keeps names, which has to be there before and is nobody else's here; and all that a
/// test needs of the kernel.
const PREPARE: &str = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up \
    && ip link add name hub type bridge && ip address add 10.77.0.254/24 dev hub && ip link set hub up";

const TRY: &str = "ip netns add probe && ip link add name probe type veth peer name eth0 netns probe \
    && ip netns exec probe nft add table ip faults";

/// Runs a test in namespaces of its own. `test` is a closure of the test's function, which names it.
///
/// # Panics
/// When the test does, with what it printed.
pub(crate) fn apart(test: impl FnOnce()) {
    if let Some(mut second) = second_process(test) {
        match told(&mut second) {
            Ok(told) if told.contains("1 passed") => println!("{told}"),
            Ok(told) | Err(told) => panic!("{told}"),
        }
    }
}

/// As [`apart`], and shows at once what the test prints.
///
/// # Panics
/// When the test does.
pub(crate) fn apart_aloud(test: impl FnOnce()) {
    if let Some(mut second) = second_process(test) {
        let status = second.status().expect("it was just tried");
        assert!(status.success(), "{status}");
    }
}

/// The process that is to run a test, unless this one is it and has, or there cannot be one.
fn second_process<Test: FnOnce()>(test: Test) -> Option<Command> {
    if std::env::var_os(INSIDE).is_some() {
        shell(PREPARE);
        test();
        return None;
    }
    let tried = told(&mut unshare(&["sh", "-c", &format!("{PREPARE} && {TRY}")]));
    if let Err(why) = tried {
        eprintln!("not run: this machine gives no network namespaces: {why}");
        return None;
    }
    let name = type_name::<Test>();
    let (_, name) = name.split_once("::").expect("a crate and a path in it");
    let name = name.trim_end_matches("::{{closure}}");
    let own = std::env::current_exe().expect("a test knows its own path");
    let own = own.to_str().expect("its path is UTF-8");
    let arguments = [own, "--exact", name, "--nocapture", "--include-ignored"];
    Some(unshare(&arguments))
}

/// A command that is to run in namespaces of its own.
fn unshare(command: &[&str]) -> Command {
    let rights = match rustix::process::geteuid().is_root() {
        true => &UNSHARE[2..],
        false => &UNSHARE,
    };
    let mut unshare = Command::new("setpriv"); // so that it ends with this process, whoever kills that
    unshare.args(["--pdeathsig", "KILL", "unshare"]);
    unshare.args(rights).args(command);
    unshare.env(INSIDE, "1").stdin(Stdio::null());
    unshare
}

/// What a command prints; an error if it fails.
fn told(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    match output.status.success() {
        true => Ok(format!("{out}{err}")),
        false => Err(format!("{out}{err}{}", output.status)),
    }
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output();
    let output = output.expect("a shell can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {told}");
}

/// The nodes' namespaces, by the number of the node.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    names: Vec<String>,
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + at as u8)
}

impl Wires {
    /// A namespace for each of these nodes, all joined.
    pub(crate) fn new(names: &[&str]) -> Wires {
        for (at, name) in names.iter().enumerate() {
            let address = address(at);
            shell(&format!(
                "ip netns add {name}
                 ip link add name to-{name} type veth peer name eth0 netns {name}
                 ip link set to-{name} master hub up
                 ip -netns {name} link set lo up
                 ip -netns {name} address add {address}/24 dev eth0
                 ip -netns {name} link set eth0 up
                 ip netns exec {name} nft -f - <<-'rules'
                 table ip wires {{
                     set cut {{ type ipv4_addr
                     }}
                     chain heard {{
                         type filter hook input priority 0
                         ip saddr @cut drop
                     }}
                 }}
rules"
            ));
        }
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Wires { names }
    }

    /// Servers that have formed a cluster over these wires and serve: the first so many.
    pub(crate) fn formed(&self, nodes: usize) -> Vec<Server> {
        let mut servers = self.prepared(nodes);
        servers.iter_mut().for_each(Server::start);
        servers.iter_mut().for_each(Server::wait_until_serving);
        servers
    }

    /// Servers that are not started, each told of all the others.
    pub(crate) fn prepared(&self, nodes: usize) -> Vec<Server> {
        let mut servers: Vec<Server> = (0..nodes).map(|at| self.server(at, nodes)).collect();
        let seeds = seeds(&servers);
        for server in &mut servers {
            server.reconfigure(|spec| spec.set("cluster", "seeds", &seeds));
        }
        servers
    }

    /// A server that is yet to be started, with nothing on its disk, in one of the namespaces.
    pub(crate) fn server(&self, at: usize, expect: usize) -> Server {
        self.placed(at, spec(&self.names[at], expect))
    }

    /// A server that is yet to be started, configured like this, in one of the namespaces.
    pub(crate) fn placed(&self, at: usize, spec: ServerSpec) -> Server {
        spec.within(&self.names[at], address(at)).prepare()
    }

    /// In which of the namespaces a server runs.
    pub(crate) fn at(&self, server: &Server) -> usize {
        let at = (0..self.names.len()).find(|at| server.service().ip() == address(*at));
        at.expect("it is one of these")
    }

    /// From now on nothing that `from` sends arrives at `to`.
    pub(crate) fn cut_one_way(&self, from: usize, to: usize) {
        self.nft(
            to,
            &format!("add element ip wires cut {{ {} }}", address(from)),
        );
    }

    /// From now on these two do not hear each other.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// From now on nodes hear only those of their own group.
    pub(crate) fn part(&self, groups: &[&[usize]]) {
        let pairs = groups.iter().enumerate().flat_map(|(number, group)| {
            let others = groups[number + 1..].iter().flat_map(|other| other.iter());
            others.flat_map(|other| group.iter().map(|one| (*one, *other)))
        });
        pairs.for_each(|(one, other)| self.cut(one, other));
    }

    /// All hear all again.
    pub(crate) fn heal(&self) {
        (0..self.names.len()).for_each(|at| self.nft(at, "flush set ip wires cut"));
    }

    fn nft(&self, at: usize, rule: &str) {
        shell(&format!("ip netns exec {} nft '{rule}'", self.names[at]));
    }
}
