# Firewalls of hosts: images of clouds, distributions' examples, shorewall, fail2ban and their like, VPNs.

### centos-iptables-services
iptables-nft-restore <<END
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
END

### oracle-cloud-image
iptables-nft-restore <<END
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:InstanceServices - [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p udp --sport 123 -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -d 169.254.0.0/16 -j InstanceServices
-A InstanceServices -d 169.254.0.2/32 -p tcp -m owner --uid-owner 0 -m tcp --dport 3260 -j ACCEPT
-A InstanceServices -d 169.254.169.254/32 -p udp -m udp --dport 53 -j ACCEPT
-A InstanceServices -d 169.254.0.0/16 -p tcp -m tcp -j REJECT --reject-with tcp-reset
-A InstanceServices -d 169.254.0.0/16 -p udp -m udp -j REJECT --reject-with icmp-port-unreachable
COMMIT
END

### google-cloud-container-optimized
iptables-legacy-restore <<END
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -m conntrack --ctstate NEW,RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
COMMIT
END

### shorewall
iptables-nft-restore <<END
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 10080 -j CT --helper amanda
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:tcpre - [0:0]
:tcfor - [0:0]
-A PREROUTING -j tcpre
-A FORWARD -j MARK --set-xmark 0x0/0xff
-A FORWARD -j tcfor
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:~log0 - [0:0]
:dynamic - [0:0]
:eth0_fwd - [0:0]
:eth0_in - [0:0]
:fw-net - [0:0]
:logdrop - [0:0]
:logflags - [0:0]
:net-fw - [0:0]
:reject - [0:0]
:sfilter - [0:0]
:smurfs - [0:0]
:smurflog - [0:0]
:tcpflags - [0:0]
-A INPUT -i eth0 -j eth0_in
-A INPUT -i lo -j ACCEPT
-A INPUT -m addrtype --dst-type BROADCAST -j DROP
-A INPUT -m addrtype --dst-type MULTICAST -j DROP
-A INPUT -m limit --limit 1/sec --limit-burst 10 -j LOG --log-prefix "Shorewall:INPUT:REJECT:" --log-level 6
-A INPUT -g reject
-A FORWARD -i eth0 -o eth0 -g sfilter
-A FORWARD -i eth0 -j eth0_fwd
-A FORWARD -g reject
-A OUTPUT -o eth0 -j fw-net
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -g reject
-A eth0_fwd -m conntrack --ctstate INVALID,NEW,UNTRACKED -j dynamic
-A eth0_fwd -m conntrack --ctstate INVALID,NEW,UNTRACKED -j smurfs
-A eth0_fwd -p tcp -j tcpflags
-A eth0_in -m conntrack --ctstate INVALID,NEW,UNTRACKED -j dynamic
-A eth0_in -m conntrack --ctstate INVALID,NEW,UNTRACKED -j smurfs
-A eth0_in -p tcp -j tcpflags
-A eth0_in -p udp -m udp --dport 67:68 -j ACCEPT
-A eth0_in -j net-fw
-A fw-net -p udp -m udp --dport 67:68 -j ACCEPT
-A fw-net -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A fw-net -j ACCEPT
-A net-fw -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A net-fw -m conntrack --ctstate INVALID -j DROP
-A net-fw -p tcp -m tcp --dport 22 -j ACCEPT
-A net-fw -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A net-fw -m addrtype --dst-type BROADCAST -j DROP
-A net-fw -j LOG --log-prefix "Shorewall:net-fw:DROP:" --log-level 6
-A net-fw -j DROP
-A smurfs -s 0.0.0.0/32 -j RETURN
-A smurfs -m addrtype --src-type BROADCAST -g smurflog
-A smurfs -s 224.0.0.0/4 -g smurflog
-A smurflog -j DROP
-A tcpflags -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG -g logflags
-A tcpflags -p tcp -m tcp --tcp-flags SYN,RST SYN,RST -g logflags
-A tcpflags -p tcp -m tcp --sport 0 --tcp-flags FIN,SYN,RST,ACK SYN -g logflags
-A logflags -j DROP
-A reject -m addrtype --src-type BROADCAST -j DROP
-A reject -s 224.0.0.0/4 -j DROP
-A reject -p igmp -j DROP
-A reject -p tcp -j REJECT --reject-with tcp-reset
-A reject -p udp -j REJECT --reject-with icmp-port-unreachable
-A reject -p icmp -j REJECT --reject-with icmp-host-unreachable
-A reject -j REJECT --reject-with icmp-host-prohibited
-A sfilter -j DROP
COMMIT
END

### fail2ban-iptables
iptables-nft-restore <<END
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:f2b-sshd - [0:0]
:f2b-recidive - [0:0]
-A INPUT -p tcp -j f2b-recidive
-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A f2b-recidive -s 198.51.100.9/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-recidive -j RETURN
-A f2b-sshd -s 198.51.100.23/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
END

### fail2ban-ipset-that-bans-a-host
ipset create f2b-all hash:ip timeout 600
ipset add f2b-all 198.51.100.9
ipset add f2b-all 172.30.0.27
iptables -w -I INPUT -m set --match-set f2b-all src -j DROP

### fail2ban-nftables-that-bans-a-host
nft -f - <<END
table inet f2b-table {
	set addr-set-all {
		type ipv4_addr
		elements = { 198.51.100.9, 172.30.0.27 }
	}
	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		ip saddr @addr-set-all reject with icmp port-unreachable
	}
}
END

