//! The compose file: three nodes that find each other inside and are found from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Map, Value};

use crate::files::{
    Effective, IN_IMAGE, list, path, printed, run_if_installed, string, strings, text, yaml,
};

/// The file with variables set as given, the others at their defaults.
fn compose(variables: &[(&str, &str)]) -> Value {
    let mut documents = yaml(&text("docker-compose.yml"));
    assert_eq!(documents.len(), 1);
    let mut file = documents.remove(0);
    interpolate_all(&mut file, &variables.iter().copied().collect());
    file
}

fn interpolate_all(value: &mut Value, variables: &BTreeMap<&str, &str>) {
    match value {
        Value::String(text) => *text = interpolate(text, variables),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| interpolate_all(item, variables)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|item| interpolate_all(item, variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces `${NAME:-default}`. A variable without a default is a mistake here: the file has to work as it is.
fn interpolate(text: &str, variables: &BTreeMap<&str, &str>) -> String {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, after) = part.split_once('}').expect("a variable ends");
        let (name, default) = inside
            .split_once(":-")
            .unwrap_or_else(|| panic!("{inside} has no default"));
        whole.push_str(variables.get(name).unwrap_or(&default));
        whole.push_str(after);
    }
    whole
}

fn services(file: &Value) -> &Map<String, Value> {
    file["services"].as_object().expect("there are services")
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let variables = service["environment"]
        .as_object()
        .expect("variables are a map");
    let variables = variables.iter();
    variables
        .map(|(name, value)| (name.clone(), string(value).to_owned()))
        .collect()
}

fn effective(service: &Value) -> Effective {
    Effective::of(&path(IN_IMAGE), &environment(service))
}

/// What is published: address and port outside, and the port inside.
fn published(service: &Value) -> Vec<(String, u16)> {
    let ports = strings(&service["ports"]).into_iter();
    ports
        .map(|port| {
            let (outside, inside) = port.rsplit_once(':').expect("OUTSIDE:INSIDE");
            (outside.to_owned(), inside.parse().expect("a port"))
        })
        .collect()
}

#[test]
fn clients_are_told_the_one_address_at_which_a_nodes_client_port_is_published() {
    let elsewhere = [("KARST_ADDRESS", "192.0.2.7"), ("KARST_PORT_2", "4000")];
    for variables in [&[][..], &elsewhere] {
        let file = compose(variables);
        let mut taken = BTreeSet::new();
        for (name, service) in services(&file) {
            let config = effective(service);
            let told = config.get("service", "advertise");
            let told: Vec<_> = told.as_array().expect("a list").iter().collect();
            let ports = published(service);
            let inside = config.port("service");
            let outside: Vec<_> = ports.iter().filter(|(_, port)| *port == inside).collect();
            assert_eq!((told.len(), outside.len()), (1, 1), "{name}");
            assert_eq!(told[0].as_str(), Some(outside[0].0.as_str()), "{name}");
            for (outside, _) in ports {
                let port = outside.rsplit_once(':').expect("ADDRESS:PORT").1.to_owned();
                assert!(taken.insert(port), "{name}: {outside} is taken");
            }
        }
    }
}

#[test]
fn what_has_no_access_control_is_published_on_the_loopback_alone() {
    let file = compose(&[("KARST_ADDRESS", "192.0.2.7")]);
    for service in services(&file).values() {
        let config = effective(service);
        for (outside, inside) in published(service) {
            let for_clients = inside == config.port("service");
            assert!(
                for_clients || outside.starts_with("127.0.0.1:"),
                "{outside}"
            );
        }
    }
}

#[test]
fn the_nodes_know_of_each_other_and_form_one_cluster_of_all() {
    let file = compose(&[]);
    let services = services(&file);
    assert_eq!(services.len(), 3);
    let mut named: BTreeSet<String> = BTreeSet::new();
    for (name, service) in services {
        let config = effective(service);
        let admin = config.port("admin");
        let all: Vec<_> = services
            .keys()
            .map(|name| format!("{name}:{admin}"))
            .collect();
        assert_eq!(config.seeds(), all, "{name}");
        assert_eq!(config.expect(), services.len(), "{name}");
        assert!(named.insert(string(&service["hostname"]).to_owned()));
    }
}

#[test]
fn every_node_keeps_its_data_in_a_volume_of_its_own() {
    let file = compose(&[]);
    let declared = file["volumes"]
        .as_object()
        .expect("volumes are declared")
        .keys();
    let mut free: BTreeSet<&str> = declared.map(String::as_str).collect();
    for (name, service) in services(&file) {
        let config = effective(service);
        let volumes = strings(&service["volumes"]);
        let [volume] = volumes[..] else {
            panic!("{name} has {volumes:?}")
        };
        let (volume, place) = volume.split_once(':').expect("VOLUME:PLACE");
        assert!(free.remove(volume), "{volume} is not declared, or shared");
        assert_eq!(config.text("node", "data_dir"), place);
        let outside: Vec<_> = config.devices();
        assert!(
            outside.iter().all(|device| device.starts_with(place)),
            "{outside:?}"
        );
    }
    assert_eq!(free, BTreeSet::new());
}

#[test]
fn a_node_may_do_nothing_that_it_need_not() {
    let file = compose(&[]);
    for (name, service) in services(&file) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert!(service.get("privileged").is_none() && service.get("user").is_none());
        let options = strings(&service["security_opt"]);
        assert!(
            options.contains(&"no-new-privileges:true"),
            "{name}: {options:?}"
        );
        let profile = options.iter().find_map(|it| it.strip_prefix("seccomp="));
        let profile = path(profile.expect("a seccomp profile"));
        assert!(profile.is_file(), "{}", profile.display());
    }
}

#[test]
fn a_node_is_told_to_stop_as_a_child_and_has_time_to_flush() {
    let file = compose(&[]);
    for (name, service) in services(&file) {
        assert_eq!(service["init"], true, "{name}");
        let seconds = string(&service["stop_grace_period"]).trim_end_matches('s');
        assert!(
            seconds.parse::<u32>().expect("seconds") > 30,
            "{name}: a flush may take 30 s"
        );
    }
}

#[test]
fn health_is_asked_of_a_program_in_the_image_at_the_admin_port() {
    let file = compose(&[]);
    for (name, service) in services(&file) {
        let admin = effective(service).port("admin");
        let test = strings(&service["healthcheck"]["test"]);
        let at = format!("127.0.0.1:{admin}");
        assert_eq!(
            test,
            ["CMD", "/usr/local/bin/karst", "--host", &at, "status"],
            "{name}"
        );
    }
}

#[test]
fn docker_compose_takes_the_file_where_it_is_installed() {
    let mut command = Command::new("docker-compose");
    command.args(["config"]).current_dir(path(""));
    let Some(output) = run_if_installed(&mut command) else {
        return;
    };
    let taken = yaml(&printed(&output)).remove(0);
    for (name, service) in services(&compose(&[])) {
        let theirs = &taken["services"][name];
        assert_eq!(theirs["environment"], service["environment"], "{name}");
        assert_eq!(
            list(&theirs["ports"]).len(),
            list(&service["ports"]).len(),
            "{name}"
        );
    }
}
