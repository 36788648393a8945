//! The configuration as it is written: every key optional, sizes and times still text.
//!
//! [`KEYS`] lists every key once more, with the kind of value it takes: overrides arrive as bare
//! text and need to know, and an unknown key is answered with the nearest of them. A test holds the
//! list and the structs together.

use serde::{Deserialize, Serialize};

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) node: RawNode,
    pub(super) log: RawLog,
    pub(super) service: RawService,
    pub(super) fabric: RawDoor,
    pub(super) admin: RawDoor,
    pub(super) http: RawDoor,
    pub(super) cluster: RawCluster,
    pub(super) namespace: Vec<RawNamespace>,
}

/// `[node]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) name: Option<String>,
    pub(super) data_dir: Option<String>,
    pub(super) cores: Option<i64>,
    pub(super) rack: Option<i64>,
    pub(super) io: Option<String>,
    pub(super) index_entries_max: Option<i64>,
    pub(super) shm_dir: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

/// `[service]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawService {
    pub(super) listen: Option<String>,
    pub(super) advertise: Option<RawAdvertise>,
    pub(super) connections_max: Option<i64>,
    pub(super) idle_timeout: Option<String>,
}

/// `advertise = "auto"`, `"a:3000"`, `"a:3000,b:3000"` or `["a:3000", "b:3000"]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "expected \"auto\" or a list such as [\"db1.example.com:3000\"]"
)]
pub(super) enum RawAdvertise {
    Text(String),
    List(Vec<String>),
}

/// `[fabric]`, `[admin]`, `[http]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDoor {
    pub(super) listen: Option<String>,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCluster {
    pub(super) name: Option<String>,
    pub(super) seeds: Option<Vec<String>>,
    pub(super) bootstrap_expect: Option<i64>,
    pub(super) suspect_after: Option<String>,
    pub(super) drain_on_stop: Option<String>,
    pub(super) fill_rate: Option<String>,
}

/// `[[namespace]]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNamespace {
    pub(super) name: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) replication_factor: Option<i64>,
    pub(super) min_in_sync: Option<i64>,
    pub(super) default_ttl: Option<String>,
    pub(super) max_record_size: Option<String>,
    pub(super) background_rps_max: Option<i64>,
    pub(super) max_ttl: Option<String>,
    pub(super) apply_ttl_reductions: Option<bool>,
    pub(super) read_touch_percent: Option<i64>,
    pub(super) sweep_period: Option<String>,
    pub(super) evict_used_percent: Option<i64>,
    pub(super) evict_index_percent: Option<i64>,
    pub(super) evict_tenths_percent: Option<i64>,
    pub(super) evict_histogram_buckets: Option<i64>,
    pub(super) stop_writes_used_percent: Option<i64>,
    pub(super) stop_writes_free_blocks_percent: Option<i64>,
    pub(super) stop_writes_index_percent: Option<i64>,
    pub(super) stop_writes_memory_percent: Option<i64>,
    pub(super) set: Option<Vec<RawSet>>,
    pub(super) storage: RawStorage,
}

/// `[[namespace.set]]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSet {
    pub(super) name: Option<String>,
    pub(super) default_ttl: Option<String>,
    pub(super) read_touch_percent: Option<i64>,
    pub(super) disable_eviction: Option<bool>,
    pub(super) stop_writes_count: Option<i64>,
    pub(super) stop_writes_bytes: Option<String>,
}

/// `[namespace.storage]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStorage {
    pub(super) engine: Option<String>,
    pub(super) size: Option<String>,
    pub(super) write_block: Option<String>,
    pub(super) commit_to_device: Option<bool>,
    pub(super) flush_max: Option<String>,
    pub(super) defrag_low_water_percent: Option<i64>,
    pub(super) compression: Option<String>,
    pub(super) compression_level: Option<i64>,
    pub(super) encryption_key_file: Option<String>,
    pub(super) read_page_cache: Option<bool>,
    pub(super) post_write_cache: Option<String>,
    pub(super) scrub_rate: Option<String>,
    pub(super) checkpoint_period: Option<String>,
    pub(super) devices: Option<Vec<RawDevice>>,
}

/// One of `devices`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDevice {
    pub(super) path: Option<String>,
    pub(super) size: Option<String>,
    pub(super) sector_size: Option<i64>,
}

/// What an override's text is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, taken as it is.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Strings: `a,b` or a TOML array.
    List,
    /// Anything else, written as TOML.
    Toml,
}