### crowdsec-nftables
nft -f - <<END
table ip crowdsec {
	set crowdsec-blacklists {
		type ipv4_addr
		flags timeout
		elements = { 198.51.100.9 timeout 4h, 203.0.113.50 timeout 4h }
	}
	chain crowdsec-chain-input {
		type filter hook input priority filter - 10; policy accept;
		ip saddr @crowdsec-blacklists counter drop
	}
	chain crowdsec-chain-forward {
		type filter hook forward priority filter - 10; policy accept;
		ip saddr @crowdsec-blacklists counter drop
	}
}
END

### debian-workstation
nft -f - <<END
table inet filter {
	chain input {
		type filter hook input priority 0;
		iif lo accept
		ct state established,related accept
		ip6 nexthdr icmpv6 icmpv6 type { nd-neighbor-solicit, nd-router-advert, nd-neighbor-advert } accept
		counter drop
	}
}
END

### arch-default
nft -f - <<END
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state invalid drop comment "early drop of invalid connections"
		ct state { established, related } accept comment "allow tracked connections"
		iif lo accept comment "allow from loopback"
		ip protocol icmp accept comment "allow icmp"
		meta l4proto ipv6-icmp accept comment "allow icmp v6"
		tcp dport ssh accept comment "allow sshd"
		meta pkttype host limit rate 5/second counter reject with icmpx type admin-prohibited
		counter
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
END

### nft-home-router
nft -f - <<END
define lan = { fan-250-0-28, br-lan }
table inet home {
	chain global {
		ct state vmap { established : accept, related : accept, invalid : drop }
	}
	chain input_wan {
		icmp type echo-request limit rate 5/second accept
		ip protocol . th dport vmap { tcp . 22 : accept, udp . 51820 : accept }
	}
	chain input_lan {
		icmp type echo-request limit rate 5/second accept
		ip protocol . th dport vmap { tcp . 22 : accept, udp . 53 : accept, tcp . 53 : accept, udp . 67 : accept }
	}
	chain input {
		type filter hook input priority 0; policy drop;
		jump global
		iifname vmap { lo : accept, eth0 : jump input_wan, "fan-250-0-28" : jump input_lan }
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		jump global
		iifname "fan-250-0-28" accept
		oifname "fan-250-0-28" ip saddr 250.0.0.0/8 accept
	}
}
END

### openwrt-fw4
nft -f - <<END
table inet fw4 {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept comment "!fw4: Accept traffic from loopback"
		ct state vmap { established : accept, related : accept }
		tcp flags & (fin | syn | rst | ack) == syn jump syn_flood comment "!fw4: Rate limit TCP syn packets"
		iifname "br-lan" jump input_lan
		iifname "eth0" jump input_wan
		jump handle_reject
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state vmap { established : accept, related : accept }
		iifname "br-lan" jump forward_lan
		iifname "eth0" jump forward_wan
		jump handle_reject
	}
	chain output {
		type filter hook output priority filter; policy accept;
		oif lo accept
		ct state vmap { established : accept, related : accept }
		oifname "br-lan" jump output_lan
		oifname "eth0" jump output_wan
	}
	chain handle_reject {
		meta l4proto tcp reject with tcp reset
		reject with icmpx port-unreachable
	}
	chain syn_flood {
		limit rate 25/second burst 50 packets return
		drop
	}
	chain input_lan {
		accept
	}
	chain output_lan {
		accept
	}
	chain forward_lan {
		oifname "eth0" counter accept
	}
	chain input_wan {
		meta nfproto ipv4 udp dport 68 counter accept comment "!fw4: Allow-DHCP-Renew"
		icmp type 8 counter accept comment "!fw4: Allow-Ping"
		meta nfproto ipv4 meta l4proto igmp counter accept
		jump reject_from_wan
	}
	chain output_wan {
		oifname "eth0" meta nfproto ipv4 ct state invalid counter drop comment "!fw4: Prevent NAT leakage"
		oifname "eth0" counter accept
	}
	chain forward_wan {
		icmpv6 type { destination-unreachable, time-exceeded } limit rate 1000/second counter accept
		meta l4proto esp counter jump accept_to_lan
		jump reject_to_wan
	}
	chain accept_to_lan {
		oifname "br-lan" counter accept
	}
	chain reject_from_wan {
		iifname "eth0" counter jump handle_reject
	}
	chain reject_to_wan {
		oifname "eth0" counter jump handle_reject
	}
	chain mangle_forward {
		type filter hook forward priority mangle; policy accept;
		iifname "eth0" tcp flags & (fin | syn | rst) == syn tcp option maxseg size set rt mtu
		oifname "eth0" tcp flags & (fin | syn | rst) == syn tcp option maxseg size set rt mtu
	}
	chain srcnat {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth0" jump srcnat_wan
	}
	chain srcnat_wan {
		meta nfproto ipv4 masquerade
	}
}
END

