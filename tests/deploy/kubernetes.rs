//! The Kubernetes manifests: objects that have to agree with each other and with the configuration in their ConfigMap.
//!
//! The base is read from its files in any case. Base and overlays as `kubectl kustomize` renders them go through the
//! same checks where kubectl is installed; and kubectl, which knows the types of Kubernetes, must find no field that
//! they do not have.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::files::{
    DOORS, Effective, list, path, printed, run_if_installed, string, strings, text, yaml,
};

const BASE: &str = "kubernetes/base";

const OVERLAYS: [&str; 2] = [
    "kubernetes/overlays/local",
    "kubernetes/overlays/production",
];

/// What is deployed together.
struct Deployed {
    from: &'static str,
    objects: Vec<Value>,
    /// The file that the ConfigMap holds.
    config: String,
}

impl Deployed {
    /// The base, as its files say.
    fn base() -> Deployed {
        let kustomization = yaml(&text(&format!("{BASE}/kustomization.yaml"))).remove(0);
        let resources = strings(&kustomization["resources"]).into_iter();
        let read = |name: &str| yaml(&text(&format!("{BASE}/{name}")));
        let generated = &list(&kustomization["configMapGenerator"])[0];
        assert_eq!(strings(&generated["files"]), ["karst.toml"]);
        let mut objects: Vec<Value> = resources.flat_map(read).collect();
        objects.push(serde_json::json!({
            "kind": "ConfigMap", "metadata": {"name": generated["name"]},
        }));
        Deployed {
            from: "the files of kubernetes/base",
            objects,
            config: text(&format!("{BASE}/karst.toml")),
        }
    }

    /// A folder as kubectl renders it; `None` where there is no kubectl.
    fn rendered(folder: &'static str) -> Option<Deployed> {
        let mut command = Command::new("kubectl");
        command.arg("kustomize").arg(path(folder));
        let objects = yaml(&printed(&run_if_installed(&mut command)?));
        let is_config = |object: &&Value| object["kind"] == "ConfigMap";
        let config = objects.iter().find(is_config).expect("a ConfigMap");
        let config = string(&config["data"]["karst.toml"]).to_owned();
        Some(Deployed {
            from: folder,
            objects,
            config,
        })
    }

    /// All that can be had here.
    fn all() -> Vec<Deployed> {
        let rendered = [BASE].into_iter().chain(OVERLAYS);
        let rendered = rendered.filter_map(Deployed::rendered);
        std::iter::once(Deployed::base()).chain(rendered).collect()
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let objects = self.objects.iter();
        objects.filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let all = self.of_kind(kind);
        assert_eq!(all.len(), 1, "{kind} in {}", self.from);
        all[0]
    }

    /// The StatefulSet's `spec`.
    fn set(&self) -> &Value {
        &self.one("StatefulSet")["spec"]
    }

    /// The `spec` of its pods.
    fn pod(&self) -> &Value {
        &self.set()["template"]["spec"]
    }

    /// Their only container.
    fn container(&self) -> &Value {
        let containers = list(&self.pod()["containers"]);
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// What a node makes of the configuration.
    fn effective(&self) -> Effective {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("karst.toml");
        std::fs::write(&file, &self.config).expect("the folder takes files");
        Effective::of(&file, &[])
    }

    fn container_ports(&self) -> BTreeMap<&str, u64> {
        let ports = list(&self.container()["ports"]).iter();
        ports
            .map(|port| {
                let number = port["containerPort"].as_u64().expect("a number");
                (string(&port["name"]), number)
            })
            .collect()
    }
}

/// Bytes of a quantity such as `16Gi`.
fn bytes(quantity: &Value) -> u64 {
    let text = string(quantity);
    let scales = [("Mi", 20), ("Gi", 30), ("Ti", 40)];
    let scaled = scales
        .iter()
        .find_map(|(unit, bits)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? << bits));
    scaled.unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn everything_selects_the_pods_of_the_stateful_set() {
    for deployed in Deployed::all() {
        let labels = &deployed.set()["template"]["metadata"]["labels"];
        let set = &deployed.set()["selector"]["matchLabels"];
        let services = deployed.of_kind("Service");
        assert_eq!(services.len(), 2);
        let mut selectors: Vec<&Value> =
            services.iter().map(|it| &it["spec"]["selector"]).collect();
        selectors.push(set);
        selectors.push(&deployed.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]);
        for policy in deployed.of_kind("NetworkPolicy") {
            selectors.push(&policy["spec"]["podSelector"]["matchLabels"]);
        }
        for selector in selectors {
            let wanted = selector.as_object().expect("labels");
            assert!(!wanted.is_empty(), "{}: an empty selector", deployed.from);
            for (label, value) in wanted {
                assert_eq!(&labels[label], value, "{}: {label}", deployed.from);
            }
        }
    }
}

