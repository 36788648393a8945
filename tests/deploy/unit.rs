//! The systemd unit and the sample configuration beside it.

use std::process::Command;

use crate::files::{Effective, path, run_if_installed, text};

/// Values of a key of the unit.
fn values(key: &str) -> Vec<String> {
    let unit = text("karstd.service");
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key));
    lines
        .filter_map(|rest| rest.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_node_accepts_the_sample_configuration() {
    let config = Effective::of(&path("karst.toml"), &[]);
    let folder = format!("/var/lib/{}", values("StateDirectory")[0]);
    assert_eq!(config.text("node", "data_dir"), folder);
    assert!(
        config
            .devices()
            .iter()
            .all(|device| device.starts_with(&folder))
    );
}

#[test]
fn the_unit_checks_the_configuration_that_it_starts_with() {
    let (check, start) = (values("ExecStartPre"), values("ExecStart"));
    assert_eq!(check, [format!("{} --check-config", start[0])]);
    assert!(!values("User").contains(&"root".to_owned()) && values("User").len() == 1);
    assert_eq!(values("RestartPreventExitStatus"), ["2"]);
    let seconds = values("TimeoutStopSec")[0].parse::<u32>();
    assert!(seconds.expect("seconds") > 30, "a flush may take 30 s");
}

#[test]
fn systemd_takes_the_unit_where_it_is_installed() {
    // The programs that the unit names are not installed here: a copy names one that is everywhere.
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let copy = folder.path().join("karstd.service");
    let unit = text("karstd.service").replace("/usr/local/bin/karstd", "/bin/true");
    std::fs::write(&copy, unit).expect("the folder takes files");
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(&copy);
    let Some(output) = run_if_installed(&mut command) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("karstd.service"))
        .collect();
    assert_eq!(ours, Vec::<&str>::new());
}
