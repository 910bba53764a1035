# What a firewall is not written in every day.

### verdict-maps-of-several-keys
nft -f - <<END
table inet odd {
	map services {
		type ifname . inet_proto . inet_service : verdict
		elements = { "fan-250-0-28" . udp . 53 : drop, "fan-250-0-28" . tcp . 53 : accept, "eth0" . udp . 8472 : jump seen }
	}
	map ways {
		type ifname . ifname : verdict
		elements = { "fan-250-0-28" . "eth0" : drop }
	}
	chain seen {
		counter
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname . meta l4proto . th dport vmap @services
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname . oifname vmap @ways
	}
}
END

### notrack-and-untracked
nft -f - <<END
table ip odd {
	chain early {
		type filter hook prerouting priority raw; policy accept;
		udp dport { 4789, 8472 } notrack
		ip protocol 4 notrack
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iifname != "eth0" accept
		ct state established,related accept
		icmp type { echo-request, destination-unreachable } accept
		ct state untracked counter drop
	}
}
END

### notrack-and-accepted
nft -f - <<END
table ip odd {
	chain early {
		type filter hook prerouting priority raw; policy accept;
		iifname "eth0" ip saddr 172.30.0.0/16 notrack
	}
	chain late {
		type filter hook output priority raw; policy accept;
		oifname "eth0" ip daddr 172.30.0.0/16 notrack
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iifname != "eth0" accept
		ct state established,related,untracked accept
	}
}
END

### marks-across-chains
nft -f - <<END
table inet odd {
	chain early {
		type filter hook prerouting priority mangle; policy accept;
		iifname "fan-250-0-28" meta mark set meta mark or 0x100
		meta mark and 0x100 == 0x100 tcp dport 53 meta mark set 0x200
	}
	chain input {
		type filter hook input priority 0; policy accept;
		meta mark 0x200 counter drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		meta mark 0x100 oifname "eth0" counter drop
	}
}
END

### connection-zones
nft -f - <<END
table ip odd {
	chain early {
		type filter hook prerouting priority raw; policy accept;
		iifname "tap7" ct zone set 7
	}
	chain input {
		type filter hook input priority 0; policy drop;
		ct state vmap { new : accept, established : accept, related : accept, invalid : drop }
	}
}
END

### transparent-proxy
nft -f - <<END
table ip odd {
	chain early {
		type filter hook prerouting priority mangle; policy accept;
		meta l4proto tcp socket transparent 1 meta mark set 0x1 accept
		iifname "fan-250-0-28" tcp dport { 80, 443 } tproxy to :3128 meta mark set 0x1 accept
	}
}
END

### synproxy
nft -f - <<END
table ip odd {
	chain early {
		type filter hook prerouting priority raw; policy accept;
		iifname "eth0" tcp dport 80 tcp flags syn notrack
	}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "eth0" tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
		iifname "eth0" tcp dport 80 ct state invalid drop
	}
}
END

### queue-to-an-inspector unsure
iptables -w -A FORWARD -i fan-250-0-28 -j NFQUEUE --queue-num 7 --queue-bypass

### lengths-and-payload unsure
iptables -w -A INPUT -p udp -m length --length 60000:65535 -j DROP
nft -f - <<END
table ip odd {
	chain input {
		type filter hook input priority 0; policy accept;
		@th,16,16 53 @nh,72,8 17 counter drop
	}
}
END

### limits-before-a-policy
nft -f - <<END
table inet odd {
	chain input {
		type filter hook input priority 0; policy drop;
		ct state established,related accept
		iifname "fan-250-0-28" udp dport { 53, 67 } accept
		iifname "fan-250-0-28" tcp dport 53 accept
		udp dport 8472 limit rate over 1000/second log prefix "many" 
		ip saddr 172.30.0.0/16 udp dport 8472 accept
		ip saddr 172.30.0.0/16 ip protocol 4 accept
	}
}
END

### ranges-negations-and-sets
nft -f - <<END
table ip odd {
	set gone {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 250.0.64.0-250.255.255.255 }
	}
	chain forward {
		type filter hook forward priority 5; policy accept;
		iifname "fan-*" oifname != { "fan-*", "lo" } ip daddr != 198.41.0.0/16 drop
		ip saddr @gone drop
		tcp dport != { 1-65535 } drop
		meta mark != 0 drop
		ip protocol != { tcp, udp, icmp } drop
	}
}
END

### errors-are-dropped
nft -f - <<END
table inet odd {
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "eth0" icmp type != { echo-request, echo-reply } drop
	}
	chain output {
		type filter hook output priority 0; policy accept;
		icmp type destination-unreachable icmp code frag-needed drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state related drop
	}
}
END