#[test]
fn ports_are_the_doors_of_the_configuration() {
    for deployed in Deployed::all() {
        let config = deployed.effective();
        let ports = deployed.container_ports();
        let doors = DOORS.map(|(section, name)| (name, u64::from(config.port(section))));
        assert_eq!(ports, BTreeMap::from(doors), "{}", deployed.from);
        for service in deployed.of_kind("Service") {
            for port in list(&service["spec"]["ports"]) {
                let target = string(&port["targetPort"]);
                assert_eq!(ports.get(target), port["port"].as_u64().as_ref(), "{port}");
                assert_eq!(port["name"], target);
            }
        }
        for policy in deployed.of_kind("NetworkPolicy") {
            for rule in list(&policy["spec"]["ingress"]) {
                for port in list(&rule["ports"]) {
                    assert!(ports.contains_key(string(&port["port"])), "{port}");
                }
            }
        }
        let scraped = &deployed.set()["template"]["metadata"]["annotations"]["prometheus.io/port"];
        assert_eq!(string(scraped), ports["http"].to_string());
    }
}

#[test]
fn seeds_are_the_pods_by_the_names_that_the_headless_service_gives_them() {
    for deployed in Deployed::all() {
        let config = deployed.effective();
        let set = deployed.one("StatefulSet");
        let (name, service) = (
            string(&set["metadata"]["name"]),
            string(&set["spec"]["serviceName"]),
        );
        let admin = config.port("admin");
        let seeds: Vec<_> = (0..config.expect())
            .map(|pod| format!("{name}-{pod}.{service}:{admin}"))
            .collect();
        assert_eq!(config.seeds(), seeds, "{}", deployed.from);
        let replicas = set["spec"]["replicas"].as_u64();
        assert_eq!(replicas, Some(config.expect() as u64));
        let services = deployed.of_kind("Service");
        let named = services.iter().find(|it| it["metadata"]["name"] == service);
        let named = &named.expect("the headless Service is there")["spec"];
        assert_eq!(named["clusterIP"], "None");
        // Neither is there a first node to be ready, nor does a name exist without this before one is.
        assert_eq!(named["publishNotReadyAddresses"], true);
        assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    }
}

#[test]
fn probes_ask_the_http_port_and_only_readiness_asks_whether_clients_are_served() {
    for deployed in Deployed::all() {
        let asked = [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ];
        for (probe, page) in asked {
            let get = &deployed.container()[probe]["httpGet"];
            assert_eq!(get["path"], page, "{}: {probe}", deployed.from);
            assert_eq!(get["port"], "http", "{}: {probe}", deployed.from);
        }
    }
}

#[test]
fn one_node_at_a_time_is_taken_down_and_has_time_to_flush() {
    for deployed in Deployed::all() {
        let budget = &deployed.one("PodDisruptionBudget")["spec"];
        assert_eq!(budget["maxUnavailable"], 1, "{}", deployed.from);
        let pod = deployed.pod();
        let waits = &deployed.container()["lifecycle"]["preStop"]["sleep"]["seconds"];
        let grace = pod["terminationGracePeriodSeconds"].as_u64();
        let left = grace.expect("seconds") - waits.as_u64().expect("seconds");
        assert!(left > 60, "{}: a flush and a checkpoint", deployed.from);
        // The first process of a container is not ended by a signal that it does not handle yet.
        assert_eq!(pod["shareProcessNamespace"], true);
    }
}

#[test]
fn nodes_are_kept_apart() {
    for deployed in Deployed::all() {
        let affinity = &deployed.pod()["affinity"]["podAntiAffinity"];
        let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
        let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"];
        let rule = match deployed.from == "kubernetes/overlays/local" {
            true => &list(preferred)[0]["podAffinityTerm"],
            false => &list(required)[0],
        };
        assert_eq!(rule["topologyKey"], "kubernetes.io/hostname");
        let labels = &deployed.set()["selector"]["matchLabels"];
        assert_eq!(&rule["labelSelector"]["matchLabels"], labels);
    }
}

#[test]
fn a_pod_may_do_nothing_that_it_need_not() {
    let dockerfile = text("Dockerfile");
    for deployed in Deployed::all() {
        let (pod, container) = (
            &deployed.pod()["securityContext"],
            &deployed.container()["securityContext"],
        );
        assert_eq!(pod["runAsNonRoot"], true, "{}", deployed.from);
        let user = format!("USER {}:{}", pod["runAsUser"], pod["runAsGroup"]);
        assert!(dockerfile.lines().any(|line| line == user), "{user}");
        assert_eq!(pod["fsGroup"], pod["runAsGroup"]);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(strings(&container["capabilities"]["drop"]), ["ALL"]);
        let seccomp = match deployed.from == "kubernetes/overlays/production" {
            true => "Localhost",
            false => "RuntimeDefault",
        };
        assert_eq!(pod["seccompProfile"]["type"], seccomp);
        // Variables that Kubernetes makes of Services begin as ours do.
        assert_eq!(deployed.pod()["enableServiceLinks"], false);
        assert_eq!(deployed.pod()["automountServiceAccountToken"], false);
    }
}

