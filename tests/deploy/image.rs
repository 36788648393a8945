//! The image: what its file says, without building it.

use std::path::Path;

use crate::files::{DOORS, Effective, IN_IMAGE, path, text};

/// Instructions of the Dockerfile with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let joined = text("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (instruction, arguments) = line.split_once(' ').expect("INSTRUCTION ARGUMENTS");
            (instruction.to_owned(), arguments.trim().to_owned())
        })
        .collect()
}

fn all(instruction: &str) -> Vec<String> {
    let matching = instructions().into_iter();
    let matching = matching.filter(|(name, _)| name == instruction);
    matching.map(|(_, arguments)| arguments).collect()
}

fn one(instruction: &str) -> String {
    let mut all = all(instruction);
    assert_eq!(all.len(), 1, "{instruction}: {all:?}");
    all.remove(0)
}

#[test]
fn base_images_are_arguments_and_what_is_shipped_can_be_from_scratch() {
    let arguments = all("ARG");
    assert!(
        arguments.iter().any(|it| it == "BASE_IMAGE=scratch"),
        "{arguments:?}"
    );
    let mut stages: Vec<String> = Vec::new();
    for from in all("FROM") {
        let words: Vec<&str> = from.split_whitespace().collect();
        let from_argument = arguments.iter().any(|argument| {
            let name = argument.split_once('=').expect("NAME=DEFAULT").0;
            words[0] == format!("${{{name}}}")
        });
        assert!(
            from_argument || stages.iter().any(|stage| stage == words[0]),
            "{from}"
        );
        stages.extend(words.get(2).map(|stage| (*stage).to_owned()));
    }
    let place = |stage| stages.iter().position(|known| known == stage);
    assert!(
        place("prebuilt") < place("build"),
        "a builder without BuildKit would compile first: {stages:?}"
    );
}

#[test]
fn the_node_is_nobody_special_and_owns_its_data() {
    let user = one("USER");
    let (uid, gid) = user.split_once(':').expect("UID:GID");
    assert!(uid.parse::<u32>().expect("a number") > 0, "{user}");
    let named = text("container/etc/passwd");
    assert!(
        named.contains(&format!("karst:x:{uid}:{gid}:")),
        "{user} in {named}"
    );
    let owned = all("COPY");
    let owned = owned
        .iter()
        .filter(|it| it.contains(&format!("--chown={user} ")));
    assert_eq!(
        owned.count(),
        2,
        "the data folder, in each of the two images"
    );
    let config = Effective::of(&path(IN_IMAGE), &[]);
    let data = Path::new(config.text("node", "data_dir")).to_owned();
    assert!(
        config
            .devices()
            .iter()
            .all(|device| device.starts_with(&data))
    );
    for volume in all("VOLUME") {
        assert_eq!(Path::new(&volume), data);
    }
}

#[test]
fn its_ports_are_the_doors_of_its_configuration() {
    let config = Effective::of(&path(IN_IMAGE), &[]);
    let doors = DOORS.map(|(section, _)| config.port(section).to_string());
    let exposed = one("EXPOSE");
    assert_eq!(
        exposed.split_whitespace().collect::<Vec<_>>(),
        doors.each_ref()
    );
    let health = one("HEALTHCHECK");
    let admin = format!("\"127.0.0.1:{}\"", config.port("admin"));
    assert!(health.contains(&admin), "{health}");
}

#[test]
fn it_starts_with_the_configuration_that_is_in_it() {
    let command: Vec<String> = serde_json::from_str(&one("CMD")).expect("a list");
    let [flag, file] = &command[..] else {
        panic!("{command:?}")
    };
    assert_eq!(flag, "--config");
    assert_eq!(IN_IMAGE.strip_prefix("container"), Some(file.as_str()));
}

#[test]
fn names_are_looked_up_in_files_and_dns() {
    let text = text("container/etc/nsswitch.conf");
    assert!(text.lines().any(|line| line == "hosts: files dns"));
}
