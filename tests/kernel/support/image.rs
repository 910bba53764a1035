//! What is in the containers of real runtimes: busybox, and iperf3 with its libraries.

/// The image's name.
pub const IMAGE: &str = "fan-test";

/// A script that makes the image's tree in a directory.
pub fn tree(directory: &str) -> String {
    format!(
        "[ ! -e {directory}/bin ] || exit 0
         mkdir -p {directory}/bin {directory}/tmp {directory}/etc
         cd {directory}
         cp \"$(command -v busybox)\" bin/busybox
         for applet in sh ip nc ping sleep cat echo netstat udhcpc; do ln -s busybox bin/$applet; done
         cp \"$(command -v iperf3)\" bin/
         ldd bin/iperf3 | grep -o '/[^ ]*' | while read -r library; do
           mkdir -p .\"${{library%/*}}\"
           cp -L \"$library\" .\"$library\"
         done"
    )
}
