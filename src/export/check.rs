//! Whether a runtime's network is one for a fan, and in which ways not.

use std::net::Ipv4Addr;

use super::Network;
use super::runtime_network::Given;
use crate::fan::text::excerpt;

/// The MTU of a container where a runtime was told none.
const DEFAULT_MTU: u32 = 1500;

impl Network {
    /// What is wrong with a network that a runtime has: why its containers would not be on the fan, or would disturb it.
    #[must_use]
    pub(crate) fn disagreements(&self, given: &Given) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut say = |sentence: String| wrong.push(sentence);
        match &given.bridge {
            Some(bridge) if bridge == self.bridge().as_str() => {}
            Some(bridge) => say(format!("its bridge is {} and not {}", excerpt(bridge), self.bridge())),
            None => say(format!("it has a bridge of its own and not {}", self.bridge())),
        }
        if let Some(subnet) = given.subnet.filter(|subnet| *subnet != self.subnet()) {
            say(format!("its subnet is {subnet} and not {}", self.subnet()));
        }
        match given.range {
            None => say(format!("it is not told to keep to {}", self.slice())),
            Some(range) => {
                if let Some(address) = self.strange(range, given) {
                    let (first, last) = (self.first(), self.last());
                    say(format!("it may give out {address}, but this host has {first} to {last} for containers"));
                }
            }
        }
        match given.gateway {
            Some(gateway) if gateway == self.gateway() => {}
            Some(gateway) => say(format!("its gateway is {gateway} and not {}", self.gateway())),
            None if given.subnet.is_none() => {}
            None => say(format!("it is told no gateway, which is {}", self.gateway())),
        }
        match given.mtu {
            Some(mtu) if mtu > self.mtu => say(format!("its mtu is {mtu} and not {} or less", self.mtu)),
            None if self.mtu < DEFAULT_MTU => {
                say(format!("it is told no mtu, so that containers have {DEFAULT_MTU} and not {} or less", self.mtu));
            }
            _ => {}
        }
        if given.manages_bridge {
            say("it is not told that it does not manage the bridge (mode=unmanaged)".into());
        }
        wrong
    }

    /// The first address that may be given out and is not for a container of this host.
    fn strange(&self, (first, last): (Ipv4Addr, Ipv4Addr), given: &Given) -> Option<Ipv4Addr> {
        // Without a subnet, Docker keeps the edges of the slice free itself, or gives them out like any address.
        let edges = [self.slice().network(), self.slice().broadcast()];
        let is_fine = |address: &Ipv4Addr| {
            *address == self.gateway()
                || given.kept_out.contains(address)
                || (given.subnet.is_none() && edges.contains(address))
        };
        // Only the addresses before and behind those of the containers, which may be millions.
        let [first, last, own_first, own_last] = [first, last, self.first(), self.last()].map(u32::from);
        let before = first..=last.min(own_first - 1);
        let behind = first.max(own_last + 1)..=last;
        let mut others = before.chain(behind).map(Ipv4Addr::from);
        others.find(|address| !is_fine(address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tests::{any_network, ipip, reserving, vxlan};
    use super::super::{Runtime, networks};
    use super::*;

    /// What is wrong with the only network in a text.
    fn wrong(network: &Network, runtime: Runtime, text: &str) -> Vec<String> {
        let given = networks(runtime, text, false).unwrap();
        assert_eq!(given.len(), 1, "{given:?}");
        network.disagreements(&given[0])
    }

    /// What Docker 20.10 said of a network that was made by what is exported over IPIP, in the fields that matter.
    fn inspected() -> Value {
        json!([{
            "Name": "fan",
            "Driver": "bridge",
            "IPAM": { "Driver": "default", "Options": {}, "Config": [{ "Subnet": "250.0.28.0/24", "Gateway": "250.0.28.1" }] },
            "Options": {
                "com.docker.network.bridge.enable_ip_masquerade": "false",
                "com.docker.network.bridge.name": "fan-250-0-28",
                "com.docker.network.driver.mtu": "1480",
            },
        }])
    }

    #[test]
    fn each_way_to_be_wrong_is_one_sentence() {
        let good = inspected();
        assert_eq!(wrong(&ipip(), Runtime::Docker, &good.to_string()), [""; 0]);
        let config = "/0/IPAM/Config/0";
        for (place, value, sentence) in [
            ("/0/Options/com.docker.network.bridge.name", json!("br7"), "its bridge is br7 and not fan-250-0-28"),
            (
                "/0/Options/com.docker.network.bridge.name",
                json!(null),
                "it has a bridge of its own and not fan-250-0-28",
            ),
            (&format!("{config}/Gateway"), json!("250.0.28.254"), "its gateway is 250.0.28.254 and not 250.0.28.1"),
            ("/0/Options/com.docker.network.driver.mtu", json!("1500"), "its mtu is 1500 and not 1480 or less"),
            (&format!("{config}/Gateway"), json!(null), "it is told no gateway, which is 250.0.28.1"),
            (
                "/0/Options/com.docker.network.driver.mtu",
                json!(null),
                "it is told no mtu, so that containers have 1500 and not 1480 or less",
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            assert_eq!(wrong(&ipip(), Runtime::Docker, &bad.to_string()), [sentence]);
        }
        let mut other = good.clone();
        other[0]["IPAM"]["Config"][0] = json!({ "Subnet": "250.0.27.0/24", "Gateway": "250.0.27.1" });
        assert_eq!(
            wrong(&ipip(), Runtime::Docker, &other.to_string()),
            [
                "its subnet is 250.0.27.0/24 and not 250.0.28.0/24",
                "it may give out 250.0.27.1, but this host has 250.0.28.2 to 250.0.28.254 for containers",
                "its gateway is 250.0.27.1 and not 250.0.28.1",
            ]
        );
        let mut small = good;
        small[0]["Options"]["com.docker.network.driver.mtu"] = json!("1400");
        assert_eq!(wrong(&ipip(), Runtime::Docker, &small.to_string()), [""; 0]);
    }

    #[test]
    fn what_the_host_keeps_and_what_others_have_is_not_given_out() {
        let list = |network: &Network| network.render(Runtime::Cni, "fan").unwrap();
        assert_eq!(
            wrong(&reserving(ipip(), 3), Runtime::Cni, &list(&ipip())),
            ["it may give out 250.0.28.2, but this host has 250.0.28.4 to 250.0.28.254 for containers"]
        );
        let mut flat: Value = serde_json::from_str(&list(&vxlan())).unwrap();
        flat["plugins"][0]["ipam"]["ranges"][0][0]["rangeEnd"] = json!("250.0.29.1");
        assert_eq!(
            wrong(&vxlan(), Runtime::Cni, &flat.to_string()),
            ["it may give out 250.0.28.255, but this host has 250.0.28.2 to 250.0.28.254 for containers"]
        );
    }

    #[test]
    fn podman_is_told_whose_the_bridge_is() {
        let mut inspected = json!([{
            "name": "fan",
            "network_interface": "fan-250-0-28",
            "subnets": [{
                "subnet": "250.0.0.0/8",
                "gateway": "250.0.28.1",
                "lease_range": { "start_ip": "250.0.28.2", "end_ip": "250.0.28.254" },
            }],
            "options": { "mode": "unmanaged", "mtu": "1450" },
        }]);
        assert_eq!(wrong(&vxlan(), Runtime::Podman, &inspected.to_string()), [""; 0]);
        inspected[0]["options"] = json!({ "mtu": "1450" });
        assert_eq!(
            wrong(&vxlan(), Runtime::Podman, &inspected.to_string()),
            ["it is not told that it does not manage the bridge (mode=unmanaged)"]
        );
    }

    #[test]
    fn what_no_runtime_says_is_told() {
        for text in ["", "fan", "subnet: 250.0.0.0/8"] {
            let reason = networks(Runtime::Docker, text, false).unwrap_err();
            assert!(reason.starts_with("is not JSON: "), "{reason}");
        }
        for (runtime, text) in [
            (Runtime::Docker, "[]"),
            (Runtime::Docker, "{}"),
            (Runtime::Podman, "7"),
            (Runtime::Cni, r#"{ "name": "x", "plugins": [{ "type": "ptp" }] }"#),
        ] {
            let reason = networks(runtime, text, false).unwrap_err();
            assert_eq!(reason, format!("names no network of {runtime}"));
        }
    }

    proptest! {
        /// What is exported is right for every fan.
        #[test]
        fn what_is_exported_agrees(network in any_network()) {
            let list = network.render(Runtime::Cni, "fan").unwrap();
            prop_assert_eq!(wrong(&network, Runtime::Cni, &list), Vec::<String>::new());
            let daemon = networks(Runtime::Docker, &network.docker_daemon(), true).unwrap();
            prop_assert_eq!(network.disagreements(&daemon[0]), Vec::<String>::new());
        }

        /// No text makes it panic, and subnet and range are read from the text.
        #[test]
        fn any_text_is_read(text: String, number: i64) {
            for runtime in [Runtime::Docker, Runtime::Podman, Runtime::Cni] {
                for text in [text.clone(), format!("[{{\"Name\":{number},\"name\":{number}}}]")] {
                    for given in networks(runtime, &text, false).into_iter().flatten() {
                        prop_assert_ne!(vxlan().disagreements(&given), Vec::<String>::new());
                    }
                }
            }
        }
    }
}
