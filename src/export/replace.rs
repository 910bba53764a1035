//! Whether a file that is there is an earlier export, which a new one may replace.

use super::text::quoted;
use super::{Runtime, networks};

/// Whether a file was exported for this runtime, and for a network of this name.
///
/// # Errors
/// A sentence: it is something else.
pub(crate) fn may_replace(runtime: Runtime, name: &str, there: &str) -> Result<(), String> {
    // A comment tells of names.
    let lines: Vec<&str> = there.lines().filter(|line| !line.starts_with('#')).collect();
    let commands = lines.join("\n");
    let is_command =
        |words: &str| commands.starts_with(words) && commands.split_ascii_whitespace().last() == Some(name);
    let is_swarm = || {
        commands.starts_with("docker network create --config-only ") && commands.ends_with(&format!("-node {name}\nfi"))
    };
    let has_line = |line: String| there.lines().any(|there| there.trim() == line);
    let is_one = match runtime {
        Runtime::Docker => is_command("docker network create ") || is_swarm(),
        Runtime::Podman => is_command("unshare --net podman network create "),
        Runtime::Cni => networks(runtime, there, false).is_ok_and(|given| given.iter().any(|given| given.name == name)),
        Runtime::Lxd => has_line(format!("name: {}", quoted(name))) && has_line("nictype: bridged".into()),
        Runtime::Libvirt => has_line("<network>".into()) && has_line(format!("<name>{name}</name>")),
        Runtime::FlannelEnv => {
            let mut lines = there.lines().filter(|line| !line.trim().is_empty());
            lines.all(|line| line.starts_with("FLANNEL_"))
        }
    };
    if is_one {
        return Ok(());
    }
    Err(match runtime {
        Runtime::FlannelEnv => format!("is no export for {runtime}"),
        _ => format!("is no export for {runtime} of a network '{name}'"),
    })
}
