//! A node without threads and doors, for tests of what only looks at one.
//!
//! It has two namespaces: `test` in memory and `disk` on a file. Core 0 is the test's own thread.

use std::sync::Arc;

use karst_cluster::map::{NamespaceMap, Ownership, Regime};
use karst_cluster::node::{NamespaceFacts, NodeFacts};
use karst_cluster::state::{Activation, Change, ClusterState, Command};
use karst_data::flat::Seal;
use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::Ttl;
use karst_data::value::Value;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::write::{Hand, WriteRequest};
use karst_engine::{Namespace, NamespaceConfig, Step};
use karst_io::QueueKind;
use karst_io::device::{Device, OpenOptions};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::{DeviceGeometry, Log, LogConfig, Purpose};
use tempfile::TempDir;

use crate::config::{self, Config, Engine, HostPort, Inputs, Mode};
use crate::control::Cluster;
use crate::counters::CoreCounters;
use crate::failures::Failures;
use crate::marks::Marks;
use crate::node::{
    ClusterId, Doors, IoReport, Live, NamespaceState, Node, NodeId, Parts, State, now,
};

/// Position of the namespace in memory.
pub(crate) const TEST: usize = 0;

/// Position of the namespace on a file.
pub(crate) const DISK: usize = 1;

/// Size of the file of namespace `disk`.
pub(crate) const DISK_BYTES: u64 = 2 << 20;

/// A node and the folder it lives in.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) dir: TempDir,
}

impl World {
    /// A node that serves.
    pub(crate) fn serving() -> World {
        let world = World::starting();
        world.node.set_state(State::Serving);
        world
    }

    /// A node that is not ready yet.
    pub(crate) fn starting() -> World {
        World::made("ap")
    }

    /// A node that serves, whose namespace `test` is strongly consistent.
    pub(crate) fn strong() -> World {
        let world = World::made("cp");
        world.node.set_state(State::Serving);
        world
    }

    /// A node that serves and sees the cluster in this state. `generation` has to rise.
    pub(crate) fn sees(&self, state: ClusterState) {
        let engines = self.node.namespaces.iter().map(|it| &it.engine);
        let engines: Vec<_> = engines.collect();
        self.node.sights.put_into_force(Arc::new(state), &engines);
    }

    /// What the node sees now.
    pub(crate) fn state(&self) -> ClusterState {
        (*self.node.sights.now().state).clone()
    }

    /// What nodes that the cluster has beside this one tell of themselves.
    pub(crate) fn another(&self, id: u64) -> Command {
        let state = self.state();
        let me = &state.nodes[&self.node.id].facts;
        Command::Admit(NodeFacts {
            id: NodeId(id),
            name: format!("n{}", NodeId(id)),
            rack: 0,
            ..me.clone()
        })
    }

