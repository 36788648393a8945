//! How a server under test is configured: the few things tests vary, written out as the TOML that
//! `karstd` reads.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// How the server asks the kernel for devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// Whatever works here.
    #[default]
    Auto,
    /// io_uring; the server does not start where it is refused.
    Ring,
    /// The fallback: a few threads.
    Threads,
}

impl Io {
    fn name(self) -> &'static str {
        match self {
            Io::Auto => "auto",
            Io::Ring => "ring",
            Io::Threads => "threads",
        }
    }
}

/// A key and its value in TOML's spelling.
type Setting = (String, String);

/// One namespace. Start with [`Namespace::memory`] or [`Namespace::device`].
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    storage: Storage,
    shadowed: bool,
    sector_bytes: Option<u32>,
    settings: Vec<Setting>,
    storage_settings: Vec<Setting>,
}

#[derive(Clone, Debug)]
enum Storage {
    Memory { size: String },
    Files { count: usize, size: String },
}

impl Namespace {
    /// A namespace in memory of 256 MiB.
    pub fn memory(name: &str) -> Namespace {
        Namespace::new(
            name,
            Storage::Memory {
                size: "256MiB".into(),
            },
        )
    }

    /// A namespace on one file of 64 MiB in the server's folder, whose writes are answered when they
    /// are durable.
    pub fn device(name: &str) -> Namespace {
        let storage = Storage::Files {
            count: 1,
            size: "64MiB".into(),
        };
        Namespace::new(name, storage).storage("commit_to_device", "true")
    }

    fn new(name: &str, storage: Storage) -> Namespace {
        Namespace {
            name: name.into(),
            storage,
            shadowed: false,
            sector_bytes: None,
            settings: vec![],
            storage_settings: vec![],
        }
        .set("stop_writes_memory_percent", "0") // other work on the machine is not the test's
    }

    /// The size of the memory, or of each file, such as `64MiB`.
    #[must_use]
    pub fn size(mut self, text: &str) -> Namespace {
        match &mut self.storage {
            Storage::Memory { size } | Storage::Files { size, .. } => *size = text.into(),
        }
        self
    }

    /// How many files there are.
    ///
    /// # Panics
    /// For a namespace in memory.
    #[must_use]
    pub fn files(mut self, files: usize) -> Namespace {
        match &mut self.storage {
            Storage::Files { count, .. } => *count = files,
            Storage::Memory { .. } => panic!("{} is in memory: it has no files", self.name),
        }
        self
    }

    /// Keeps everything in memory too; its files are the shadow.
    #[must_use]
    pub fn shadowed(mut self) -> Namespace {
        self.shadowed = true;
        self
    }

    /// Drives its files with sectors of this size.
    #[must_use]
    pub fn sector_size(mut self, bytes: u32) -> Namespace {
        self.sector_bytes = Some(bytes);
        self
    }

    /// A key of `[[namespace]]`; the value as TOML spells it, so text with its quotes.
    #[must_use]
    pub fn set(mut self, key: &str, toml: &str) -> Namespace {
        put(&mut self.settings, key, toml);
        self
    }

    /// A key of `[namespace.storage]`; the value as TOML spells it.
    #[must_use]
    pub fn storage(mut self, key: &str, toml: &str) -> Namespace {
        put(&mut self.storage_settings, key, toml);
        self
    }

    /// The path of one of the files, counted from 0, in a server's folder.
    pub(crate) fn file(&self, folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("{}-{number}.dat", self.name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, folder: &Path, out: &mut String) {
        line(out, "\n[[namespace]]", "");
        line(out, "name = ", &quoted(&self.name));
        settings(out, &self.settings);
        line(out, "[namespace.storage]", "");
        match &self.storage {
            Storage::Memory { size } => {
                line(out, "engine = ", "\"memory\"");
                line(out, "size = ", &quoted(size));
            }
            Storage::Files { count, size } => {
                let engine = if self.shadowed { "memory" } else { "device" };
                line(out, "engine = ", &quoted(engine));
                let sector = self.sector_bytes;
                let sector =
                    sector.map_or_else(String::new, |bytes| format!(", sector_size = {bytes}"));
                let file = |number| {
                    let path = self.file(folder, number);
                    let (path, size) = (quoted(path), quoted(size));
                    format!("{{ path = {path}, size = {size}{sector} }}")
                };
                let files: Vec<_> = (0..*count).map(file).collect();
                line(out, "devices = ", &format!("[{}]", files.join(", ")));
            }
        }
        settings(out, &self.storage_settings);
    }
}

/// Everything about a server that a test decides. Finish with [`ServerSpec::start`].
#[derive(Clone, Debug, Default)]
pub struct ServerSpec {
    cores: u16,
    io: Io,
    namespaces: Vec<Namespace>,
    settings: Vec<(String, Setting)>,
    network: Option<Network>,
    environment: Vec<(String, String)>,
}

/// A network namespace (`ip netns`) and the address that a server has in it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

impl ServerSpec {
    /// A server of one core and no namespaces.
    pub fn new() -> ServerSpec {
        ServerSpec {
            cores: 1,
            ..ServerSpec::default()
        }
    }