### csf
iptables-nft-restore <<END
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:ALLOWIN - [0:0]
:ALLOWOUT - [0:0]
:DENYIN - [0:0]
:INVALID - [0:0]
:INVDROP - [0:0]
:LOCALINPUT - [0:0]
:LOCALOUTPUT - [0:0]
:LOGDROPIN - [0:0]
:LOGDROPOUT - [0:0]
-A INPUT ! -i lo -j LOCALINPUT
-A INPUT -i lo -j ACCEPT
-A INPUT ! -i lo -p tcp -j INVALID
-A INPUT ! -i lo -p icmp -m icmp --icmp-type 8 -m limit --limit 1/sec -j ACCEPT
-A INPUT ! -i lo -p icmp -m icmp --icmp-type 8 -j LOGDROPIN
-A INPUT ! -i lo -p icmp -j ACCEPT
-A INPUT ! -i lo -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT ! -i lo -p tcp -m conntrack --ctstate NEW -m tcp --dport 22 -j ACCEPT
-A INPUT ! -i lo -p udp -m conntrack --ctstate NEW -m udp --dport 53 -j ACCEPT
-A INPUT ! -i lo -j LOGDROPIN
-A OUTPUT ! -o lo -j LOCALOUTPUT
-A OUTPUT ! -o lo -p udp -m udp --dport 53 -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT ! -o lo -p icmp -j ACCEPT
-A OUTPUT ! -o lo -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT ! -o lo -p tcp -m conntrack --ctstate NEW -m tcp --dport 443 -j ACCEPT
-A OUTPUT ! -o lo -j LOGDROPOUT
-A ALLOWIN -s 192.0.2.5/32 ! -i lo -j ACCEPT
-A DENYIN -s 198.51.100.9/32 ! -i lo -j DROP
-A INVALID -m conntrack --ctstate INVALID -j INVDROP
-A INVALID -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j INVDROP
-A INVALID -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j INVDROP
-A INVDROP -j DROP
-A LOCALINPUT ! -i lo -j ALLOWIN
-A LOCALINPUT ! -i lo -j DENYIN
-A LOCALOUTPUT ! -o lo -j ALLOWOUT
-A LOGDROPIN -p tcp -m tcp --dport 67 -j DROP
-A LOGDROPIN -p udp -m limit --limit 30/min -j LOG --log-prefix "Firewall: *UDP_IN Blocked* "
-A LOGDROPIN -j DROP
-A LOGDROPOUT -j REJECT --reject-with icmp-port-unreachable
COMMIT
END

### vpn-kill-switch
nft -f - <<END
table inet vpn {
	chain prerouting {
		type filter hook prerouting priority -199; policy accept;
		iif != lo ct mark 0x00000f41 meta mark set 0x6d6f6c65
	}
	chain output {
		type filter hook output priority 0; policy drop;
		oif lo accept
		ct mark 0x00000f41 accept
		udp sport 68 ip daddr 255.255.255.255 udp dport 67 accept
		ip daddr 192.0.2.77 udp dport 51820 meta mark 0x6d6f6c65 accept
		oifname "wg0-vpn" accept
		reject
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iif lo accept
		ct mark 0x00000f41 accept
		udp sport 67 udp dport 68 accept
		ip saddr 192.0.2.77 udp sport 51820 ct state established accept
		iifname "wg0-vpn" ct state established accept
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct mark 0x00000f41 accept
		oifname "wg0-vpn" accept
		iifname "wg0-vpn" ct state established accept
		reject
	}
}
END

### tailscale
iptables-nft-restore <<END
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ts-forward - [0:0]
:ts-input - [0:0]
-A INPUT -j ts-input
-A FORWARD -j ts-forward
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP
-A ts-forward -o tailscale0 -j ACCEPT
-A ts-input -s 100.100.7.7/32 -i lo -j ACCEPT
-A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
-A ts-input -i tailscale0 -j ACCEPT
-A ts-input -p udp -m udp --dport 41641 -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
END
