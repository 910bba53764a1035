//! What is fuzzed: every reader of what others wrote. A target takes any bytes and panics when it finds a mistake: a reader
//! must not panic, and what it read is written as text or message again and read back as the same.
//!
//! Compiled twice: with a fuzzer for each target (`make fuzz`), and into tests/fuzz.rs, which feeds the seeds to them on any
//! toolchain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use clap::Parser;
use fanctl::cli::args::{Cli, Command};
use fanctl::cli::usage;
use fanctl::config::{Configuration, Source, convert, legacy, toml};
use fanctl::fan::Fan;
use fanctl::fan::keys::file::KeyFile;
use fanctl::fan::keys::table::Table;
use fanctl::fan::name::InterfaceName;
use fanctl::fan::request::Request;
use fanctl::kernel::netlink::Raw;
use fanctl::kernel::wireguard::Device;
use fanctl::kernel::{dnsmasq, filter, link, netlink, nft, nftables, route, vni};
use fanctl::names::answer::{Query, Reply, Transport};
use fanctl::names::daemon::{engine as container_engine, leases as lease_file};
use fanctl::names::mesh::{Event, Mesh, Settings};
use fanctl::names::zone::{DOMAIN, Zone};
use fanctl::plan::firewall::{Accept, ForwardChain, Ruleset};
use fanctl::plan::state::{Bridge, Direction, Ipv6, Object, Owner, Tunnel, TunnelKind};
use netlink_packet_core::{Emitable, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption};

/// A reader, and its oracle.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its seeds' directory too.
pub const TARGETS: [(&str, Target); 20] = [
    ("config_toml", config_toml),
    ("config_legacy", config_legacy),
    ("arguments", arguments),
    ("label", label),
    ("datagram", datagram),
    ("links", links),
    ("addresses", addresses),
    ("routes", routes),
    ("rules", rules),
    ("filters", filters),
    ("vnis", vnis),
    ("key_file", key_file),
    ("wireguard", wireguard),
    ("tables", tables),
    ("firewall", firewall),
    ("servers", servers),
    ("gateways", gateways),
    ("questions", questions),
    ("leases", leases),
    ("engine", engine),
];

/// A file of secrets.
pub fn key_file(data: &[u8]) {
    // Its kin, which begins with another word.
    let _ = Table::read(data);
    match KeyFile::read(data) {
        Ok(file) => assert_eq!(KeyFile::read(file.text().as_bytes()), Ok(file), "what is written is read"),
        Err(fault) => {
            let told = fault.to_string();
            assert!(!told.contains('\n'));
            // What is quoted of a file is the word of a version at most: `fanctl-`, letters, a number.
            let quoted = told.split_once('\'').map_or("", |(_, rest)| rest);
            assert!(quoted.find('\'').is_none_or(|len| len <= 28), "{told}");
        }
    }
}

/// What the kernel tells of a WireGuard device, in two messages.
pub fn wireguard(data: &[u8]) {
    let mut device = Device::default();
    let (one, two) = data.split_at(data.len() / 2);
    device.read(one);
    device.read(two);
    assert!(device.peers.len() <= data.len());
}

fn configs(configuration: &Configuration) -> Vec<&Request> {
    configuration.entries.iter().map(|entry| &entry.config).collect()
}

/// Whether a fan is read back from its table as it was written.
fn is_written_as_read(config: &Request) {
    let table = convert::table(config);
    let again = toml::read(&Source::new("fan.toml", &table));
    assert!(again.faults.is_empty(), "{:?}\n{table}", again.faults);
    assert_eq!(configs(&again), [config], "{table}");
    let values = config.values();
    let value = |name: &str| values.iter().find(|(key, _)| key.name == name).map(|(_, value)| value.as_str());
    assert_eq!(Request::from_values(|key| value(key.name)).as_ref(), Ok(config));
}

