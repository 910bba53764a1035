//! A container that poses as another one, of another slice, or as its host; and one that takes a MAC address.

use super::{FOREIGN, GATEWAY, Stage, VICTIM};
use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Capture, Encap, Inner, eventually, inject_plain};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("hostile")
        .each(named![
            a_container_cannot_pose_as_another_slice_to_its_host,
            a_container_cannot_pose_as_another_slice_to_its_neighbours,
            a_container_cannot_claim_by_arp_what_no_container_here_has,
        ])
        .each_with(&[Need::Vlan], named![tags_do_not_hide_another_slice])
        .each_with(&[Need::BridgeNames], named![another_bridge_is_left_alone])
        .once(named![a_stolen_mac_address_brings_no_packets])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 20;

/// The hostile container sends with a forged source, and a rule counts all of the packets.
#[track_caller]
fn is_counted(stage: &Stage, rule: &str, to: &str) {
    let before = stage.counted(rule);
    for _ in 0..MANY {
        inject_plain(&stage.hostile, Inner::new(FOREIGN, to));
    }
    eventually("the rule counts the packets", || (stage.counted(rule) >= before + MANY).then_some(()));
}

fn a_container_cannot_pose_as_another_slice_to_its_host(encap: Encap) {
    let stage = Stage::new(encap);
    let bridge = Capture::on(&stage.host, "fan-250-0-28", Inner::FILTER);
    is_counted(&stage, "posing", GATEWAY);
    // Packets that are dropped before the bridge's own device are not captured on it.
    assert_eq!(bridge.packets(), Vec::<String>::new());
}

fn a_container_cannot_pose_as_another_slice_to_its_neighbours(encap: Encap) {
    let stage = Stage::new(encap);
    let victim = Capture::on(&stage.victim, "eth0", Inner::FILTER);
    is_counted(&stage, "posing", VICTIM);
    assert_eq!(victim.packets(), Vec::<String>::new());
}

fn a_container_cannot_claim_by_arp_what_no_container_here_has(encap: Encap) {
    let stage = Stage::new(encap);
    for (claimed, deceived) in [(FOREIGN, &[VICTIM, GATEWAY][..]), (GATEWAY, &[VICTIM])] {
        stage.hostile.ip(&format!("addr add {claimed}/32 dev eth0"));
        let filter = format!("arp host {claimed} and ether src {}", stage.hostile.mac("eth0"));
        let devices = [(&*stage.victim, "eth0"), (&*stage.host, "fan-250-0-28")];
        let captures = devices.map(|(who, device)| Capture::on(who, device, &filter));
        for asked in deceived {
            let before = stage.counted("posing by arp");
            // One ARP request, which does not depend on the kernel's neighbour table.
            stage.hostile.exec(&format!("arping -q -c 1 -w 1 -I eth0 -s {claimed} {asked}")).exits(1);
            eventually("the rule counts the question", || (stage.counted("posing by arp") > before).then_some(()));
        }
        for capture in captures {
            assert_eq!(capture.packets(), Vec::<String>::new());
        }
        stage.hostile.ip(&format!("addr del {claimed}/32 dev eth0\n neigh flush dev eth0"));
    }
    // The container may still use its own address.
    stage.works();
    stage.other.ping("250.0.28.3").arrives();
}

fn tags_do_not_hide_another_slice(encap: Encap) {
    let stage = Stage::new(encap);
    let mac = stage.victim.mac("eth0");
    stage.hostile.ip("link add link eth0 name once type vlan id 0
         link add link once name twice type vlan id 0
         link set once up
         link set twice up");
    // Not `vlan`: the rest of a filter after it is matched behind a tag (pcap-filter(7)).
    let filter = "udp port 7777 or ether proto 0x8100 or ether proto 0x88a8";
    let victim = Capture::on(&stage.victim, "eth0", filter);
    for (device, rule) in [("once", "posing"), ("twice", "hidden by tags")] {
        stage.hostile.ip(&format!(
            "route replace {VICTIM}/32 dev {device}
             neigh replace {VICTIM} lladdr {mac} dev {device}"
        ));
        is_counted(&stage, rule, VICTIM);
    }
    assert_eq!(victim.packets(), Vec::<String>::new());
}

/// Virtual machines on a bridge that is not the fan's have addresses of the overlay.
fn another_bridge_is_left_alone(encap: Encap) {
    let stage = Stage::new(encap);
    stage.host.ip("link add brvm type bridge\n link set brvm up");
    let [one, other] = [("one", "250.0.77.1/24"), ("other", "250.0.77.2/24")].map(|(name, address)| {
        let machine = stage.host.attach("brvm", name, 1500);
        machine.ip(&format!("address add {address} dev eth0"));
        machine
    });
    one.ping("250.0.77.2").arrives();
    other.ping("250.0.77.1").arrives();
}

/// A container can take the MAC address of another. But it receives no packets by it.
fn a_stolen_mac_address_brings_no_packets() {
    let stage = Stage::new(Encap::Vxlan);
    let (own, stolen) = (stage.far.mac("eth0"), stage.victim.mac("eth0"));
    let port = |mac: &str| {
        let answer = stage.host.exec("bridge -j fdb show br fan-250-0-28").ok().json();
        let entries = answer.as_array().expect("entries").clone();
        let learnt = entries.into_iter().find(|entry| entry["mac"] == mac && entry["state"] != "permanent");
        learnt.and_then(|entry| Some(entry["ifname"].as_str()?.to_string()))
    };
    let thief = |mac: &str| stage.far.ip(&format!("link set eth0 address {mac}"));
    thief(&stolen);
    // The bridge learns the address at the owner's port again as soon as the owner probes a neighbour.
    eventually("the theft", || {
        stage.far.exec("ping -n -c 1 -W 0.5 250.0.28.1");
        (port(&stolen).as_deref() == Some(Encap::Vxlan.tunnel())).then_some(())
    });
    let seen = Capture::on(&stage.far, "eth0", "host 250.0.28.2");
    let wire = Capture::on(&stage.host, "eth0", "udp port 8472 and src 172.30.0.28");
    inject_plain(&stage.hostile, Inner::new("250.0.28.3", VICTIM));
    inject_plain(&stage.host, Inner::new(GATEWAY, VICTIM));
    assert_eq!(seen.packets(), Vec::<String>::new());
    assert_eq!(wire.packets_with(".7777 >"), Vec::<String>::new());
    // The owner's next packet brings it back. It needs no answer: the host may still send ARP requests to the thief.
    thief(&own);
    inject_plain(&stage.victim, Inner::new(VICTIM, GATEWAY));
    eventually("the owner has it", || (port(&stolen).as_deref() != Some(Encap::Vxlan.tunnel())).then_some(()));
    // A neighbour entry older than a second (`locktime`, arp(7)) was updated by the thief's ARP request.
    for neighbour in [&*stage.victim, &*stage.hostile, &*stage.host] {
        neighbour.ip("neigh flush all");
    }
    stage.works();
}
