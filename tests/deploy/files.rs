//! The files under test, parsed, and what a node makes of a configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use karst_tests::binary;
use serde_json::Value;

/// The configuration in the image, and the one that Kubernetes puts over it.
pub(crate) const IN_IMAGE: &str = "container/etc/karst/karst.toml";

/// A file or folder of `deploy/`.
pub(crate) fn path(name: &str) -> PathBuf {
    binary::repository().join("deploy").join(name)
}

/// The text of a file of `deploy/`.
pub(crate) fn text(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text, with anchors and merges carried out.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A string, which it has to be.
pub(crate) fn string(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
}

/// The strings of a list, which it has to be.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().map(string).collect()
}

/// A list, which it has to be.
pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// Runs a program that may not be installed; `None` and a line about it where it is not.
pub(crate) fn run_if_installed(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("left out: {:?}: {error}", command.get_program());
            None
        }
    }
}

/// What a program that has to succeed printed.
pub(crate) fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).expect("text is printed")
}

/// The effective configuration that a node has of this file and these variables.
pub(crate) struct Effective(toml::Table);

impl Effective {
    /// Asks `karstd`, which refuses what is wrong.
    pub(crate) fn of(file: &Path, environment: &[(String, String)]) -> Effective {
        let karstd = |flag: &str| {
            let mut command = Command::new(binary::karstd());
            command.arg("--config").arg(file).arg(flag);
            command.env_clear().envs(environment.iter().cloned());
            printed(&command.output().expect("karstd can be run"))
        };
        karstd("--check-config");
        let text = karstd("--print-config");
        Effective(text.parse().expect("karstd prints TOML"))
    }

    /// A value, by its keys.
    pub(crate) fn get(&self, section: &str, key: &str) -> &toml::Value {
        self.0
            .get(section)
            .and_then(|section| section.get(key))
            .unwrap_or_else(|| panic!("{section}.{key} is printed"))
    }

    /// A value that is text.
    pub(crate) fn text(&self, section: &str, key: &str) -> &str {
        self.get(section, key).as_str().expect("it is text")
    }

    /// The seeds.
    pub(crate) fn seeds(&self) -> Vec<&str> {
        let seeds = self.get("cluster", "seeds");
        let seeds = seeds.as_array().expect("seeds are a list");
        seeds
            .iter()
            .map(|seed| seed.as_str().expect("a seed is text"))
            .collect()
    }

    /// How many nodes form a cluster.
    pub(crate) fn expect(&self) -> usize {
        let expect = self.get("cluster", "bootstrap_expect").as_integer();
        usize::try_from(expect.expect("it is a number")).expect("it is not negative")
    }

    /// The port of a door, which has to be open to all: nobody reaches the loopback of a container.
    pub(crate) fn port(&self, door: &str) -> u16 {
        let listen = self.text(door, "listen");
        let port = listen
            .strip_prefix("0.0.0.0:")
            .and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{door} listens on {listen}"))
    }

    fn all_devices(&self) -> Vec<&toml::Value> {
        let namespaces = self.0["namespace"].as_array().expect("there are some");
        let devices = namespaces.iter().flat_map(|namespace| {
            let devices = namespace["storage"].get("devices");
            devices
                .and_then(toml::Value::as_array)
                .expect("they are on devices")
        });
        devices.collect()
    }

    /// Paths of all devices of all namespaces.
    pub(crate) fn devices(&self) -> Vec<PathBuf> {
        let devices = self.all_devices().into_iter();
        devices
            .map(|device| device["path"].as_str().expect("a path").into())
            .collect()
    }

    /// What all of them take.
    pub(crate) fn device_bytes(&self) -> u64 {
        let devices = self.all_devices().into_iter();
        let size = |device: &toml::Value| {
            let text = device["size"].as_str().expect("a size");
            let gib = text
                .strip_suffix("GiB")
                .and_then(|it| it.trim().parse::<u64>().ok());
            gib.unwrap_or_else(|| panic!("{text} is no number of GiB")) << 30
        };
        devices.map(size).sum()
    }
}

/// The four doors by their section, and how manifests call their ports.
pub(crate) const DOORS: [(&str, &str); 4] = [
    ("service", "client"),
    ("fabric", "fabric"),
    ("admin", "admin"),
    ("http", "http"),
];
