//! What a node of Kubernetes does with a DaemonSet: Podman reads it as it is written (`podman kube play`), and runs its
//! containers, in a Debian of the host's own.

use super::image::IMAGE;
use super::podman::configure;
use super::{Host, Root, eventually};

/// A node.
pub struct Kubelet<'a> {
    host: &'a Host,
    root: Root<'a>,
}

impl<'a> Kubelet<'a> {
    /// Has images under the names of `examples/kubernetes`: one with fanctl and nft, as its Containerfile makes it, and one
    /// that waits.
    #[track_caller]
    pub fn on(host: &'a Host) -> Self {
        let root = Root::on(host);
        root.confine();
        configure(&root);
        let image = Root::path("/image");
        host.sh(&format!(
            "cp {} \"$(command -v nft)\" {image}/bin
             ldd {image}/bin/fanctl {image}/bin/nft | grep -o '/[^ ]*[^:]$\\|/[^ ]* (' | sed 's/ (//' | while read -r library; do
               mkdir -p {image}\"${{library%/*}}\"
               cp -L \"$library\" {image}\"$library\"
             done",
            Host::program()
        ))
        .ok();
        root.sh(&format!(
            "mkdir -p /etc/cni/net.d
             tar -C /image -c . | podman import - localhost/fanctl:0.1.0
             podman tag {IMAGE} registry.k8s.io/pause:3.9"
        ))
        .ok();
        Self { host, root }
    }

    /// Runs the pod of a DaemonSet; one that runs already is replaced. Its init containers have come to their end.
    #[track_caller]
    pub fn play(&self, daemon_set: &str) {
        self.host.write(&Root::path("/fan.yaml"), daemon_set);
        let output = self.root.exec("podman kube play --replace /fan.yaml");
        if output.code != Some(0) {
            let said = self.root.sh("for id in $(podman ps -aq); do podman logs $id; done");
            panic!("{output}{said}");
        }
    }

    /// Ends it, and waits until those that watched over its containers have ended, too.
    #[track_caller]
    pub fn down(&self) {
        // `kube down` would give them ten seconds.
        self.root.exec("podman pod rm --all --force --time 0").ok();
        eventually("Podman has cleaned up", || {
            let processes = self.host.processes();
            let is_podmans = |(_, line): &(_, String)| line.contains("conmon") || line.contains("podman");
            (!processes.iter().any(is_podmans)).then_some(())
        });
    }

    /// The files of a directory of the node, by name, and what they hold.
    #[track_caller]
    pub fn files(&self, directory: &str) -> Vec<(String, String)> {
        let directory = Root::path(directory);
        self.host.run(move || {
            let entries = std::fs::read_dir(directory).expect("a directory");
            let mut files: Vec<_> = entries
                .map(|entry| entry.expect("an entry").path())
                .map(|path| {
                    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                    (name, std::fs::read_to_string(path).expect("a text"))
                })
                .collect();
            files.sort();
            files
        })
    }
}

impl Drop for Kubelet<'_> {
    fn drop(&mut self) {
        let _ = self.root.exec("podman pod rm --all --force --time 0");
    }
}
