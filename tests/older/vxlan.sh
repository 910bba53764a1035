#!/bin/sh
# What `fanctl up -a` of 0.1.0 (format 1) made of the fan 250.0.0.0/8 over vxlan on 172.30.0.28/16, but for its programs, which
# are in vxlan.ingress, vxlan.egress and refuse: recorded by its --dry-run.
set -e
# As that version did where the kernel has no `meta ibrname`.
ibrname='meta ibrname "fan-250-0-28"'
if ! nft -c "add table bridge x; add chain bridge x y; add rule bridge x y $ibrname" 2>/dev/null; then
	ibrname=
fi
ip route add unreachable 250.0.0.0/8 metric 4278198272 proto 250
ip link add fan-250-0-28 address 02:fa:fa:00:1c:00 type bridge
ip link set fan-250-0-28 mtu 1450 alias 'fan 250.0.0.0/8 172.30.0.28/16 dev eth0 vxlan host-reserve 1 auto'
sysctl -qw net/ipv4/conf/fan-250-0-28/forwarding=1
sysctl -qw net/ipv4/conf/fan-250-0-28/send_redirects=0
ip link add fan-vx16384000 address 06:fa:fa:00:1c:00 type vxlan external vnifilter dstport 8472 nolearning
ip link set fan-vx16384000 mtu 1450 alias 'fan tunnel 250.0.0.0/8'
sysctl -qw net/ipv4/conf/fan-vx16384000/forwarding=1
ip link set fan-vx16384000 master fan-250-0-28
bridge vni add vni 16384000 dev fan-vx16384000
ip address add 250.0.28.1/8 broadcast 250.255.255.255 dev fan-250-0-28 noprefixroute
tc qdisc add dev fan-vx16384000 clsact
nft -f - <<END
table ip fan-250.0.0.0/8 {
	chain guard {
		type filter hook prerouting priority -300; policy accept;
		udp dport 8472 ip daddr 172.30.0.0/16 goto wrapped comment "wrapped for a host 8c043b54f80d868f"
		iifname { "lo", "fan-250-0-28" } accept comment "from the fan 76842185fc53fe98"
		ip saddr 250.0.0.0/8 counter drop comment "foreign sources 1004e4ec6cd5a63f"
		ip daddr 250.0.0.0/8 counter drop comment "foreign packets 956709d19baacfd4"
	}
	chain wrapped {
		ip saddr != 172.30.0.0/16 counter drop comment "wrapped by no host b69ad237ac869322"
		iifname "eth0" accept comment "from the underlay f049cdffc1dd71af"
		fib saddr . iif oif 0 counter drop comment "wrapped by another edf73088db2bf13b"
	}
	chain routed {
		type filter hook forward priority -90; policy accept;
		udp dport 8472 ip daddr 172.30.0.0/16 goto wrapped comment "wrapped by translation c0ed79b5cbc3469f"
		ip hdrlength > 5 fib daddr type local goto by_sender comment "by its sender acaf599e5e9cb952"
	}
	chain by_sender {
		iifname { "fan-250-0-28" } counter drop comment "routed by its sender 719aca4e3b885edc"
		oifname { "fan-250-0-28" } counter drop comment "routed by its sender ade45759e193e666"
	}
	chain genuine {
		type nat hook postrouting priority 90; policy accept;
		ip saddr 250.0.28.0/24 ip daddr 250.0.0.0/8 ip daddr != 250.0.28.0/24 counter snat to ip saddr comment "between slices a661a696f25aedc7"
	}
	chain nat {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 250.0.28.0/24 ip daddr != 250.0.0.0/8 oifname != "fan-250-0-28" counter masquerade comment "leaving 34c5cf3b9720f4c3"
	}
}
table bridge fan-250.0.0.0/8 {
	chain ports {
		type filter hook prerouting priority -200; policy accept;
		ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1 accept comment "our own 2a27f92e310f0f20"
		iifname "fan-vx16384000" accept comment "from the tunnel e33572392cfce9cb"
		meta protocol arp arp saddr ip 250.0.28.0/24 arp saddr ip != 250.0.28.1 accept comment "our own by arp 6a01aa18515291e0"
		$ibrname ip saddr 250.0.0.0/8 counter drop comment "posing d1258c67b2f9fe12"
		$ibrname meta protocol arp arp saddr ip 250.0.0.0/8 counter drop comment "posing by arp fe57ad682e443ea1"
		$ibrname meta protocol { 0x8100, 0x88a8 } @ll,112,16 & 0xfff == 0 counter drop comment "hidden by tags ad3bda7b9a9f6135"
	}
}
END
# Where Docker is installed.
if command -v dockerd >/dev/null; then
	nft add table ip filter
	nft add chain ip filter DOCKER-USER
	nft insert rule ip filter DOCKER-USER iifname '"fan-250-0-28"' counter accept comment '"fan 250.0.0.0/8"'
	nft insert rule ip filter DOCKER-USER oifname '"fan-250-0-28"' counter accept comment '"fan 250.0.0.0/8"'
fi
ip link set fan-250-0-28 up
ip link set fan-vx16384000 up
ip route add 250.0.0.0/8 dev fan-250-0-28 src 250.0.28.1 proto 250 scope link
sysctl -qw net.ipv4.ip_forward=1
