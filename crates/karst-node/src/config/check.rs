//! From what was written to what can be relied on.
//!
//! Every check that needs no device happens here, and all of them run: whoever fixes a file sees all
//! that is wrong with it at once. A wrong value is noted and its default stands in for it, so later
//! checks have something to work on; with anything noted there is no [`Config`].

mod life;
mod strong;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Errors;
use super::checked::*;
use super::layer::Origins;
use super::quantity::{parse_size, parse_time, print_size, print_time};
use super::raw::*;

const KIB: u64 = 1024;
/// What the scrub reads a second when the configuration does not say.
const SCRUB_RATE: u64 = 4 << 20;

const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The level that Zstandard itself calls its default.
const ZSTD_LEVEL_DEFAULT: u64 = 3;

/// The reference's `background-query-max-rps`.
const BACKGROUND_RPS_MAX: u64 = 10_000;

/// Room that a write block keeps for its own header and padding; records get the rest.
pub(super) const BLOCK_HEADER_ROOM: u64 = 4 * KIB;

/// A log needs blocks to fill, to defragment and to spare.
const BLOCKS_MIN: u64 = 8;

/// A place in the index has 37 bits of 16 bytes.
const DEVICE_BYTES_MAX: u64 = 2048 * GIB;

/// A place in the index has 7 bits of device.
const DEVICES_MAX: usize = 128;

/// Each namespace has 4096 partitions and buffers of its own; the protocol's clients expect as many.
const NAMESPACES_MAX: usize = 32;

/// More copies than this were never asked of a database.
const REPLICATION_FACTOR_MAX: i64 = 8;

/// Ten years, the longest that clients of the protocol may ask for; the void time is 32 bits.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Addresses of other nodes: a few are enough to find all.
const SEEDS_MAX: usize = 64;

/// All that form a cluster vote in it; more join later.
const BOOTSTRAP_EXPECT_MAX: i64 = 7;

/// Eight heartbeats: longer than a pause that is nobody's death, and short for whoever waits.
const SUSPECT_AFTER: Duration = Duration::from_millis(800);

/// Three heartbeats; fewer would mistake one lost message for a death.
const SUSPECT_AFTER_MIN: Duration = Duration::from_millis(300);

/// Most of the two seconds that it usually takes are for clients to hear of it; the rest is for busy machines. Well
/// below what service managers wait before they kill: 30 s in Kubernetes, 90 s in systemd.
const DRAIN_ON_STOP: Duration = Duration::from_secs(10);

/// Levels of the log, from silence to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks everything.
pub(super) fn check(raw: &RawConfig, origins: &Origins, host_name: &str) -> Result<Config, Errors> {
    let mut check = Check {
        origins,
        lines: Vec::new(),
    };
    let config = Config {
        node: check.node(&raw.node, host_name),
        log: check.log(&raw.log),
        service: check.service(&raw.service),
        fabric: check.door("fabric", &raw.fabric, 3001),
        admin: check.door("admin", &raw.admin, 3002),
        http: check.door("http", &raw.http, 3003),
        cluster: check.cluster(&raw.cluster),
        namespaces: check.namespaces(&raw.namespace),
    };
    check.doors_differ(&config);
    check.devices_differ(&config);
    match check.lines.is_empty() {
        true => Ok(config),
        false => Err(Errors { lines: check.lines }),
    }
}

/// Checks what of a namespace may change while the node runs.
pub(super) fn check_life(raw: &RawNamespace, mode: Mode) -> Result<Life, Errors> {
    let origins = Origins::nowhere();
    let mut check = Check {
        origins: &origins,
        lines: Vec::new(),
    };
    let path = "namespace";
    let life = check.life(path, raw);
    if mode == Mode::Cp {
        check.nothing_ends_by_itself(path, &life);
    }
    match check.lines.is_empty() {
        true => Ok(life),
        false => Err(Errors { lines: check.lines }),
    }
}

struct Check<'a> {
    origins: &'a Origins,
    lines: Vec<String>,
}