/// /etc/fan.toml.
pub fn config_toml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let whole = Configuration::read(&[Source::new("/etc/fan.toml", &text)]);
    configs(&whole).into_iter().for_each(is_written_as_read);
    for fault in &whole.faults {
        assert!(!fault.message.is_empty() && !fault.place.is_empty(), "{fault:?}");
    }
}

/// /etc/network/fan, and the way from it, from LXD's and from Juju's text to /etc/fan.toml.
pub fn config_legacy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = Source::new("/etc/network/fan", &text);
    let read = legacy::read(&source);
    for config in configs(&read) {
        is_written_as_read(&config.as_written());
    }
    if let Ok(table) = convert::legacy_file(&source) {
        let again = toml::read(&Source::new("fan.toml", &table));
        assert!(again.faults.is_empty(), "{:?}\n{table}", again.faults);
        let read: Vec<Request> = configs(&read).into_iter().map(Request::as_written).collect();
        assert_eq!(configs(&again), read.iter().collect::<Vec<_>>(), "{table}");
    }
    if let Ok(table) = convert::file(&source) {
        let again = toml::read(&Source::new("fan.toml", &table));
        assert!(again.faults.is_empty(), "{:?}\n{table}", again.faults);
    }
}

/// A command line, a word a line.
pub fn arguments(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.split('\n').collect();
    match Cli::try_parse_from(["fanctl"].into_iter().chain(words.iter().copied())) {
        Ok(cli) => match &cli.command {
            Command::Up(args) if args.all().is_none() => {
                if let Ok(config) = args.config() {
                    is_written_as_read(&config.as_written());
                }
            }
            Command::Down(args) => {
                let _ = args.named();
            }
            _ => {}
        },
        Err(error) => assert!(!usage::sentence(&error, &words).is_empty()),
    }
}

/// The alias of a bridge, behind its name in the first line, or of a tunnel.
pub fn label(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (name, alias) = text.split_once('\n').unwrap_or(("fan-250-0-28", &text));
    if let Some(owner) = Tunnel::owner_of_label(alias) {
        let tunnel = Tunnel {
            owner,
            name: InterfaceName::shared_tunnel(),
            mtu: 1480,
            forwarding: true,
            ipv6: None,
            kind: TunnelKind::Ipip,
        };
        assert_eq!(Tunnel::owner_of_label(&tunnel.label()), Some(owner));
    }
    let Ok(bridge) = name.parse::<InterfaceName>() else {
        return;
    };
    if let Some(fan) = Fan::from_label(&bridge, alias) {
        let label = fan.label();
        assert!(label.len() <= 255, "{label}");
        assert_eq!(Fan::from_label(&bridge, &label), Some(fan), "{label}");
    }
}

/// What a socket of netlink receives.
pub fn datagram(data: &[u8]) {
    for message in netlink::messages(data).unwrap_or_default() {
        match message.payload {
            NetlinkPayload::Error(error) => {
                if let Some(refusal) = netlink::refusal(&error) {
                    assert!(!refusal.to_string().is_empty());
                }
            }
            NetlinkPayload::InnerMessage(raw) => drop(raw.read()),
            _ => {}
        }
    }
}

/// Devices by their index, as a host with two fans has them.
fn names() -> BTreeMap<u32, InterfaceName> {
    let names = ["lo", "eth0", "fan-250-0-28", "fan-vx16384000", "fan-251-0-28", "fan-vx16449536", "fan-ipip"];
    (1..).zip(names.map(|name| name.parse().expect("a name"))).collect()
}

/// The devices that routes of ours lead to.
fn devices() -> route::Devices {
    let fan = |bridge: &str, label: &str| {
        let bridge: InterfaceName = bridge.parse().expect("a name");
        (bridge.clone(), Fan::from_label(&bridge, label).expect("a fan"))
    };
    let stray: InterfaceName = "eth0".parse().expect("a name");
    route::Devices {
        fans: [
            fan("fan-250-0-28", "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1"),
            fan("fan-251-0-28", "fan 251.0.0.0/8 172.30.0.28/16 dev eth0 vxlan host-reserve 1"),
        ]
        .into(),
        tunnels: [InterfaceName::shared_tunnel()].into(),
        strays: [(stray, [252, 0, 28, 0].into())].into(),
    }
}

