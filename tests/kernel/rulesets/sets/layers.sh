# Below and beside IP: devices, bridges, ARP, traffic control, the older iptables.

### netdev-ingress-bogons
nft -f - <<END
table netdev odd {
	set bogons {
		type ipv4_addr
		flags interval
		elements = { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/3 }
	}
	chain in {
		type filter hook ingress device eth0 priority -500; policy accept;
		ip frag-off & 0x1fff != 0 counter
		ip saddr @bogons drop
		tcp flags & (fin | psh | urg) == fin | psh | urg drop
		tcp flags syn tcp option maxseg size 1-535 drop
	}
}
END

### netdev-ingress-closed
nft -f - <<END
table netdev odd {
	chain in {
		type filter hook ingress device eth0 priority 0; policy drop;
		ether type arp accept
		ip protocol icmp accept
		ip protocol tcp accept
		tcp dport 22 accept
	}
}
END

### netdev-egress
nft -f - <<END
table netdev odd {
	chain out {
		type filter hook egress device eth0 priority 0; policy accept;
		udp dport 8472 counter drop
		ip protocol 4 counter drop
	}
}
END

### bridge-isolates-ports
nft -f - <<END
table bridge odd {
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname "con*" oifname "con*" ether type ip drop
	}
}
END

### bridge-lets-ip-pass-only
nft -f - <<END
table bridge odd {
	chain input {
		type filter hook input priority 0; policy drop;
		ether type ip accept
		ether type arp accept
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ether type arp accept
		ip protocol tcp accept
		ip protocol icmp accept
	}
}
END

### bridge-drops-dhcp
nft -f - <<END
table bridge odd {
	chain input {
		type filter hook input priority 0; policy accept;
		ether type ip udp dport 67 counter drop
	}
}
END

### ebtables-of-other-protocols
ebtables -A INPUT -p IPX -j DROP
ebtables -A FORWARD -p IPv6 -j DROP
ebtables -P FORWARD ACCEPT

### arptables-of-the-underlay-only
arptables -A INPUT -i eth0 -j ACCEPT
arptables -A OUTPUT -o eth0 -j ACCEPT
arptables -P INPUT DROP

### arp-of-one-network
nft -f - <<END
table arp odd {
	chain input {
		type filter hook input priority 0; policy drop;
		arp saddr ip 172.30.0.0/16 accept
		arp saddr ip 250.0.0.0/8 accept
	}
}
END

### iptables-legacy-closed
iptables-legacy-restore <<END
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -i eth0 -s 10.0.0.0/8 -j DROP
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
END

### iptables-of-both-kinds
iptables-legacy -w -A INPUT -p udp --dport 53 -j DROP
iptables-nft -w -A INPUT -p tcp --dport 53 -j DROP

### filter-of-traffic-control unsure unmended
tc qdisc add dev eth0 clsact
tc filter add dev eth0 egress pref 7 protocol ip u32 match ip dst 192.0.2.1/32 flowid 1:1