impl Check<'_> {
    fn node(&mut self, raw: &RawNode, host_name: &str) -> Node {
        let index_entries_max = raw.index_entries_max.map(|_| {
            self.number(
                "node.index_entries_max",
                raw.index_entries_max,
                1,
                1..=u32::MAX.into(),
            )
        });
        Node {
            name: self.name("node.name", raw.name.as_deref(), host_name),
            data_dir: self.path("node.data_dir", raw.data_dir.as_deref(), "/var/lib/karst"),
            cores: self.number("node.cores", raw.cores, 0, 0..=1024) as u32,
            rack: self.number("node.rack", raw.rack, 0, 0..=1_000_000) as u32,
            io: self.choice(
                "node.io",
                raw.io.as_deref(),
                &[
                    ("auto", IoChoice::Auto),
                    ("ring", IoChoice::Ring),
                    ("threads", IoChoice::Threads),
                ],
            ),
            index_entries_max,
            shm_dir: match raw.shm_dir.as_deref() {
                Some("off") => None,
                given => Some(self.path("node.shm_dir", given, "/dev/shm")),
            },
        }
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        let level = raw.level.clone().unwrap_or_else(|| "info".to_owned());
        if let Some(wrong) = wrong_filter(&level) {
            self.refuse(
                "log.level",
                &format!(
                    "\"{wrong}\" is neither a level ({}) nor MODULE=LEVEL",
                    LEVELS.join(", ")
                ),
            );
        }
        Log {
            level,
            format: self.choice(
                "log.format",
                raw.format.as_deref(),
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
        }
    }

    fn service(&mut self, raw: &RawService) -> Service {
        let idle_timeout = self.time(
            "service.idle_timeout",
            raw.idle_timeout.as_deref(),
            Duration::ZERO,
            Duration::ZERO..=TTL_MAX,
        );
        Service {
            listen: self.address("service.listen", raw.listen.as_deref(), 3000),
            advertise: self.advertise(raw.advertise.as_ref()),
            connections_max: self.number(
                "service.connections_max",
                raw.connections_max,
                15_000,
                1..=1_000_000,
            ) as u32,
            idle_timeout: (!idle_timeout.is_zero()).then_some(idle_timeout),
        }
    }

    fn advertise(&mut self, raw: Option<&RawAdvertise>) -> Advertise {
        const PATH: &str = "service.advertise";
        let written: Vec<&str> = match raw {
            None => return Advertise::Auto,
            Some(RawAdvertise::Text(text)) if text == "auto" => return Advertise::Auto,
            Some(RawAdvertise::Text(text)) => text.split(',').collect(),
            Some(RawAdvertise::List(list)) => list.iter().map(String::as_str).collect(),
        };
        let mut addresses = Vec::new();
        for text in written {
            match host_port(text.trim()) {
                Some(address) => addresses.push(address),
                None => self.refuse(
                    PATH,
                    &format!(
                        "\"{text}\" is not HOST:PORT; write \"auto\" or \"db1.example.com:3000\""
                    ),
                ),
            }
        }
        if addresses.is_empty() {
            self.refuse(PATH, "has no address; write \"auto\" or HOST:PORT");
        }
        Advertise::Addresses(addresses)
    }

    fn door(&mut self, section: &str, raw: &RawDoor, port: u16) -> Door {
        Door {
            listen: self.address(&format!("{section}.listen"), raw.listen.as_deref(), port),
        }
    }

    fn cluster(&mut self, raw: &RawCluster) -> Cluster {
        let seeds = raw.seeds.as_deref().unwrap_or_default();
        if seeds.len() > SEEDS_MAX {
            let what = format!("{} seeds are given, {SEEDS_MAX} are enough", seeds.len());
            self.refuse("cluster.seeds", &what);
        }
        Cluster {
            name: self.name("cluster.name", raw.name.as_deref(), "karst"),
            seeds: self.seeds(seeds),
            bootstrap_expect: self.number(
                "cluster.bootstrap_expect",
                raw.bootstrap_expect,
                1,
                1..=BOOTSTRAP_EXPECT_MAX,
            ) as u32,
            suspect_after: self.time(
                "cluster.suspect_after",
                raw.suspect_after.as_deref(),
                SUSPECT_AFTER,
                SUSPECT_AFTER_MIN..=Duration::from_secs(60),
            ),
            drain_on_stop: self.time(
                "cluster.drain_on_stop",
                raw.drain_on_stop.as_deref(),
                DRAIN_ON_STOP,
                Duration::ZERO..=Duration::from_secs(600),
            ),
            fill_rate: match raw.fill_rate.as_deref() {
                None | Some("off") => None,
                written => Some(self.size("cluster.fill_rate", written, 0, 64 * KIB..=64 * GIB)),
            },
        }
    }

    fn seeds(&mut self, written: &[String]) -> Vec<HostPort> {
        let mut seeds = Vec::new();
        for (at, text) in written.iter().enumerate() {
            match host_port(text) {
                Some(seed) => seeds.push(seed),
                None => {
                    let what = format!(
                        "\"{text}\" is not HOST:PORT; write it like \"db1.example.com:3002\", the \
                         admin address of another node"
                    );
                    self.refuse(&format!("cluster.seeds.{at}"), &what);
                }
            }
        }
        seeds
    }

    fn namespaces(&mut self, raw: &[RawNamespace]) -> Vec<Namespace> {
        if raw.is_empty() {
            self.refuse(
                "namespace",
                "there is none; add a [[namespace]] with a name and its storage",
            );
        }
        if raw.len() > NAMESPACES_MAX {
            let found = raw.len();
            self.refuse(
                "namespace",
                &format!("{found} of them; a node has at most {NAMESPACES_MAX}"),
            );
        }
        let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut checked = Vec::new();
        for (at, space) in raw.iter().enumerate() {
            let path = format!("namespace.{at}");
            if let Some(name) = space.name.as_deref()
                && let Some(first) = first_of.insert(name, at)
            {
                self.refuse(
                    &format!("{path}.name"),
                    &format!(
                        "\"{name}\" is already the name of [[namespace]] number {}",
                        first + 1
                    ),
                );
            }
            checked.push(self.namespace(&path, space));
        }
        checked
    }

    fn namespace(&mut self, path: &str, raw: &RawNamespace) -> Namespace {
        let mode = self.mode(&format!("{path}.mode"), raw.mode.as_deref());
        let storage = self.storage(&format!("{path}.storage"), &raw.storage, mode);
        let replication_factor = self.number(
            &format!("{path}.replication_factor"),
            raw.replication_factor,
            2,
            1..=REPLICATION_FACTOR_MAX,
        ) as u8;
        let life = self.life(path, raw);
        if mode == Mode::Cp {
            self.nothing_ends_by_itself(path, &life);
        }
        Namespace {
            name: self.namespace_name(&format!("{path}.name"), raw.name.as_deref()),
            mode,
            replication_factor,
            min_in_sync: self.min_in_sync(
                &format!("{path}.min_in_sync"),
                raw.min_in_sync,
                mode,
                replication_factor,
            ),
            life,
            max_record_size: self.max_record_size(
                &format!("{path}.max_record_size"),
                raw.max_record_size.as_deref(),
                storage.write_block,
            ),
            background_rps_max: self.number(
                &format!("{path}.background_rps_max"),
                raw.background_rps_max,
                BACKGROUND_RPS_MAX,
                1..=1_000_000,
            ) as u32,
            storage,
        }
    }

    fn namespace_name(&mut self, path: &str, written: Option<&str>) -> String {
        let bytes_max = karst_data::key::NAMESPACE_BYTES_MAX;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
        let name = written.unwrap_or_default();
        match name {
            "" => self.refuse(path, "a namespace needs a name"),
            _ if name.len() > bytes_max => self.refuse(
                path,
                &format!(
                    "\"{name}\" has {} bytes; {bytes_max} are allowed",
                    name.len()
                ),
            ),
            _ if !name.bytes().all(allowed) => self.refuse(
                path,
                &format!("\"{name}\" may have only letters, digits, '_', '-' and '$'"),
            ),
            _ => {}
        }
        name.to_owned()
    }

    fn mode(&mut self, path: &str, written: Option<&str>) -> Mode {
        self.choice(path, written, &[("ap", Mode::Ap), ("cp", Mode::Cp)])
    }

    /// A limit as large as the block is taken to mean "as much as a block holds".
    fn max_record_size(&mut self, path: &str, written: Option<&str>, write_block: u64) -> u64 {
        let block_room = write_block - BLOCK_HEADER_ROOM;
        let size = self.size(path, written, block_room.min(MIB), KIB..=8 * MIB);
        if size > write_block {
            self.refuse(
                path,
                &format!(
                    "{} does not fit a write_block of {}",
                    print_size(size),
                    print_size(write_block)
                ),
            );
        }
        size.min(block_room)
    }

    fn storage(&mut self, path: &str, raw: &RawStorage, mode: Mode) -> Storage {
        let write_block = self.write_block(&format!("{path}.write_block"), raw);
        let engine = self.engine(path, raw, write_block);
        let in_memory = matches!(engine, Engine::Memory { .. });
        // Where consistency is strong what was acknowledged outlives a loss of power, unless that is not wanted.
        let default = mode == Mode::Cp && !in_memory;
        let commit_to_device = raw.commit_to_device.unwrap_or(default);
        if commit_to_device && in_memory {
            self.refuse(
                &format!("{path}.commit_to_device"),
                "the memory engine has no device to commit to",
            );
        }
        Storage {
            engine,
            write_block,
            commit_to_device,
            flush_max: self.time(
                &format!("{path}.flush_max"),
                raw.flush_max.as_deref(),
                Duration::from_secs(1),
                Duration::from_millis(1)..=Duration::from_secs(60),
            ),
            defrag_low_water_percent: self.number(
                &format!("{path}.defrag_low_water_percent"),
                raw.defrag_low_water_percent,
                50,
                1..=99,
            ) as u8,
            compression: self.compression(path, raw),
            encryption_key_file: raw.encryption_key_file.as_deref().map(|written| {
                self.path(&format!("{path}.encryption_key_file"), Some(written), "")
            }),
            read_page_cache: raw.read_page_cache.unwrap_or(false),
            post_write_cache: self.size(
                &format!("{path}.post_write_cache"),
                raw.post_write_cache.as_deref(),
                64 * MIB,
                0..=1024 * GIB,
            ),
            scrub_rate: self.scrub_rate(&format!("{path}.scrub_rate"), raw, in_memory),
            checkpoint_period: self.checkpoint_period(path, raw),
        }
    }

    /// Bytes a second, or "off".
    fn scrub_rate(&mut self, path: &str, raw: &RawStorage, in_memory: bool) -> Option<u64> {
        match raw.scrub_rate.as_deref() {
            Some("off") => None,
            _ if in_memory => None,
            written => Some(self.size(path, written, SCRUB_RATE, 64 * KIB..=64 * GIB)),
        }
    }

    fn checkpoint_period(&mut self, path: &str, raw: &RawStorage) -> Option<Duration> {
        match raw.checkpoint_period.as_deref() {
            Some("off") => None,
            written => Some(self.time(
                &format!("{path}.checkpoint_period"),
                written,
                Duration::from_secs(600),
                Duration::from_secs(1)..=Duration::from_secs(86_400),
            )),
        }
    }

    fn write_block(&mut self, path: &str, raw: &RawStorage) -> u64 {
        let size = self.size(path, raw.write_block.as_deref(), MIB, 64 * KIB..=8 * MIB);
        if !size.is_power_of_two() {
            let near = size.next_power_of_two();
            self.refuse(
                path,
                &format!(
                    "{} is not a power of two; {} and {} are",
                    print_size(size),
                    print_size(near / 2),
                    print_size(near)
                ),
            );
            return MIB;
        }
        size
    }

    fn compression(&mut self, path: &str, raw: &RawStorage) -> Compression {
        let kinds = [("none", 0), ("lz4", 1), ("zstd", 2)];
        let kind = self.choice(
            &format!("{path}.compression"),
            raw.compression.as_deref(),
            &kinds,
        );
        let level_path = format!("{path}.compression_level");
        if kind != 2 && raw.compression_level.is_some() {
            self.refuse(&level_path, "only compression = \"zstd\" has levels");
        }
        match kind {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => Compression::Zstd(self.number(
                &level_path,
                raw.compression_level,
                ZSTD_LEVEL_DEFAULT,
                1..=22,
            ) as u8),
        }
    }

    fn engine(&mut self, path: &str, raw: &RawStorage, write_block: u64) -> Engine {
        let in_memory = self.choice(
            &format!("{path}.engine"),
            raw.engine.as_deref(),
            &[("device", false), ("memory", true)],
        );
        let shadowed = raw
            .devices
            .as_ref()
            .is_some_and(|devices| !devices.is_empty());
        match in_memory {
            true if !shadowed => self.memory(path, raw, write_block),
            resident => self.devices(path, raw, write_block, resident),
        }
    }

    fn memory(&mut self, path: &str, raw: &RawStorage, write_block: u64) -> Engine {
        for (key, is_set) in [
            ("encryption_key_file", raw.encryption_key_file.is_some()),
            ("read_page_cache", raw.read_page_cache == Some(true)),
        ] {
            if is_set {
                self.refuse(
                    &format!("{path}.{key}"),
                    "the memory engine has no device; give it devices, or take the key out",
                );
            }
        }
        let size = self.log_size(&format!("{path}.size"), raw.size.as_deref(), write_block);
        Engine::Memory {
            size: size.unwrap_or(GIB),
        }
    }

    fn devices(
        &mut self,
        path: &str,
        raw: &RawStorage,
        write_block: u64,
        resident: bool,
    ) -> Engine {
        if raw.size.is_some() {
            self.refuse(
                &format!("{path}.size"),
                "bounds a memory engine without devices; give each of devices its size",
            );
        }
        let path = format!("{path}.devices");
        let written = raw.devices.as_deref().unwrap_or_default();
        if written.is_empty() {
            self.refuse(
                &path,
                "engine = \"device\" needs at least one, such as \
                 [ { path = \"/dev/nvme0n1\" } ]; for none, set engine = \"memory\"",
            );
        }
        if written.len() > DEVICES_MAX {
            let found = written.len();
            self.refuse(
                &path,
                &format!("{found} of them; a namespace has at most {DEVICES_MAX}"),
            );
        }
        let mut devices = Vec::new();
        for (at, device) in written.iter().enumerate() {
            devices.push(Device {
                path: self.path(&format!("{path}.{at}.path"), device.path.as_deref(), ""),
                size: self.log_size(
                    &format!("{path}.{at}.size"),
                    device.size.as_deref(),
                    write_block,
                ),
                sector_size: self.sector_size(&format!("{path}.{at}.sector_size"), device),
            });
        }
        Engine::Device { devices, resident }
    }

    fn sector_size(&mut self, path: &str, device: &RawDevice) -> Option<u32> {
        match device.sector_size {
            None => None,
            Some(512) => Some(512),
            Some(4096) => Some(4096),
            Some(other) => {
                self.refuse(path, &format!("{other} is neither 512 nor 4096"));
                None
            }
        }
    }

    /// A size that holds a log: whole blocks, and enough of them.
    fn log_size(&mut self, path: &str, written: Option<&str>, write_block: u64) -> Option<u64> {
        written?;
        let size = self.size(
            path,
            written,
            GIB,
            BLOCKS_MIN * write_block..=DEVICE_BYTES_MAX,
        );
        if !size.is_multiple_of(write_block) {
            self.refuse(
                path,
                &format!(
                    "{} is not a whole number of write blocks of {}",
                    print_size(size),
                    print_size(write_block)
                ),
            );
        }
        Some(size)
    }

    /// Two doors cannot share an address. Port 0 is a new port each time.
    fn doors_differ(&mut self, config: &Config) {
        let doors = [
            ("service.listen", config.service.listen),
            ("fabric.listen", config.fabric.listen),
            ("admin.listen", config.admin.listen),
            ("http.listen", config.http.listen),
        ];
        for (at, (path, address)) in doors.iter().enumerate() {
            for (other, taken) in &doors[..at] {
                let same_host = address.ip() == taken.ip()
                    || address.ip().is_unspecified()
                    || taken.ip().is_unspecified();
                if address.port() != 0 && address.port() == taken.port() && same_host {
                    self.refuse(
                        path,
                        &format!("{address} is taken by {other} = \"{taken}\""),
                    );
                }
            }
        }
    }

    /// A device has one owner.
    fn devices_differ(&mut self, config: &Config) {
        let mut owner: BTreeMap<&PathBuf, &str> = BTreeMap::new();
        for (at, space) in config.namespaces.iter().enumerate() {
            let Engine::Device { devices, .. } = &space.storage.engine else {
                continue;
            };
            for (number, device) in devices.iter().enumerate() {
                if let Some(first) = owner.insert(&device.path, &space.name) {
                    self.refuse(
                        &format!("namespace.{at}.storage.devices.{number}.path"),
                        &format!(
                            "{} is already a device of namespace {first}",
                            device.path.display()
                        ),
                    );
                }
            }
        }
    }

    // One value each.

    fn refuse(&mut self, path: &str, what: &str) {
        self.lines.push(self.origins.line(path, what));
    }

    fn size(
        &mut self,
        path: &str,
        written: Option<&str>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        match written.map(parse_size) {
            None => default,
            Some(Ok(size)) if range.contains(&size) => size,
            Some(Ok(size)) => {
                let (low, high) = (print_size(*range.start()), print_size(*range.end()));
                let what = format!("{} is outside {low} to {high}", print_size(size));
                self.refuse(path, &what);
                default
            }
            Some(Err(what)) => {
                self.refuse(path, &what);
                default
            }
        }
    }

    fn time(
        &mut self,
        path: &str,
        written: Option<&str>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        match written.map(parse_time) {
            None => default,
            Some(Ok(time)) if range.contains(&time) => time,
            Some(Ok(time)) => {
                let (low, high) = (print_time(*range.start()), print_time(*range.end()));
                let what = format!("{} is outside {low} to {high}", print_time(time));
                self.refuse(path, &what);
                default
            }
            Some(Err(what)) => {
                self.refuse(path, &what);
                default
            }
        }
    }

    fn number(
        &mut self,
        path: &str,
        written: Option<i64>,
        default: u64,
        range: RangeInclusive<i64>,
    ) -> u64 {
        match written {
            None => default,
            Some(number) if range.contains(&number) => number.unsigned_abs(),
            Some(number) => {
                let what = format!("{number} is outside {} to {}", range.start(), range.end());
                self.refuse(path, &what);
                default
            }
        }
    }

    /// One of a few words; the first is the default.
    fn choice<T: Copy>(&mut self, path: &str, written: Option<&str>, words: &[(&str, T)]) -> T {
        let default = words[0].1;
        let Some(written) = written else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
            return *value;
        }
        let known: Vec<_> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let (last, others) = known.split_last().expect("there is something to choose");
        let known = match others {
            [] => last.clone(),
            others => format!("{} or {last}", others.join(", ")),
        };
        self.refuse(path, &format!("\"{written}\" is not {known}"));
        default
    }

    fn address(&mut self, path: &str, written: Option<&str>, port: u16) -> SocketAddr {
        let default = SocketAddr::from(([0, 0, 0, 0], port));
        match written.map(|text| (text, text.parse())) {
            None => default,
            Some((_, Ok(address))) => address,
            Some((text, Err(_))) => {
                self.refuse(
                    path,
                    &format!(
                        "\"{text}\" is not IP:PORT; write it like \"{default}\" or \"[::]:{port}\""
                    ),
                );
                default
            }
        }
    }

    /// The name of a node or cluster, as it appears in info replies and metrics.
    fn name(&mut self, path: &str, written: Option<&str>, default: &str) -> String {
        let name = written.unwrap_or(default);
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b";:,=/\"\\".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(allowed) {
            self.refuse(
                path,
                &format!(
                    "\"{}\" is no name: 1 to 63 printable ASCII characters without spaces or ;:,=/\"\\",
                    name.escape_debug()
                ),
            );
        }
        name.to_owned()
    }

    fn path(&mut self, path: &str, written: Option<&str>, default: &str) -> PathBuf {
        let text = written.unwrap_or(default);
        if text.is_empty() {
            self.refuse(path, "needs a path");
        } else if text.contains('\0') {
            self.refuse(path, "a path has no zero byte in it");
        }
        PathBuf::from(text)
    }
}

/// The first part of a list of log filters that says nothing.
///
/// The filter's own parser takes any word for the name of a module, so a misspelt level would
/// silence a node without a word; here a lone word must be a level.
fn wrong_filter(filters: &str) -> Option<&str> {
    if tracing_subscriber::EnvFilter::try_new(filters).is_err() {
        return Some(filters);
    }
    filters.split(',').map(str::trim).find(|part| {
        let level = part.rsplit('=').next().unwrap_or(part);
        !LEVELS.contains(&level.to_ascii_lowercase().as_str())
    })
}

/// `host:port` or `[v6]:port`.
fn host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| v6)?,
        None => host,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let fits = bare.is_some() || host.bytes().all(allowed);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && fits).then(|| HostPort {
        host: host.to_owned(),
        port,
    })
}
