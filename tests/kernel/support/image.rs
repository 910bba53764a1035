//! What is in the containers of real runtimes: busybox, and iperf3 with its libraries.

/// The image's name.
pub const IMAGE: &str = "fan-test";

/// What a container does with its lease, as a script of udhcpc.
pub const LEASE: &str = "#!/bin/sh
[ \"$1\" = bound ] || exit 0
ip addr add \"$ip/$mask\" dev \"$interface\"
ip link set \"$interface\" mtu \"$mtu\"
ip route add default via \"$router\"
echo \"$ip\" >/address
";

/// A script that makes the image's tree in a directory.
pub fn tree(directory: &str) -> String {
    format!(
        "[ ! -e {directory}/bin ] || exit 0
         mkdir -p {directory}/bin {directory}/tmp {directory}/etc
         cd {directory}
         cp \"$(command -v busybox)\" bin/busybox
         for applet in sh mv ip nc ping sleep cat echo netstat udhcpc; do ln -s busybox bin/$applet; done
         cp \"$(command -v iperf3)\" bin/
         ldd bin/iperf3 | grep -o '/[^ ]*' | while read -r library; do
           mkdir -p .\"${{library%/*}}\"
           cp -L \"$library\" .\"$library\"
         done"
    )
}