/// A message of this type, as the kernel would send it.
fn received(kind: u16, payload: &[u8]) -> Option<Message> {
    let payload = payload.to_vec();
    Raw { kind, payload }.read()
}

/// A message of ours, as the kernel would send it back.
fn sent_back(message: Message) -> Message {
    let mut datagram = NetlinkMessage::from(message);
    datagram.finalize();
    let mut bytes = vec![0; datagram.buffer_len()];
    datagram.serialize(&mut bytes);
    let messages = netlink::messages(&bytes).expect("a whole message");
    let NetlinkPayload::InnerMessage(raw) = &messages[0].payload else { panic!("no message: {messages:?}") };
    raw.read().expect("a message of ours can be read")
}

/// The payload of an `RTM_NEWLINK`.
pub fn links(data: &[u8]) {
    let Ok(message) = netlink::read_link(data) else { return };
    let (names, vni) = (names(), BTreeMap::from([(message.message.header.index, [(16_449_536, 16_449_536)].into())]));
    let _ = link::names(std::slice::from_ref(&message));
    let (found, objects) = link::decode(&message, &names, &vni);
    assert_eq!(found.ours, !objects.is_empty());
    for object in objects {
        let (requests, expected) = match object {
            Object::Bridge(bridge) => {
                let expected = Bridge {
                    forwarding: false,
                    send_redirects: false,
                    ipv6: at_birth(bridge.ipv6),
                    changed: BTreeSet::new(),
                    ..bridge.clone()
                };
                (link::encode_bridge(&bridge), Object::Bridge(expected))
            }
            Object::Tunnel(tunnel) => {
                let master = match &tunnel.kind {
                    TunnelKind::Vxlan { bridge, .. } => bridge.as_ref(),
                    TunnelKind::Ipip | TunnelKind::Wireguard { .. } => None,
                };
                let master = names.iter().find(|(_, name)| Some(*name) == master).map(|(index, _)| *index);
                let mut expected = Tunnel { forwarding: false, ipv6: at_birth(tunnel.ipv6), ..tunnel.clone() };
                if let TunnelKind::Vxlan { changed, .. } = &mut expected.kind {
                    changed.clear();
                }
                (link::encode_tunnel(&tunnel, master), Object::Tunnel(expected))
            }
            _ => continue,
        };
        // What was asked for in two requests comes back in one message.
        let mut whole = LinkMessage::default();
        whole.header.index = message.message.header.index;
        for (request, _) in requests {
            let (Message::NewLink(part) | Message::SetLink(part)) = sent_back(request) else { panic!("no link") };
            whole.attributes.extend(part.attributes);
        }
        let mut bytes = vec![0; whole.buffer_len()];
        whole.emit(&mut bytes);
        let whole = netlink::read_link(&bytes).expect("a link");
        let (_, again) = link::decode(&whole, &names, &vni);
        assert_eq!(again, [expected]);
    }
}

/// What a device is asked to take part in of IPv6 as it is made.
fn at_birth(ipv6: Option<Ipv6>) -> Option<Ipv6> {
    ipv6.filter(|ipv6| !ipv6.automatic).map(|_| Ipv6::default())
}