    /// Data cores; 0 for one per CPU.
    #[must_use]
    pub fn cores(mut self, cores: u16) -> ServerSpec {
        self.cores = cores;
        self
    }

    /// How it asks for devices.
    #[must_use]
    pub fn io(mut self, io: Io) -> ServerSpec {
        self.io = io;
        self
    }

    /// One namespace more.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> ServerSpec {
        self.namespaces.push(namespace);
        self
    }

    /// Changes every namespace that it has so far.
    #[must_use]
    pub fn each_namespace(mut self, change: impl Fn(Namespace) -> Namespace) -> ServerSpec {
        self.namespaces = self.namespaces.into_iter().map(change).collect();
        self
    }

    /// A key of a section, such as `("service", "connections_max", "4000")`; the value as TOML spells
    /// it. Setting it again replaces it.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, toml: &str) -> ServerSpec {
        self.settings
            .retain(|(old, (name, _))| old != section || name != key);
        self.settings
            .push((section.into(), (key.into(), toml.into())));
        self
    }

    /// Runs it in a network namespace of this name, where it has this address to itself.
    #[must_use]
    pub fn within(mut self, network: &str, address: Ipv4Addr) -> ServerSpec {
        let name = network.into();
        self.network = Some(Network { name, address });
        self
    }

    /// A variable of its process's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> ServerSpec {
        put(&mut self.environment, name, value);
        self
    }

    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.environment
    }

    pub(crate) fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    pub(crate) fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// The whole configuration file.
    pub(crate) fn to_toml(&self, folder: &Path, shm: &Path, ports: &Ports) -> String {
        let cores = self.cores.to_string();
        let base = [
            ("node", "name", quoted("n1")),
            ("node", "data_dir", quoted(folder.join("data"))),
            ("node", "shm_dir", quoted(shm.to_path_buf())),
            ("node", "cores", cores),
            ("node", "io", quoted(self.io.name())),
            ("service", "listen", quoted(ports.service)),
            ("fabric", "listen", quoted(ports.fabric)),
            ("admin", "listen", quoted(ports.admin)),
            ("http", "listen", quoted(ports.http)),
        ];
        let mut all: Vec<(String, Setting)> = Vec::new();
        let base = base.map(|(section, key, toml)| (section.into(), (key.into(), toml)));
        for (section, (key, toml)) in base.into_iter().chain(self.settings.iter().cloned()) {
            all.retain(|(old, (name, _))| *old != section || *name != key);
            all.push((section, (key, toml)));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = String::new();
        let mut section = "";
        for (of, setting) in &all {
            if of != section {
                section = of;
                line(&mut out, "", &format!("[{section}]"));
            }
            settings(&mut out, std::slice::from_ref(setting));
        }
        for namespace in &self.namespaces {
            namespace.write(folder, &mut out);
        }
        out
    }
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) service: SocketAddr,
    pub(crate) fabric: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) http: SocketAddr,
}

fn put(settings: &mut Vec<Setting>, key: &str, toml: &str) {
    settings.retain(|(name, _)| name != key);
    settings.push((key.into(), toml.into()));
}

fn settings(out: &mut String, settings: &[Setting]) {
    settings
        .iter()
        .for_each(|(key, toml)| line(out, &format!("{key} = "), toml));
}

fn line(out: &mut String, start: &str, rest: &str) {
    writeln!(out, "{start}{rest}").expect("writing to a string does not fail");
}

/// Text as TOML spells it. Paths and names of tests need no escapes, and are refused if they do.
fn quoted(text: impl Quotable) -> String {
    let text = text.text();
    assert!(
        !text.contains(['"', '\\', '\n']),
        "{text:?} would have to be escaped"
    );
    format!("\"{text}\"")
}

trait Quotable {
    fn text(self) -> String;
}

impl Quotable for &str {
    fn text(self) -> String {
        self.to_owned()
    }
}

impl Quotable for &String {
    fn text(self) -> String {
        self.clone()
    }
}

impl Quotable for PathBuf {
    fn text(self) -> String {
        self.to_str()
            .expect("temporary folders have names in UTF-8")
            .to_owned()
    }
}

impl Quotable for SocketAddr {
    fn text(self) -> String {
        self.to_string()
    }
}