    fn made(mode: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir, mode);
        let namespaces = config.namespaces.iter().map(namespace).collect();
        let parts = Parts {
            id: NodeId(0xbb9_0200_11ac_4202),
            cluster_id: ClusterId(*b"0123456789abcdef"),
            cluster: cluster(&config),
            namespaces,
            cores: 2,
            doors: doors(),
            io: IoReport {
                kind: QueueKind::Threads,
                fallback_reason: Some("refused for the test".into()),
            },
            marks: Marks::load(dir.path()).unwrap(),
            failures: Failures::load(dir.path()).unwrap(),
            config,
        };
        let node = Node::new(parts);
        let world = World { node, dir };
        let mut state = alone(&world.node);
        world.sees(state.clone());
        if mode == "cp" {
            activate(&mut state);
            world.sees(state);
        }
        world
    }

    /// Counters of the first core.
    pub(crate) fn core(&self) -> &CoreCounters {
        &self.node.cores[0]
    }

    /// Writes a record with one integer bin.
    pub(crate) fn put(&self, position: usize, set: &str, key: i64) {
        let engine = &self.node.namespaces[position].engine;
        let request = WriteRequest {
            digest: Digest::of(set.as_bytes(), KeyBytes::Integer(key)),
            set: set.as_bytes(),
            key: None,
            exists: Exists::Any,
            generation: GenerationRule::Any,
            ttl: Ttl::Default,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"a", Some(Value::integer(key)))],
            filter: None,
        };
        let lane = engine.log().write_lane(0);
        let hand = Hand {
            lane,
            now: now(),
            flush_clock_ms: 0,
            regime: FIRST_REGIME,
            replicated: false,
        };
        let written = engine.write(&hand, &request, None, |written| written.is_ok());
        assert!(matches!(written, Step::Done(true)), "{written:?}");
    }

    /// Whether a record is there.
    pub(crate) fn is_there(&self, position: usize, set: &str, key: i64) -> bool {
        let request = ReadRequest {
            digest: Digest::of(set.as_bytes(), KeyBytes::Integer(key)),
            set: set.as_bytes(),
            key: None,
            need: Need::Facts,
            filter: None,
        };
        let engine = &self.node.namespaces[position].engine;
        let read = engine.read(now(), &request, None, |found| found.is_ok());
        matches!(read, Step::Done(true))
    }

    /// Lets a write to the file of `disk` fail.
    pub(crate) fn fail_disk(&self) {
        let log = self.node.namespaces[DISK].engine.log();
        let lane = log.write_lane(0);
        let nothing = |_: &mut [u8], _: &Seal| {};
        log.append(lane, Purpose::Record, 64, 0, nothing).unwrap();
        log.flush(lane, 0);
        let mut writes = Vec::new();
        log.take_writes(lane, &mut writes);
        writes.iter().for_each(|write| log.written(write, false));
    }
}

fn config(dir: &TempDir, mode: &str) -> Config {
    let path = dir.path().display();
    let text = format!(
        "[node]\nname = \"n1\"\ndata_dir = \"{path}\"\nrack = 7\n[cluster]\nname = \"prod\"\n\
         [[namespace]]\nname = \"test\"\nmode = \"{mode}\"\nmax_record_size = \"32KiB\"\n\
         [namespace.storage]\nengine = \"memory\"\nsize = \"4MiB\"\nwrite_block = \"64KiB\"\n\
         [[namespace]]\nname = \"disk\"\nmax_record_size = \"32KiB\"\ndefault_ttl = \"1h\"\n\
         [namespace.storage]\nengine = \"device\"\nwrite_block = \"64KiB\"\n\
         devices = [ {{ path = \"{path}/disk.dat\", size = \"{DISK_BYTES}\" }} ]\n"
    );
    let inputs = Inputs {
        file: Some(("karst.toml".into(), text)),
        ..Inputs::default()
    };
    config::from_inputs(&inputs).unwrap()
}

/// A cluster of this node alone.
fn cluster(config: &Config) -> Cluster {
    let namespaces = config.namespaces.iter();
    let namespaces = namespaces.map(|namespace| NamespaceFacts {
        name: namespace.name.clone(),
        replication_factor: namespace.replication_factor,
        volatile: false,
        strong: namespace.mode == Mode::Cp,
    });
    let me = NodeFacts {
        id: NodeId(0xbb9_0200_11ac_4202),
        incarnation: 0,
        name: "n1".into(),
        fabric: String::new(),
        control: "127.0.0.1:3102".into(),
        service: vec!["10.0.0.1:3100".into()],
        rack: 7,
        namespaces: namespaces.collect(),
    };
    let mut state = ClusterState::default();
    state.apply(Command::Found(ClusterId(*b"0123456789abcdef")));
    state.apply(Command::Admit(me.clone()));
    Cluster::standing(me, state)
}

fn doors() -> Doors {
    let local = |port| format!("127.0.0.1:{port}").parse().unwrap();
    let advertised = |host: &str| HostPort {
        host: host.into(),
        port: 3100,
    };
    Doors {
        service: local(3100),
        admin: local(3102),
        http: local(3103),
        fabric: local(3101),
        advertised: vec![advertised("10.0.0.1"), advertised("fe80::1")],
    }
}

