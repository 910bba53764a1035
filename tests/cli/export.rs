//! `fanctl export` where no fan is up: what it says, and that it then prints nothing.

use std::fs;

use crate::program::{Output, fanctl};

/// `fanctl export` with these words, and a configuration.
#[track_caller]
fn export(words: &str, configuration: &str, end: impl FnOnce(crate::program::Run) -> Output) -> Output {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("fanctl-export-{}-{count}.toml", std::process::id()));
    fs::write(&file, configuration).expect("a file");
    let output = end(fanctl(&format!("export {words} --config {}", file.display())));
    fs::remove_file(&file).expect("the file");
    output.prints("")
}

#[test]
fn a_runtime_is_named_and_known() {
    fanctl("export").misused().saying(&["RUNTIME is missing", "fanctl export --help"]);
    fanctl("export rkt")
        .misused()
        .saying(&["RUNTIME cannot be 'rkt'; it is one of docker, podman, cni, lxd, libvirt, flannel-env;"]);
}

#[test]
fn options_that_say_nothing_are_refused() {
    for runtime in ["podman", "cni", "lxd", "libvirt", "flannel-env"] {
        fanctl(&format!("export {runtime} --default-bridge"))
            .misused()
            .saying(&["option '--default-bridge' does not apply to", runtime]);
        fanctl(&format!("export {runtime} --swarm")).misused().saying(&["option '--swarm' does not apply to", runtime]);
    }
    for runtime in ["lxd", "libvirt", "flannel-env"] {
        fanctl(&format!("export {runtime} --check /dev/null"))
            .misused()
            .saying(&["option '--check' does not apply to", runtime]);
    }
    fanctl("export docker --check /dev/null --name blue").misused().saying(&[
        "'--check",
        "'--name",
        "exclude each other",
    ]);
    for other in ["--default-bridge", "--check /dev/null"] {
        fanctl(&format!("export docker --swarm {other}")).misused().saying(&["'--swarm'", "exclude each other"]);
    }
    fanctl("export flannel-env --name blue").misused().saying(&["option '--name' does not apply to flannel-env"]);
    fanctl("export docker --default-bridge --name blue").misused().saying(&[
        "'--default-bridge'",
        "'--name'",
        "exclude each other",
    ]);
}

#[test]
fn a_name_is_one_that_every_runtime_takes() {
    fanctl("export docker --name $(reboot)").misused().saying(&["name '$(reboot)' is none for a network"]);
}

#[test]
fn without_a_fan_there_is_nothing_to_print() {
    export("docker", "", |run| run.fails()).saying(&["no fan is up, and none is configured"]);
    export("cni fan-7", "", |run| run.fails()).saying(&["fan 'fan-7' is neither up nor configured"]);
    let off = r#"fan = [{ overlay = "250", underlay = "nowhere0", enabled = false }]"#;
    export("lxd", off, |run| run.fails()).saying(&["no fan is up, and none is configured"]);
}

#[test]
fn a_configured_fan_that_cannot_be_is_told_with_the_reason() {
    let nowhere = r#"fan = [{ overlay = "250", underlay = "nowhere0" }]"#;
    export("docker", nowhere, |run| run.refuses()).saying(&["fan 250.0.0.0/8: interface 'nowhere0' does not exist"]);
}

#[test]
fn a_faulty_configuration_is_not_guessed_at() {
    export("docker", "fan = 7", |run| run.finds_faults());
    fanctl("export docker --config /nowhere/fan.toml").finds_faults().prints("").saying(&["/nowhere/fan.toml"]);
}
