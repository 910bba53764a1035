//! Traffic of other programs on the same path, which a trace does not take for its own.

use super::{blames, firewall, in_vain, no_firewall, trace};
use crate::fixture::Pair;
use crate::support::{Echo, Encap};

pub fn a_connection_there_is_no_answer_to_ping() {
    let Pair { a, b, .. } = &Pair::new(Encap::Vxlan);
    // Permanent neighbours: a trace would see the answer to an ARP request between the hosts.
    for (host, (own, peer), address) in [
        (a, ("fan-250-0-28", b.mac("fan-250-0-27")), "250.0.27.1"),
        (b, ("fan-250-0-27", a.mac("fan-250-0-28")), "250.0.28.1"),
    ] {
        host.ip(&format!("neigh replace {address} lladdr {peer} dev {own} nud permanent"));
    }
    let echo = Echo::between(a, b, "250.0.27.1");
    firewall(b, "input", "iifname fan-250-0-27 icmp type echo-request counter drop");
    in_vain(a, "250.0.27.1");
    // Its errors answer the trace's datagrams.
    blames(
        &trace(a, "250.0.27.1"),
        "address_silent",
        "gateway 250.0.27.1",
        "answers UDP by way of 172.30.0.27, and no ping",
    );
    firewall(b, "output", "oifname fan-250-0-27 icmp type destination-unreachable counter drop");
    let found = trace(a, "250.0.27.1");
    blames(&found, "dropped", "172.30.0.27", "a firewall drops it, on the way or on 172.30.0.27, or only ping there");
    let proof = &found["proof"];
    assert!(proof["left"] == true && proof["came_from"] == serde_json::json!([]), "{found:#}");
    no_firewall(b);
    assert!(echo.stop() > 0, "there was traffic meanwhile");
}