/// The payload of an `RTM_NEWADDR`.
pub fn addresses(data: &[u8]) {
    let Some(message) = netlink::read_address(data) else {
        return;
    };
    let Some((index, address)) = route::decode_address(&message) else {
        return;
    };
    let fan = Fan::from_label(
        &"fan-250-0-28".parse().expect("a name"),
        "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1",
    );
    if let Some(Object::Address(object)) = route::own_address(&fan.expect("a fan"), address.address) {
        let Message::NewAddress(again) = sent_back(Message::NewAddress(route::encode_address(object.address, index)))
        else {
            panic!("no address")
        };
        let (index_again, again) = route::decode_address(&again).expect("an address");
        assert_eq!((index_again, again.address), (index, object.address));
    }
}

/// The payload of an `RTM_NEWROUTE`.
pub fn routes(data: &[u8]) {
    let Some(Message::NewRoute(message)) = received(24, data) else {
        return;
    };
    let (names, devices) = (names(), devices());
    let Some(route::Decoded::Own(object)) =
        route::decode_route(&message, &names, &devices, &fanctl::kernel::nexthop::Hops::default())
    else {
        return;
    };
    let request = match &object {
        Object::Unreachable(overlay, table) => route::encode_unreachable(*overlay, *table),
        Object::Route(route) => {
            let index = names.iter().find(|(_, name)| **name == route.device).map(|(index, _)| *index);
            route::encode_route(route, index.expect("a device"))
        }
        other => panic!("no route: {other:?}"),
    };
    let Message::NewRoute(again) = sent_back(Message::NewRoute(request)) else { panic!("no route") };
    let Some(route::Decoded::Own(again)) =
        route::decode_route(&again, &names, &devices, &fanctl::kernel::nexthop::Hops::default())
    else {
        panic!("not ours: {again:?}")
    };
    assert_eq!(again, object);
}

/// The payload of an `RTM_NEWRULE`.
pub fn rules(data: &[u8]) {
    let Some(message) = netlink::read_rule(data) else {
        return;
    };
    let Some(Object::Rule(overlay, table)) = route::decode_rule(&message) else {
        return;
    };
    let Message::NewRule(again) = sent_back(Message::NewRule(route::encode_rule(overlay, table))) else {
        panic!("no rule")
    };
    assert_eq!(route::decode_rule(&again), Some(Object::Rule(overlay, table)));
}

/// The payload of an `RTM_NEWQDISC` and of an `RTM_NEWTFILTER`.
pub fn filters(data: &[u8]) {
    if let Some(Message::NewQueueDiscipline(message)) = received(36, data) {
        let _ = filter::decode_hook(&message);
    }
    let Some(Message::NewTrafficFilter(message)) = received(44, data) else {
        return;
    };
    let (device, direction) = (InterfaceName::shared_tunnel(), Direction::Ingress);
    let decode = |message| filter::decode(message, &device, Owner::Shared, direction);
    let Some((Object::Filter(found), attached)) = decode(&message) else {
        return;
    };
    let stdin = std::io::stdin();
    let mut request = filter::encode(&found, 4, Some(stdin.as_fd()));
    // The kernel tells the number of the program that it was given a descriptor of.
    for attribute in &mut request.attributes {
        if let TcAttribute::Options(options) = attribute {
            options.push(TcOption::Bpf(TcFilterBpfOption::ProgId(attached.id)));
        }
    }
    let Message::NewTrafficFilter(again) = sent_back(Message::NewTrafficFilter(request)) else { panic!("no filter") };
    assert_eq!(decode(&again), Some((Object::Filter(found), attached)));
}

/// The payload of a table, a chain, a set or a rule of nftables.
pub fn tables(data: &[u8]) {
    let all = [data.to_vec()];
    let tables = nftables::Tables::read(&nftables::Replies {
        tables: all.to_vec(),
        chains: all.to_vec(),
        sets: all.to_vec(),
        flowtables: all.to_vec(),
        others: all.to_vec(),
    });
    assert!(tables.ours.len() <= 1, "{tables:?}");
    let guard = nftables::Plain { chains: vec!["guard".into()], devices: None };
    assert!(nftables::sketch(&guard, &all, |_| None).starts_with("chain guard {\n"));
}

