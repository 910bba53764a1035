//! A CNI runtime: it reads a list of plugins and calls each, as the specification has it (cni.dev, version 0.4.0). The
//! plugins are Debian's; what they write to `/var/lib` is the host's own.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Host, Namespace, Output};

/// Where Debian puts the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A host's runtime, with one list of plugins.
pub struct Cni<'a> {
    host: &'a Host,
    list: Value,
}

/// A container of it: a namespace, and what the plugins said when it was added.
pub struct Pod {
    namespace: Namespace,
    name: String,
    result: Value,
    runtime_config: Value,
}

impl Deref for Pod {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// The addresses that are given out in a network, as `host-local` keeps them: a file for each.
pub fn leases(host: &Host, network: &str) -> Vec<String> {
    let directory = format!("/var/lib/cni/networks/{network}");
    let names: Vec<String> = host.run(move || {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    });
    names.into_iter().filter(|name| name.parse::<Ipv4Addr>().is_ok()).collect()
}

impl<'a> Cni<'a> {
    /// A runtime with this list.
    pub fn new(host: &'a Host, list: Value) -> Self {
        Self { host, list }
    }

    /// ADD: a new container.
    #[track_caller]
    pub fn add(&self, name: &str) -> Pod {
        self.try_add(name, &json!({})).unwrap_or_else(|output| panic!("{output}"))
    }

    /// ADD, with what the runtime asks of plugins that can do it; or what the plugin that failed said.
    #[track_caller]
    pub fn try_add(&self, name: &str, runtime_config: &Value) -> Result<Pod, Output> {
        let mut pod = Pod {
            namespace: Namespace::new(name),
            name: name.into(),
            result: Value::Null,
            runtime_config: runtime_config.clone(),
        };
        for plugin in self.plugins() {
            let output = self.call("ADD", plugin, &pod);
            if output.code != Some(0) {
                return Err(output);
            }
            pod.result = output.json();
        }
        Ok(pod)
    }

    /// CHECK: all is as ADD left it.
    #[track_caller]
    pub fn check(&self, pod: &Pod) {
        for plugin in self.plugins() {
            self.call("CHECK", plugin, pod).ok().silently();
        }
    }

    /// DEL, in the opposite order.
    #[track_caller]
    pub fn del(&self, pod: &Pod) {
        for plugin in self.plugins().rev() {
            self.call("DEL", plugin, pod).ok().silently();
        }
    }

    /// The addresses that are given out.
    pub fn leases(&self) -> Vec<String> {
        leases(self.host, self.list["name"].as_str().expect("a name"))
    }

    fn plugins(&self) -> std::slice::Iter<'_, Value> {
        self.list["plugins"].as_array().expect("plugins").iter()
    }

    #[track_caller]
    fn call(&self, verb: &str, plugin: &Value, pod: &Pod) -> Output {
        let mut config = plugin.clone();
        config["cniVersion"] = self.list["cniVersion"].clone();
        config["name"] = self.list["name"].clone();
        if !pod.result.is_null() {
            config["prevResult"] = pod.result.clone();
        }
        if !plugin["capabilities"].is_null() {
            config["runtimeConfig"] = pod.runtime_config.clone();
        }
        let program = format!("{PLUGINS}/{}", plugin["type"].as_str().expect("a type"));
        let mut command = Command::new(&program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &pod.name)
            .env("CNI_NETNS", format!("/proc/{}/ns/net", pod.namespace.id()))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = self.host.run(move || command.spawn());
        let mut child = started.unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(config.to_string().as_bytes()).expect("to write");
        drop(input);
        Output::of(format!("[{}] {verb} {program} <<< {config}", pod.name), child)
    }
}

impl Pod {
    /// The address that it was given.
    pub fn address(&self) -> String {
        let address = self.result["ips"][0]["address"].as_str().expect("an address");
        address.split('/').next().unwrap_or_default().into()
    }
}