fn namespace(config: &config::Namespace) -> NamespaceState {
    let block_bytes = config.storage.write_block as u32;
    let (devices, geometry) = match &config.storage.engine {
        Engine::Memory { size } => {
            let blocks = (size / config.storage.write_block) as u32;
            (
                vec![],
                DeviceGeometry {
                    number: 0,
                    blocks,
                    sector_bytes: 512,
                },
            )
        }
        Engine::Device { devices, .. } => {
            let how = OpenOptions {
                size_bytes: devices[0].size,
                create: true,
                ..OpenOptions::default()
            };
            let device = Device::open(&devices[0].path, &how).unwrap();
            let blocks = (device.size_bytes() / config.storage.write_block) as u32 - 1;
            let sector_bytes = device.sector_bytes();
            (
                vec![Arc::new(device)],
                DeviceGeometry {
                    number: 1,
                    blocks,
                    sector_bytes,
                },
            )
        }
    };
    let log = LogConfig {
        on_devices: !devices.is_empty(),
        block_bytes,
        devices: vec![geometry],
        cores: 2,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    };
    let engine = NamespaceConfig {
        name: config.name.clone(),
        default_ttl_s: config
            .life
            .default_ttl
            .map_or(0, |ttl| ttl.as_secs() as u32),
        record_bytes_max: config.max_record_size as usize,
        commit_to_device: false,
        flush_ms_max: 1000,
        strong: config.mode == Mode::Cp,
    };
    let arena = Arc::new(EntryArena::new(1 << 20).unwrap());
    let log = Log::new(log).unwrap();
    log.set_live_percent_max(config.life.limits.stop_used_percent);
    let engine = Namespace::new(engine, log, arena, HashKey([1, 2]))
        .with_life(&crate::limits::engine_life(&config.life));
    NamespaceState {
        life: Live::new(config.life.clone()),
        config: config.clone(),
        engine,
        devices,
        cached: vec![],
        restart: crate::restart::Restart::default(),
        checkpoint: crate::checkpoint::State::default(),
        upkeep: Default::default(),
    }
}

/// The state of a cluster of one.
fn alone(node: &Node) -> ClusterState {
    let namespaces = node.namespaces.iter().map(|namespace| NamespaceFacts {
        name: namespace.config.name.clone(),
        replication_factor: namespace.config.replication_factor,
        volatile: false,
        strong: namespace.config.mode == Mode::Cp,
    });
    let mut state = ClusterState::default();
    state.apply(Command::Admit(NodeFacts {
        id: node.id,
        incarnation: 0,
        name: node.config.node.name.clone(),
        fabric: String::new(),
        control: String::new(),
        service: Vec::new(),
        rack: node.config.node.rack,
        namespaces: namespaces.collect(),
    }));
    let change = |name: &str, id: PartitionId| Change {
        namespace: name.to_owned(),
        partition: id.0,
        expected: Regime(0),
        row: vec![node.id],
        in_sync: vec![node.id],
        apart: Vec::new(),
    };
    let names = node
        .namespaces
        .iter()
        .map(|namespace| &namespace.config.name);
    let changes = names.flat_map(|name| PartitionId::all().map(move |id| change(name, id)));
    state.apply(Command::Repartition(changes.collect()));
    state
}

/// Activates every regime that waits for it.
pub(crate) fn activate(state: &mut ClusterState) {
    let waiting = |(name, map): (&String, &NamespaceMap)| {
        let of = |(id, it): (PartitionId, &Ownership)| Activation {
            namespace: name.clone(),
            partition: id.0,
            regime: it.regime,
        };
        let partitions = PartitionId::all().zip(&map.partitions);
        let waiting = partitions.filter(|(_, it)| !it.prior.is_empty());
        waiting.map(of).collect::<Vec<_>>()
    };
    let activations = state.maps.iter().flat_map(waiting).collect();
    state.apply(Command::Activate(activations));
}
