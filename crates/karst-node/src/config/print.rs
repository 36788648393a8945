//! The effective configuration as text, for `--print-config`.
//!
//! Every key is written, defaults included, so that the text also documents what a node runs with.

use super::checked::*;
use super::quantity::{print_size, print_time};
use super::raw::*;

impl Config {
    /// The whole configuration as TOML that loads back to an equal one.
    pub fn to_toml(&self) -> String {
        // Fails only for types TOML cannot hold, and the raw structs have none; an error would be
        // text that does not load, never a panic.
        toml::to_string(&self.to_raw()).unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn to_raw(&self) -> RawConfig {
        let door = |door: &Door| RawDoor {
            listen: Some(door.listen.to_string()),
        };
        RawConfig {
            node: self.node.to_raw(),
            log: RawLog {
                level: Some(self.log.level.clone()),
                format: Some(word(match self.log.format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                })),
            },
            service: self.service.to_raw(),
            fabric: door(&self.fabric),
            admin: door(&self.admin),
            http: door(&self.http),
            cluster: RawCluster {
                name: Some(self.cluster.name.clone()),
                seeds: Some(self.cluster.seeds.iter().map(HostPort::to_string).collect()),
                bootstrap_expect: Some(self.cluster.bootstrap_expect.into()),
                suspect_after: Some(print_time(self.cluster.suspect_after)),
                drain_on_stop: Some(print_time(self.cluster.drain_on_stop)),
                fill_rate: Some(
                    self.cluster
                        .fill_rate
                        .map_or_else(|| "off".into(), print_size),
                ),
            },
            namespace: self.namespaces.iter().map(Namespace::to_raw).collect(),
        }
    }
}

fn word(text: &str) -> String {
    text.to_owned()
}

impl Node {
    fn to_raw(&self) -> RawNode {
        RawNode {
            name: Some(self.name.clone()),
            data_dir: Some(self.data_dir.to_string_lossy().into_owned()),
            cores: Some(self.cores.into()),
            rack: Some(self.rack.into()),
            io: Some(word(match self.io {
                IoChoice::Auto => "auto",
                IoChoice::Ring => "ring",
                IoChoice::Threads => "threads",
            })),
            index_entries_max: self.index_entries_max.map(u64::cast_signed),
            shm_dir: Some(match &self.shm_dir {
                Some(path) => path.display().to_string(),
                None => "off".to_owned(),
            }),
        }
    }
}

impl Service {
    fn to_raw(&self) -> RawService {
        RawService {
            listen: Some(self.listen.to_string()),
            advertise: Some(match &self.advertise {
                Advertise::Auto => RawAdvertise::Text("auto".to_owned()),
                Advertise::Addresses(addresses) => {
                    RawAdvertise::List(addresses.iter().map(HostPort::to_string).collect())
                }
            }),
            connections_max: Some(self.connections_max.into()),
            idle_timeout: Some(print_time(self.idle_timeout.unwrap_or_default())),
        }
    }
}

impl Namespace {
    fn to_raw(&self) -> RawNamespace {
        RawNamespace {
            name: Some(self.name.clone()),
            mode: Some(word(match self.mode {
                Mode::Ap => "ap",
                Mode::Cp => "cp",
            })),
            replication_factor: Some(self.replication_factor.into()),
            min_in_sync: match self.mode {
                Mode::Ap => None,
                Mode::Cp => Some(self.min_in_sync.into()),
            },
            max_record_size: Some(print_size(self.max_record_size)),
            background_rps_max: Some(self.background_rps_max.into()),
            storage: self.storage.to_raw(),
            ..self.life.to_raw()
        }
    }
}

impl Life {
    /// A namespace's table with the keys that are about this.
    pub(super) fn to_raw(&self) -> RawNamespace {
        let limits = &self.limits;
        let percent = |percent: u8| Some(i64::from(percent));
        RawNamespace {
            default_ttl: Some(print_time(self.default_ttl.unwrap_or_default())),
            max_ttl: Some(print_time(self.max_ttl)),
            apply_ttl_reductions: Some(self.apply_ttl_reductions),
            read_touch_percent: percent(self.read_touch_percent),
            sweep_period: Some(print_time(self.sweep_period)),
            evict_used_percent: percent(limits.evict_used_percent),
            evict_index_percent: percent(limits.evict_index_percent),
            evict_tenths_percent: Some(self.evict_tenths_percent.into()),
            evict_histogram_buckets: Some(self.evict_histogram_buckets as i64),
            stop_writes_used_percent: percent(limits.stop_used_percent),
            stop_writes_free_blocks_percent: percent(limits.stop_free_blocks_percent),
            stop_writes_index_percent: percent(limits.stop_index_percent),
            stop_writes_memory_percent: percent(limits.stop_memory_percent),
            set: Some(self.sets.iter().map(SetLife::to_raw).collect()),
            ..RawNamespace::default()
        }
    }
}

impl SetLife {
    fn to_raw(&self) -> RawSet {
        RawSet {
            name: Some(self.name.clone()),
            default_ttl: self.default_ttl.map(print_time),
            read_touch_percent: self.read_touch_percent.map(i64::from),
            disable_eviction: Some(self.disable_eviction),
            stop_writes_count: Some(self.stop_writes_count.cast_signed()),
            stop_writes_bytes: Some(print_size(self.stop_writes_bytes)),
        }
    }
}

impl Storage {
    fn to_raw(&self) -> RawStorage {
        let (engine, size, devices) = match &self.engine {
            Engine::Memory { size } => ("memory", Some(print_size(*size)), None),
            Engine::Device { devices, resident } => {
                let engine = if *resident { "memory" } else { "device" };
                (
                    engine,
                    None,
                    Some(devices.iter().map(Device::to_raw).collect()),
                )
            }
        };
        let (compression, compression_level) = match self.compression {
            Compression::None => ("none", None),
            Compression::Lz4 => ("lz4", None),
            Compression::Zstd(level) => ("zstd", Some(level.into())),
        };
        let encryption_key_file = self.encryption_key_file.as_ref();
        RawStorage {
            engine: Some(word(engine)),
            size,
            write_block: Some(print_size(self.write_block)),
            commit_to_device: Some(self.commit_to_device),
            flush_max: Some(print_time(self.flush_max)),
            defrag_low_water_percent: Some(self.defrag_low_water_percent.into()),
            compression: Some(word(compression)),
            compression_level,
            encryption_key_file: encryption_key_file
                .map(|path| path.to_string_lossy().into_owned()),
            read_page_cache: Some(self.read_page_cache),
            post_write_cache: Some(print_size(self.post_write_cache)),
            scrub_rate: Some(self.scrub_rate.map_or_else(|| word("off"), print_size)),
            checkpoint_period: Some(
                self.checkpoint_period
                    .map_or_else(|| word("off"), print_time),
            ),
            devices,
        }
    }
}

impl Device {
    fn to_raw(&self) -> RawDevice {
        RawDevice {
            path: Some(self.path.to_string_lossy().into_owned()),
            size: self.size.map(print_size),
            sector_size: self.sector_size.map(i64::from),
        }
    }
}