/// Every key and its kind. `namespace.*` stands for a namespace, by its name in overrides.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("node.name", Kind::Text),
    ("node.data_dir", Kind::Text),
    ("node.cores", Kind::Number),
    ("node.rack", Kind::Number),
    ("node.io", Kind::Text),
    ("node.index_entries_max", Kind::Number),
    ("node.shm_dir", Kind::Text),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
    ("service.listen", Kind::Text),
    ("service.advertise", Kind::Text),
    ("service.connections_max", Kind::Number),
    ("service.idle_timeout", Kind::Text),
    ("fabric.listen", Kind::Text),
    ("admin.listen", Kind::Text),
    ("http.listen", Kind::Text),
    ("cluster.name", Kind::Text),
    ("cluster.seeds", Kind::List),
    ("cluster.bootstrap_expect", Kind::Number),
    ("cluster.suspect_after", Kind::Text),
    ("cluster.drain_on_stop", Kind::Text),
    ("cluster.fill_rate", Kind::Text),
    ("namespace.*.name", Kind::Text),
    ("namespace.*.mode", Kind::Text),
    ("namespace.*.replication_factor", Kind::Number),
    ("namespace.*.min_in_sync", Kind::Number),
    ("namespace.*.default_ttl", Kind::Text),
    ("namespace.*.max_record_size", Kind::Text),
    ("namespace.*.background_rps_max", Kind::Number),
    ("namespace.*.max_ttl", Kind::Text),
    ("namespace.*.apply_ttl_reductions", Kind::Switch),
    ("namespace.*.read_touch_percent", Kind::Number),
    ("namespace.*.sweep_period", Kind::Text),
    ("namespace.*.evict_used_percent", Kind::Number),
    ("namespace.*.evict_index_percent", Kind::Number),
    ("namespace.*.evict_tenths_percent", Kind::Number),
    ("namespace.*.evict_histogram_buckets", Kind::Number),
    ("namespace.*.stop_writes_used_percent", Kind::Number),
    ("namespace.*.stop_writes_free_blocks_percent", Kind::Number),
    ("namespace.*.stop_writes_index_percent", Kind::Number),
    ("namespace.*.stop_writes_memory_percent", Kind::Number),
    ("namespace.*.set", Kind::Toml),
    ("namespace.*.set.*.name", Kind::Text),
    ("namespace.*.set.*.default_ttl", Kind::Text),
    ("namespace.*.set.*.read_touch_percent", Kind::Number),
    ("namespace.*.set.*.disable_eviction", Kind::Switch),
    ("namespace.*.set.*.stop_writes_count", Kind::Number),
    ("namespace.*.set.*.stop_writes_bytes", Kind::Text),
    ("namespace.*.storage.engine", Kind::Text),
    ("namespace.*.storage.size", Kind::Text),
    ("namespace.*.storage.write_block", Kind::Text),
    ("namespace.*.storage.commit_to_device", Kind::Switch),
    ("namespace.*.storage.flush_max", Kind::Text),
    ("namespace.*.storage.defrag_low_water_percent", Kind::Number),
    ("namespace.*.storage.compression", Kind::Text),
    ("namespace.*.storage.compression_level", Kind::Number),
    ("namespace.*.storage.encryption_key_file", Kind::Text),
    ("namespace.*.storage.read_page_cache", Kind::Switch),
    ("namespace.*.storage.post_write_cache", Kind::Text),
    ("namespace.*.storage.scrub_rate", Kind::Text),
    ("namespace.*.storage.checkpoint_period", Kind::Text),
    ("namespace.*.storage.devices", Kind::Toml),
    ("namespace.*.storage.devices.*.path", Kind::Text),
    ("namespace.*.storage.devices.*.size", Kind::Text),
    ("namespace.*.storage.devices.*.sector_size", Kind::Number),
];

/// The kind of a key in the notation of [`KEYS`]; `None` for a key that does not exist.
pub(super) fn kind(pattern: &str) -> Option<Kind> {
    KEYS.iter()
        .find(|(key, _)| *key == pattern)
        .map(|(_, kind)| *kind)
}

