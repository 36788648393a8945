//! The nodes of one history: each with a wire, a clock and a condition, and all that can be done to one of them.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use karst_tests::server::Server;
use karst_tests::spec::{Namespace, ServerSpec};
use rustix::process::{Signal, kill_process};

use super::Setting;
use super::clock::Clock;
use crate::data::{is_stable, wait_until_stable};
use crate::operate::karst;
use crate::wires::Wires;

/// Wires: one more than any cluster here begins with.
pub(crate) const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// How long an order to the cluster is repeated until it is taken.
const ORDER_MAX: Duration = Duration::from_secs(60);

/// How long a node may take to give away what it holds.
const DRAIN_MAX: &str = "20s";

/// Whether a process can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Up,
    Frozen,
    Down,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) condition: Condition,
    clock: Clock,
}

/// All nodes, each in its place; a place may be empty.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) wires: Wires,
    places: Vec<Option<Node>>,
    setting: Setting,
}

impl Nodes {
    /// A cluster that has formed and is settled.
    pub(crate) fn formed(wires: &Wires, setting: Setting) -> Nodes {
        let mut nodes = Nodes {
            wires: wires.clone(),
            places: vec![],
            setting,
        };
        for at in 0..setting.nodes {
            let node = nodes.prepared(at);
            nodes.places.push(Some(node));
        }
        nodes.places.push(None);
        let seeds = nodes.seeds();
        for node in nodes.places.iter_mut().flatten() {
            let told = |spec: ServerSpec| spec.set("cluster", "seeds", &seeds);
            node.server.reconfigure(told);
            node.server.start();
        }
        nodes.settle();
        nodes
    }

    fn prepared(&self, at: usize) -> Node {
        let setting = self.setting;
        let namespace = match setting.on_devices {
            true => Namespace::device("test").size("64MiB"),
            false => Namespace::memory("test").size("64MiB"),
        };
        let namespace = namespace
            .set("mode", &format!("{:?}", setting.mode))
            .set("replication_factor", &setting.copies.to_string());
        let spec = ServerSpec::new()
            .set("node", "name", &format!("{:?}", NAMES[at]))
            .set("cluster", "name", "\"test\"")
            .set("cluster", "bootstrap_expect", &setting.nodes.to_string())
            .namespace(namespace);
        let clock = Clock::new();
        Node {
            server: self.wires.placed(at, clock.given_to(spec)),
            condition: Condition::Up,
            clock,
        }
    }