#[test]
fn volumes_are_where_the_configuration_looks_for_them() {
    for deployed in Deployed::all() {
        let config = deployed.effective();
        let mounts = list(&deployed.container()["volumeMounts"]).iter();
        let mounts: BTreeMap<&str, &str> = mounts
            .map(|mount| (string(&mount["name"]), string(&mount["mountPath"])))
            .collect();
        let claims = list(&deployed.set()["volumeClaimTemplates"]);
        assert_eq!(claims.len(), 1);
        let claim = string(&claims[0]["metadata"]["name"]);
        assert_eq!(mounts[claim], config.text("node", "data_dir"));
        let devices = config.devices();
        assert!(devices.iter().all(|it| it.starts_with(mounts[claim])));
        let volumes = list(&deployed.pod()["volumes"]).iter();
        let volumes: BTreeMap<&str, &Value> = volumes
            .map(|volume| (string(&volume["name"]), volume))
            .collect();
        assert_eq!(mounts.len(), volumes.len() + 1, "{}", deployed.from);
        let map = string(&volumes["config"]["configMap"]["name"]);
        assert_eq!(deployed.one("ConfigMap")["metadata"]["name"], map);
        let file = format!("{}/karst.toml", mounts["config"]);
        assert_eq!(strings(&deployed.container()["args"]), ["--config", &file]);
        let shared = &volumes["shm"]["emptyDir"];
        assert_eq!(shared["medium"], "Memory");
        assert_eq!(mounts["shm"], config.text("node", "shm_dir"));
    }
}

#[test]
fn index_and_devices_have_room_in_what_the_pod_is_given() {
    for deployed in Deployed::all() {
        let config = deployed.effective();
        let entries = config.get("node", "index_entries_max").as_integer();
        let index = u64::try_from(entries.expect("a number")).expect("it is not negative") * 64;
        let volumes = list(&deployed.pod()["volumes"]).iter();
        let shared = volumes.filter_map(|volume| volume["emptyDir"].get("sizeLimit"));
        let shared: u64 = shared.map(bytes).sum();
        let limit = bytes(&deployed.container()["resources"]["limits"]["memory"]);
        assert!(
            index + (192 << 20) <= shared && shared < limit,
            "{}: {index} bytes of index, {shared} shared, {limit} in all",
            deployed.from
        );
        let claim = &list(&deployed.set()["volumeClaimTemplates"])[0]["spec"]["resources"];
        let claim = bytes(&claim["requests"]["storage"]);
        // Two checkpoints at 54 bytes a record lie beside the devices while one replaces the other.
        let needed = config.device_bytes() + 2 * 54 * index / 64;
        assert!(needed < claim, "{}: {needed} of {claim}", deployed.from);
    }
}

#[test]
fn kubectl_knows_every_field_where_it_is_installed() {
    for deployed in [BASE].into_iter().chain(OVERLAYS) {
        let Some(deployed) = Deployed::rendered(deployed) else {
            return;
        };
        for object in &deployed.objects {
            let change: &[&str] = match string(&object["kind"]) {
                "StatefulSet" => &["image", "--local", "karst=other"],
                "Service" => &["selector", "--local", "other=other"],
                // kubectl changes none of these by their types; they are few and short.
                "ConfigMap" | "Namespace" | "NetworkPolicy" | "PodDisruptionBudget" => continue,
                kind => panic!("{kind} is new here"),
            };
            let mut known = through_kubectl(change, object);
            // What was changed on the way is put back.
            match string(&object["kind"]) {
                "Service" => known["spec"]["selector"] = object["spec"]["selector"].clone(),
                _ => {
                    let container = &mut known["spec"]["template"]["spec"]["containers"][0];
                    container["image"] = deployed.container()["image"].clone();
                }
            }
            assert_holds(&known, object, string(&object["metadata"]["name"]));
        }
    }
}

/// An object after kubectl has read it into its type and written it again.
fn through_kubectl(change: &[&str], object: &Value) -> Value {
    let mut command = Command::new("kubectl");
    command.arg("set").args(&change[..2]);
    command
        .args(["--output", "json", "--filename", "-"])
        .args(&change[2..]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("it ran before");
    let mut input = child.stdin.take().expect("it is piped");
    let written = input.write_all(object.to_string().as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = printed(&output);
    written.expect("kubectl reads what it is given");
    serde_json::from_str(&text).expect("kubectl prints JSON")
}

/// Everything that is `wanted` is in `known`; what it adds does not matter.
fn assert_holds(known: &Value, wanted: &Value, at: &str) {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            for (key, value) in wanted {
                let at = format!("{at}.{key}");
                let known = known.get(key);
                let known = known.unwrap_or_else(|| panic!("Kubernetes has no {at}"));
                assert_holds(known, value, &at);
            }
        }
        (Value::Array(known), Value::Array(wanted)) => {
            assert_eq!(known.len(), wanted.len(), "{at}");
            for (number, (known, wanted)) in known.iter().zip(wanted).enumerate() {
                assert_holds(known, wanted, &format!("{at}[{number}]"));
            }
        }
        _ => assert_eq!(known, wanted, "{at}"),
    }
}

#[test]
fn the_profile_that_production_names_is_the_one_that_is_shipped() {
    let profile = text("kubernetes/overlays/production/statefulset.yaml");
    assert!(
        profile.contains("# deploy/seccomp.json, as"),
        "say which file it is"
    );
    assert!(Path::new(&path("seccomp.json")).is_file());
}