/// The payload of an `RTM_NEWTUNNEL`.
pub fn vnis(data: &[u8]) {
    if let Some((index, ranges)) = vni::decode(data) {
        for range in ranges {
            assert_eq!(vni::decode(&vni::encode(index, range)), Some((index, [range].into())));
        }
    }
}

/// What `nft list` prints.
pub fn firewall(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let table = Ruleset::new(text.to_string());
    assert_eq!(Ruleset::new(table.script().to_string()), table);
    for (accept, handle) in nft::accepts(&text) {
        let rule = accept.rule();
        let rule = rule.split_once(&format!("{} ", accept.chain)).map(|(_, rule)| rule);
        assert_eq!(Accept::from_rule(accept.chain, rule.expect("a rule")), Some(accept.clone()));
        let script = nft::deletion(&[&accept], &text);
        if let Some(handle) = handle {
            assert!(script.contains(&format!("handle {handle}\n")), "{script}");
        }
    }
    for line in text.lines() {
        let _ = Accept::from_rule(ForwardChain::Forward, line);
    }
}

/// The command line of a dnsmasq.
pub fn servers(data: &[u8]) {
    if let Some(server) = dnsmasq::decode(data) {
        let line = format!("dnsmasq\0{}", server.2.join("\0"));
        assert_eq!(dnsmasq::decode(line.as_bytes()), Some(server));
    }
}

/// A mesh of 172.30.0.28, and the gateway of its neighbour 172.30.0.27.
fn mesh() -> (Mesh, Ipv4Addr) {
    let label = "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1";
    let fan = Fan::from_label(&"fan-250-0-28".parse().expect("a name"), label).expect("a fan");
    let zone = Zone::new(fan.mapping, DOMAIN);
    (Mesh::new(Settings { zone, host: fan.host, epoch: 1_800_000_000, seed: 28 }), [250, 0, 27, 1].into())
}

/// Datagrams of another host's gateway, each behind its length in a byte and half a second after the one before: whatever they say, what
/// is published is of its slice.
pub fn gateways(data: &[u8]) {
    let (mut mesh, from) = mesh();
    let mut rest = data;
    for round in 1.. {
        let Some((len, behind)) = rest.split_first() else { break };
        let (datagram, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        // A header of ours, so that what is behind it is read.
        let whole: Vec<u8> = [b"fan1\x08\x10", datagram].concat();
        mesh.step(round * 500_000, Event::Time);
        mesh.step(round * 500_000, Event::Datagram(from, &whole));
        for (_, addresses) in mesh.book().names() {
            assert!(addresses.iter().all(|address| address.octets()[..3] == [250, 0, 27]), "{addresses:?}");
        }
        rest = behind;
    }
}

/// A question of DNS: what is answered can be read, and is no longer than it may be.
pub fn questions(data: &[u8]) {
    let (mesh, _) = mesh();
    let Ok(query) = Query::read(data, Transport::Udp) else { return };
    let _ = query.meaning(mesh.zone());
    let addresses = (1..=200).map(|last| [250, 0, 28, last].into()).collect();
    for reply in
        [Reply::Addresses(addresses), Reply::Names(vec!["web.fan.internal".into()]), Reply::Nothing, Reply::Missing]
    {
        let answer = query.answer(mesh.zone(), &reply);
        assert!(answer.len() <= 1_232 && answer.len() >= 12 && answer[..2] == data[..2]);
    }
}

/// dnsmasq's file of leases.
pub fn leases(data: &[u8]) {
    for lease in lease_file::read(&String::from_utf8_lossy(data), 1_800_000_000) {
        assert!(!lease.label.as_str().is_empty());
    }
}

/// What a container engine says of a container.
pub fn engine(data: &[u8]) {
    let Ok(container) = serde_json::from_slice(data) else { return };
    for (label, _) in container_engine::names(&container) {
        assert!(label.as_str().len() <= 63);
    }
}