    fn seeds(&self) -> String {
        let addresses = self.places.iter().flatten();
        let addresses = addresses.map(|node| format!("\"{}\"", node.server.admin()));
        format!("[{}]", addresses.collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn on_devices(&self) -> bool {
        self.setting.on_devices
    }

    pub(crate) fn servers(&self) -> Vec<&Server> {
        let nodes = self.places.iter().flatten();
        nodes.map(|node| &node.server).collect()
    }

    /// Places of nodes.
    pub(crate) fn present(&self) -> Vec<usize> {
        let places = 0..self.places.len();
        places.filter(|at| self.places[*at].is_some()).collect()
    }

    /// Places of nodes that can answer.
    pub(crate) fn up(&self) -> Vec<usize> {
        let present = self.present().into_iter();
        present
            .filter(|at| self.node(*at).condition == Condition::Up)
            .collect()
    }

    /// The first place without a node.
    pub(crate) fn vacant(&self) -> Option<usize> {
        self.places.iter().position(Option::is_none)
    }

    fn node(&self, at: usize) -> &Node {
        self.places[at].as_ref().expect("a node is in this place")
    }

    fn node_mut(&mut self, at: usize) -> &mut Node {
        self.places[at].as_mut().expect("a node is in this place")
    }

    /// The node that leads the group, as the first that can answer believes.
    pub(crate) fn leader(&self) -> Option<usize> {
        let asked = *self.up().first()?;
        let output = karst(&self.node(asked).server, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let leader = status["cluster"]["leader"].as_str()?;
        NAMES.iter().position(|name| *name == leader)
    }

    pub(crate) fn kill(&mut self, at: usize) {
        let node = self.node_mut(at);
        node.server.kill9();
        node.condition = Condition::Down;
    }

    /// As if its machine had lost power.
    pub(crate) fn lose_power(&mut self, at: usize) {
        self.kill(at);
        self.node(at).server.forget_memory();
    }

    pub(crate) fn stop(&mut self, at: usize) {
        let node = self.node_mut(at);
        node.server.stop_early();
        node.condition = Condition::Down;
    }

    pub(crate) fn start(&mut self, at: usize) {
        let node = self.node_mut(at);
        node.server.start();
        node.condition = Condition::Up;
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.stop(at);
        self.start(at);
        self.node_mut(at).server.wait_until_serving();
    }

    pub(crate) fn freeze(&mut self, at: usize) {
        let node = self.node_mut(at);
        kill_process(node.server.pid(), Signal::STOP).expect("it is our own");
        node.condition = Condition::Frozen;
    }

    pub(crate) fn thaw(&mut self, at: usize) {
        let node = self.node_mut(at);
        kill_process(node.server.pid(), Signal::CONT).expect("it is our own");
        node.condition = Condition::Up;
    }

    pub(crate) fn set_clock(&mut self, at: usize, ahead_ms: i64) {
        self.node(at).clock.set(ahead_ms);
    }

    /// Cuts exactly these ways.
    pub(crate) fn cut(&self, ways: &[(usize, usize)]) {
        self.wires.heal();
        for (from, to) in ways {
            self.wires.cut_one_way(*from, *to);
        }
    }

    /// A new node in an empty place.
    pub(crate) fn join(&mut self, at: usize) {
        let others = self.seeds();
        let mut node = self.prepared(at);
        let told = |spec: ServerSpec| spec.set("cluster", "seeds", &others);
        node.server.reconfigure(told);
        node.server.start();
        self.places[at] = Some(node);
    }

    /// Gives an order to the nodes but this one that can answer, until one takes it. Says whether one did.
    fn order(&self, but: usize, arguments: &[&str]) -> bool {
        let mut others = self.up().into_iter().filter(|at| *at != but);
        others.any(|at| karst(&self.node(at).server, arguments).status.success())
    }

    fn order_until_taken(&self, but: usize, arguments: &[&str]) -> bool {
        let deadline = Instant::now() + ORDER_MAX;
        while Instant::now() < deadline {
            if self.order(but, arguments) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        false
    }

    pub(crate) fn drain(&self, at: usize) -> bool {
        self.order(at, &["drain", NAMES[at], "--json"])
    }

    pub(crate) fn undo_drain(&self, at: usize) -> bool {
        self.order(at, &["drain", NAMES[at], "--undo", "--json"])
    }

    /// Lets a node leave in order. If it cannot give everything away it goes on giving: it is drained.
    pub(crate) fn leave(&mut self, at: usize) -> bool {
        let drain = [
            "drain",
            NAMES[at],
            "--wait",
            "--timeout",
            DRAIN_MAX,
            "--json",
        ];
        if !self.order(at, &drain) {
            return false;
        }
        self.stop(at);
        let removed = self.order_until_taken(at, &["remove", NAMES[at], "--json"]);
        assert!(removed, "nobody forgets {}, which was drained", NAMES[at]);
        self.places[at] = None;
        true
    }

    /// Waits until all nodes serve.
    pub(crate) fn wait_until_serving(&mut self) {
        for node in self.places.iter_mut().flatten() {
            node.server.wait_until_serving();
        }
    }

    /// Whether all nodes count all, and no copy is on its way.
    pub(crate) fn are_whole(&self) -> bool {
        let servers = self.servers();
        let answers = |it: &&Server| TcpStream::connect(it.service()).is_ok(); // it may just be starting
        servers.iter().all(answers) && is_stable(&servers)
    }

    /// Waits until all nodes count all, and no copy is on its way.
    pub(crate) fn settle(&mut self) {
        self.wait_until_serving();
        wait_until_stable(&self.servers());
    }
}
