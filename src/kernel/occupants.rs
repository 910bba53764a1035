//! Whose network namespace is behind a port of a bridge: a process there, and the container that its cgroup names.
//!
//! A process may choose its name, and who may make cgroups theirs: both are only shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::link::LinkAttribute;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde_json::Value;

use super::file::{self, FILE_LIMIT, KERNEL_LIMIT};
use super::netlink::{Netlink, Refusal};
use super::{KernelError, Machine, link, process};
use crate::fan::text::excerpt;
use crate::plan::host::{Container, Host, Occupant};

/// Where Docker keeps what it knows of its containers, a directory each (moby, daemon/container.go at v27.0).
const DOCKER: &str = "/var/lib/docker/containers";

impl Machine {
    /// Finds out who is behind the ports of bridges, as far as the kernel shows it to us.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn occupy(&self, host: &mut Host) -> Result<(), KernelError> {
        let messages = self.netlink.dump_links()?;
        let names = link::names(&messages);
        let mut processes = None;
        for message in &messages {
            let Some(name) = names.get(&message.message.header.index) else { continue };
            let is_port = host.link(name).is_some_and(|link| link.master.is_some() && !link.ours);
            let namespace = message.message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::LinkNetNsId(number) if is_port => Some(*number),
                _ => None,
            });
            let Some(namespace) = namespace else { continue };
            let processes = processes.get_or_insert_with(|| inhabitants(&self.netlink));
            if let Some(occupant) = processes.get(&namespace).and_then(|pid| occupant(*pid)) {
                host.occupants.insert(name.clone(), occupant);
            }
        }
        Ok(())
    }
}

/// A process of every network namespace that this one has a number for: of several, the first in the process table.
pub(crate) fn inhabitants(netlink: &Netlink) -> BTreeMap<i32, u32> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::new());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(namespace) = fs::read_link(Path::new(&entry.path()).join("ns/net")) else {
            continue;
        };
        if seen.insert(namespace)
            && let Ok(Some(number)) = number_of(netlink, PID, process)
        {
            found.insert(number, process);
        }
    }
    found
}

/// Where ip-netns(8) keeps the namespaces that have a name.
const NAMED: &str = "/run/netns";

/// The files of named network namespaces that this one has a number for: of several, the first by name.
pub(crate) fn named(netlink: &Netlink) -> BTreeMap<i32, PathBuf> {
    /// More are not looked at.
    const MOST: usize = 4096;
    let files = fs::read_dir(NAMED).into_iter().flatten().flatten().take(MOST);
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    let mut found = BTreeMap::new();
    for path in files {
        // The kernel refuses what is no namespace.
        let Ok(file) = File::options().read(true).custom_flags(O_NONBLOCK | O_NOFOLLOW).open(&path) else { continue };
        let Ok(descriptor) = u32::try_from(file.as_raw_fd()) else { continue };
        if let Ok(Some(number)) = number_of(netlink, DESCRIPTOR, descriptor) {
            found.entry(number).or_insert(path);
        }
    }
    found
}

/// What a network namespace is given by (linux/net_namespace.h).
const PID: u16 = 2; // NETNSA_PID
const DESCRIPTOR: u16 = 3; // NETNSA_FD

/// The number that this network namespace has for another.
fn number_of(netlink: &Netlink, by: u16, value: u32) -> Result<Option<i32>, Refusal> {
    const RTM_GETNSID: u16 = 90;
    const NSID: u16 = 1; // NETNSA_NSID, linux/net_namespace.h
    // A struct rtgenmsg, padded, and one attribute.
    let mut request = vec![0; 4];
    request.extend(8_u16.to_ne_bytes());
    request.extend(by.to_ne_bytes());
    request.extend(value.to_ne_bytes());
    let answers = netlink.raw(RTM_GETNSID, NLM_F_ACK, &request)?;
    let id = answers.first().and_then(|answer| match answer.get(4..)?.first_chunk::<8>()? {
        [_, _, a, b, id @ ..] if u16::from_ne_bytes([*a, *b]) == NSID => Some(i32::from_ne_bytes(*id)),
        _ => None,
    });
    Ok(id.filter(|id| *id >= 0))
}

/// What a process is called, and whose it is; none when it has ended.
fn occupant(pid: u32) -> Option<Occupant> {
    let program = excerpt(&process::comm(pid.try_into().ok()?)?);
    let cgroup = file::read_text(format!("/proc/{pid}/cgroup"), KERNEL_LIMIT).unwrap_or_default();
    let container = container(&cgroup).map(|(runtime, id)| {
        let name = (runtime == "docker").then(|| docker_name(&id)).flatten();
        Container { runtime, id, name }
    });
    Some(Occupant { pid, program, container })
}

/// The runtime and the identifier in a /proc/PID/cgroup (cgroups(7)): 64 hexadecimal digits, or for LXC a name.
fn container(cgroup: &str) -> Option<(&'static str, String)> {
    const RUNTIMES: [(&str, &str); 3] =
        [("docker-", "docker"), ("libpod-", "podman"), ("cri-containerd-", "containerd")];
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let of_path = |path: &str| {
        let (mut before, mut found) = ("", None);
        for part in path.split('/') {
            let name = part.strip_suffix(".scope").unwrap_or(part);
            let prefixed = RUNTIMES.iter().find_map(|(prefix, runtime)| Some((*runtime, name.strip_prefix(prefix)?)));
            let plain = (before == "docker").then_some(("docker", name));
            found =
                prefixed.or(plain).filter(|(_, id)| is_id(id)).map(|(runtime, id)| (runtime, id.to_string())).or(found);
            found = found.or_else(|| Some(("lxc", excerpt(name.strip_prefix("lxc.payload.")?))));
            before = part;
        }
        found
    };
    paths.into_iter().find_map(of_path)
}

/// What a container of Docker is called.
fn docker_name(id: &str) -> Option<String> {
    let text = file::read_text(Path::new(DOCKER).join(id).join("config.v2.json"), FILE_LIMIT).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    let name = value.get("Name")?.as_str()?;
    Some(excerpt(name.strip_prefix('/').unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_names_a_container() {
        let id = "0123456789abcdef".repeat(4);
        let of = |path: String| container(&format!("0::{path}\n"));
        let found = |runtime| Some((runtime, id.clone()));
        assert_eq!(of(format!("/system.slice/docker-{id}.scope")), found("docker"));
        assert_eq!(of(format!("/docker/{id}/init")), found("docker"));
        assert_eq!(of(format!("/machine.slice/libpod-{id}.scope/container")), found("podman"));
        assert_eq!(of(format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope")), found("containerd"));
        assert_eq!(of("/lxc.payload.web/init.scope".into()), Some(("lxc", "web".into())));
        assert_eq!(of("/lxc.payload.a\u{1b}[2J".into()), Some(("lxc", "a\\x1b[2J".into())));
        for none in ["/", "/user.slice", "/docker/web", "/docker-../../etc.scope", "/system.slice/docker-0.scope"] {
            assert_eq!(of(none.into()), None, "{none}");
        }
        assert_eq!(container("nonsense"), None);
        assert_eq!(container(&format!("12:cpu:/docker/{id}\n")), found("docker"));
    }
}