/// Whether a path is a key or a table that holds keys.
pub(super) fn leads_to_key(pattern: &str) -> bool {
    KEYS.iter().any(|(key, _)| {
        key.strip_prefix(pattern)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether a path is an element of a key that may be a list of strings.
pub(super) fn is_list_element(pattern: &str) -> bool {
    pattern
        .strip_suffix(".*")
        .is_some_and(|list| kind(list) == Some(Kind::List) || list == "service.advertise")
}

/// The existing key or table that looks most like `pattern`, if any looks like it.
///
/// A key of the right name in the wrong section finds where it belongs; a misspelt one finds its
/// spelling, if that is no more than three letters away.
pub(super) fn nearest(pattern: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let same_name = KEYS
        .iter()
        .filter(|(key, _)| last(key) == last(pattern))
        .min_by_key(|(key, _)| distance(key, pattern));
    if let Some((key, _)) = same_name {
        return Some((*key).to_owned());
    }
    let depth = pattern.split('.').count();
    KEYS.iter()
        .map(|(key, _)| key.split('.').take(depth).collect::<Vec<_>>().join("."))
        .map(|key| (distance(&key, pattern), key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, key)| key)
}

/// Single-letter edits between two keys. Bounded: keys longer than any real one are simply far.
fn distance(left: &str, right: &str) -> usize {
    const LENGTH_MAX: usize = 100;
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() > LENGTH_MAX || right.len() > LENGTH_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_keys_is_exactly_what_the_structs_accept() {
        // Serialising a configuration with every field set names every field there is.
        let text = || Some("x".to_owned());
        let full = RawConfig {
            node: RawNode {
                name: text(),
                data_dir: text(),
                cores: Some(1),
                rack: Some(1),
                io: text(),
                index_entries_max: Some(1),
                shm_dir: text(),
            },
            log: RawLog {
                level: text(),
                format: text(),
            },
            service: RawService {
                listen: text(),
                advertise: Some(RawAdvertise::Text("x".into())),
                connections_max: Some(1),
                idle_timeout: text(),
            },
            fabric: RawDoor { listen: text() },
            admin: RawDoor { listen: text() },
            http: RawDoor { listen: text() },
            cluster: RawCluster {
                name: text(),
                seeds: Some(vec!["x".into()]),
                bootstrap_expect: Some(1),
                suspect_after: text(),
                drain_on_stop: text(),
                fill_rate: text(),
            },
            namespace: vec![RawNamespace {
                name: text(),
                mode: text(),
                replication_factor: Some(1),
                min_in_sync: Some(1),
                default_ttl: text(),
                max_record_size: text(),
                background_rps_max: Some(1),
                max_ttl: text(),
                apply_ttl_reductions: Some(true),
                read_touch_percent: Some(1),
                sweep_period: text(),
                evict_used_percent: Some(1),
                evict_index_percent: Some(1),
                evict_tenths_percent: Some(1),
                evict_histogram_buckets: Some(1),
                stop_writes_used_percent: Some(1),
                stop_writes_free_blocks_percent: Some(1),
                stop_writes_index_percent: Some(1),
                stop_writes_memory_percent: Some(1),
                set: Some(vec![RawSet {
                    name: text(),
                    default_ttl: text(),
                    read_touch_percent: Some(1),
                    disable_eviction: Some(true),
                    stop_writes_count: Some(1),
                    stop_writes_bytes: text(),
                }]),
                storage: RawStorage {
                    engine: text(),
                    size: text(),
                    write_block: text(),
                    commit_to_device: Some(true),
                    flush_max: text(),
                    defrag_low_water_percent: Some(1),
                    compression: text(),
                    compression_level: Some(1),
                    encryption_key_file: text(),
                    read_page_cache: Some(true),
                    post_write_cache: text(),
                    scrub_rate: text(),
                    checkpoint_period: text(),
                    devices: Some(vec![RawDevice {
                        path: text(),
                        size: text(),
                        sector_size: Some(1),
                    }]),
                },
            }],
        };
        let mut found = Vec::new();
        collect(&toml::Value::try_from(&full).unwrap(), "", &mut found);
        let mut listed: Vec<_> = KEYS
            .iter()
            .map(|(key, kind)| (key.to_string(), *kind))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, listed);
    }

    fn collect(value: &toml::Value, path: &str, found: &mut Vec<(String, Kind)>) {
        let kind = match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let dot = if path.is_empty() { "" } else { "." };
                    collect(value, &format!("{path}{dot}{key}"), found);
                }
                return;
            }
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                items
                    .iter()
                    .for_each(|item| collect(item, &format!("{path}.*"), found));
                if path == "namespace" {
                    return; // addressed by its members only
                }
                Kind::Toml
            }
            toml::Value::Array(_) => Kind::List,
            toml::Value::Integer(_) => Kind::Number,
            toml::Value::Boolean(_) => Kind::Switch,
            _ => Kind::Text,
        };
        found.push((path.to_owned(), kind));
    }

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_neighbour() {
        let check = |written: &str, near: Option<&str>| {
            assert_eq!(nearest(written).as_deref(), near, "{written}");
        };
        check("service.listne", Some("service.listen"));
        check("servcie", Some("service"));
        check(
            "namespace.*.write_block",
            Some("namespace.*.storage.write_block"),
        );
        check(
            "namespace.*.storage.enigne",
            Some("namespace.*.storage.engine"),
        );
        check("node.colour", None);
        check(&"x".repeat(100_000), None);
    }
}
