//! What each step of the way decides, and what is wrong with it on this host.

mod outside;

use serde_json::{Map, Value, json};

use super::cause::Cause;
use super::{Location, Target, over};
use crate::diagnose::wire;
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::plan::host::{Flow, Host, Link, NoRoute, Reachability, Routing};
use crate::plan::state::{Object, PROTOCOL, RULE_PRIORITY, RoutingTable, State, Tunnel, TunnelKind};

/// The kernel's answer about a packet.
pub(crate) type LookupResult = Result<Routing, NoRoute>;

/// What the kernel answered.
#[derive(Clone, Debug)]
pub(crate) struct HopFacts {
    /// The way of this host's own packets to the address.
    pub(crate) own: LookupResult,
    /// That of packets from a container; none if they are only bridged.
    pub(crate) containers: Option<LookupResult>,
    /// The route of encapsulated packets to the other host.
    pub(crate) outer: Option<LookupResult>,
    /// What the program on the tunnel says to a packet for the address (`TC_ACT_*`), or why it was not asked.
    pub(crate) program: Option<Result<i32, String>>,
    /// Who has the address, of an address behind this host.
    pub(crate) neighbour: Option<Reachability>,
    /// The port of the bridge behind which it was last heard.
    pub(crate) port: Option<InterfaceName>,
}

impl Target {
    /// The packet of this host's own that is asked about.
    #[must_use]
    pub(crate) fn own_flow(&self) -> Flow {
        Flow { source: self.fan.gateway(), destination: self.address, forwarded_from: None, bound_to: None }
    }

    /// The packet of a container, which is routed here where the fan is.
    #[must_use]
    pub(crate) fn container_flow(&self) -> Option<Flow> {
        let is_routed = self.place == Location::There && self.fan.options.encapsulation.is_routed();
        is_routed.then(|| Flow {
            source: self.fan.container_range().0,
            destination: self.address,
            forwarded_from: Some(self.fan.bridge.clone()),
            bound_to: None,
        })
    }

    /// The wrapped packet, for an address behind another host.
    #[must_use]
    pub(crate) fn outer_flow(&self) -> Option<Flow> {
        (self.place == Location::There).then_some(Flow {
            source: self.source,
            destination: self.at,
            forwarded_from: None,
            bound_to: None,
        })
    }
}

/// What is wrong with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HopFault {
    /// What kind of thing it is.
    pub(crate) cause: Cause,
    /// A sentence.
    pub(crate) says: String,
    /// What to do.
    pub(crate) advice: String,
}

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathStep {
    /// What decides here.
    pub name: &'static str,
    /// What it decides, for people.
    pub(crate) says: String,
    /// The same, for scripts.
    pub(crate) values: Map<String, Value>,
    /// What is wrong with it.
    pub(crate) fault: Option<HopFault>,
}

/// The steps of the way to an address, in their order.
#[must_use]
pub(crate) fn steps(target: &Target, facts: &HopFacts, (owned, host): (&State, &Host)) -> Vec<PathStep> {
    let way = Steps { target, facts, owned, host };
    let mut steps = vec![way.fan(), way.slice(), way.host(), way.devices()];
    if target.place != Location::Own {
        steps.push(way.rule());
    }
    steps.push(way.route());
    steps.extend(way.containers());
    if target.place == Location::There {
        steps.extend([way.program(), way.wrap(), way.outer()]);
    }
    if target.place == Location::Here {
        steps.push(way.port());
    }
    if target.place != Location::Own {
        steps.push(way.mtu());
    }
    steps
}

/// A step that has nothing wrong.
fn step(name: &'static str, says: String, values: Value) -> PathStep {
    let values = match values {
        Value::Object(values) => values,
        _ => Map::new(),
    };
    PathStep { name, says, values, fault: None }
}

impl PathStep {
    fn faulty(mut self, fault: Option<(Cause, String, String)>) -> Self {
        self.fault = fault.map(|(cause, says, advice)| HopFault { cause, says, advice });
        self
    }
}

/// A routing table as ip(8) calls it.
fn table_name(table: u32) -> String {
    match table {
        MAIN_TABLE => "main".into(),
        255 => "local".into(),
        253 => "default".into(),
        table => table.to_string(),
    }
}

/// The maker of a route as ip(8) calls it (linux/rtnetlink.h, `RTPROT_*`).
fn protocol_name(protocol: u8) -> String {
    match protocol {
        PROTOCOL => "fanctl".into(),
        2 => "kernel".into(),
        3 => "boot".into(),
        4 => "static".into(),
        12 => "bird".into(),
        16 => "dhcp".into(),
        186 => "bgp".into(),
        188 => "ospf".into(),
        other => other.to_string(),
    }
}

/// A route in the words of ip(8).
fn route_text(routing: &Routing) -> String {
    let via = routing.gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
    let mtu = routing.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
    format!("{} {via}dev {}{mtu}", routing.route, routing.device)
}

fn route_values(routing: &Routing) -> Value {
    json!({
        "route": routing.route.to_string(), "device": routing.device, "gateway": routing.gateway,
        "table": routing.table, "protocol": routing.protocol, "mtu": routing.mtu,
    })
}

struct Steps<'a> {
    target: &'a Target,
    facts: &'a HopFacts,
    owned: &'a State,
    host: &'a Host,
}

impl Steps<'_> {
    fn fan(&self) -> PathStep {
        let fan = &self.target.fan;
        let held = self.host.links.iter().find(|link| {
            let mut addresses = link.addresses.iter();
            let sends_by = fan.options.number && link.name == fan.device;
            sends_by || addresses.any(|own| own.address.ip() == fan.host)
        });
        let fault = match held {
            None => Some((
                Cause::HereAddress,
                format!("this host has lost the address {} that its slice comes from", fan.host),
                format!("give it back to {}, or run fanctl down and up with the new one", fan.device),
            )),
            Some(link) => self.wire(link),
        };
        let says = format!("{} on {}, {}, bridge {}", over(fan), fan.device, fan.options.encapsulation, fan.bridge);
        let values = json!({
            "overlay": fan.overlay(), "underlay": fan.underlay_address(), "device": fan.device,
            "encap": fan.options.encapsulation, "bridge": fan.bridge,
        });
        step("fan", says, values).faulty(fault)
    }

    /// What keeps an interface of the underlay from carrying packets.
    fn wire(&self, link: &Link) -> Option<(Cause, String, String)> {
        let fault = wire::fault(link, self.target.fan.host, self.host)?;
        let advice = match &fault.mend {
            Some(mend) => format!("{}: {mend}", fault.advice),
            None => fault.advice,
        };
        Some((Cause::HereDevice, fault.says, advice))
    }

    fn slice(&self) -> PathStep {
        let Target { fan, host, gateway, .. } = self.target;
        let slice = fan.mapping.slice(*host);
        let values = json!({ "slice": slice.to_string(), "gateway": gateway });
        step("slice", format!("{slice}, gateway {gateway}"), values)
    }

    fn host(&self) -> PathStep {
        let host = self.target.host;
        let says = match self.target.place {
            Location::There if self.target.is_of_nobody => format!("none: {host} is for all neighbours"),
            Location::There => host.to_string(),
            Location::Here | Location::Own => format!("{host}, this one"),
        };
        step("host", says, json!({ "host": host }))
    }

    /// What puts right most of what is missing: the command that `doctor` prints.
    fn mend(&self) -> String {
        self.target.fan.mend().into()
    }

    /// Bridge and tunnel.
    fn devices(&self) -> PathStep {
        let fan = &self.target.fan;
        let mut names = vec![fan.bridge.clone()];
        if self.target.place == Location::There {
            names.push(fan.tunnel());
        }
        let is_up = |name: &InterfaceName| self.host.link(name).is_some_and(|link| link.up);
        let fault = names.iter().find(|name| !is_up(name)).map(|name| {
            let what = if self.host.link(name).is_some() { "is down" } else { "is gone" };
            (Cause::HereDevice, format!("{name} {what}"), self.mend())
        });
        let text: Vec<&str> = names.iter().map(InterfaceName::as_str).collect();
        let says = match &fault {
            None => format!("{} up, mtu {}", text.join(" and "), self.target.mtu),
            Some((_, says, _)) => says.clone(),
        };
        let values = json!({ "devices": names, "mtu": self.target.mtu });
        step("devices", says, values).faulty(fault.or_else(|| self.outside_the_bridge()))
    }

    /// With VXLAN the tunnel must be a port of the bridge.
    fn outside_the_bridge(&self) -> Option<(Cause, String, String)> {
        let fan = &self.target.fan;
        let is_outside = self.owned.values().any(|object| {
            matches!(object, Object::Tunnel(Tunnel { name, kind: TunnelKind::Vxlan { bridge, .. }, .. })
                if *name == fan.tunnel() && bridge.as_ref() != Some(&fan.bridge))
        });
        is_outside.then(|| {
            let says = format!("{} is no port of {}", fan.tunnel(), fan.bridge);
            (Cause::HereDevice, says, self.mend())
        })
    }

    fn rule(&self) -> PathStep {
        let fan = &self.target.fan;
        let (overlay, table) = (fan.overlay(), fan.routing_table());
        let rule = format!("to {overlay} lookup {}", table_name(table));
        let is_missing = fan.options.table.is_some()
            && !self
                .owned
                .values()
                .any(|object| matches!(object, Object::Rule(of, RoutingTable(to)) if (*of, *to) == (overlay, table)));
        let elsewhere = self.facts.own.as_ref().ok().filter(|found| !found.local && found.table != table);
        let fault = if is_missing {
            Some((Cause::HereRule, format!("the rule '{rule}' is missing"), self.mend()))
        } else {
            elsewhere.map(|found| {
                (
                    Cause::HereRule,
                    format!("a rule of somebody else's sends it to table {}", table_name(found.table)),
                    format!("see ip rule; it must come after the fan's way, which is table {}", table_name(table)),
                )
            })
        };
        let says = match fan.options.table {
            None => "no rule of the fan's, table main".into(),
            Some(_) => format!("{RULE_PRIORITY}: {rule}"),
        };
        step("rule", says, json!({ "table": table })).faulty(fault)
    }

    fn route(&self) -> PathStep {
        let fan = &self.target.fan;
        let expected = if self.target.place == Location::There && fan.options.encapsulation.is_routed() {
            fan.tunnel()
        } else {
            fan.bridge.clone()
        };
        let is_own = self.target.place == Location::Own;
        match &self.facts.own {
            Err(none) => step("route", format!("none: {}", none.words), json!({ "error": none.words })).faulty(Some((
                Cause::HereRoute,
                format!("this host has no way to {}: {}", self.target.address, none.words),
                self.mend(),
            ))),
            Ok(found) => {
                let fault = if is_own { !found.local } else { found.device != expected };
                let fault = fault.then(|| {
                    (
                        Cause::HereRoute,
                        format!(
                            "the route {} (table {}, protocol {}) takes it away from {expected}",
                            route_text(found),
                            table_name(found.table),
                            protocol_name(found.protocol)
                        ),
                        "remove that route, or keep the fan's apart: fanctl up with --table".into(),
                    )
                });
                let says = if found.local {
                    "delivered here".into()
                } else {
                    format!("{} from {}", route_text(found), fan.gateway())
                };
                step("route", says, route_values(found)).faulty(fault)
            }
        }
    }

    /// The same for what a container sends.
    fn containers(&self) -> Option<PathStep> {
        let fan = &self.target.fan;
        let way = self.facts.containers.as_ref()?;
        let from = fan.container_range().0;
        let name = "forward";
        Some(match way {
            Err(none) => {
                let words = format!("from containers none: {}", none.words);
                step(name, words, json!({ "from": from, "error": none.words })).faulty(Some((
                    Cause::HereForward,
                    format!("this host forwards nothing from {} to {}: {}", fan.bridge, fan.tunnel(), none.words),
                    format!("{}; see fanctl show --json for what is different", self.mend()),
                )))
            }
            Ok(found) => {
                let fault = (found.device != fan.tunnel()).then(|| {
                    let says = format!("what containers send is routed elsewhere: {}", route_text(found));
                    let advice = "see ip rule and ip route for what is of another program".into();
                    (Cause::HereForward, says, advice)
                });
                let says = format!("from containers ({from} on {}): {}", fan.bridge, route_text(found));
                let Value::Object(mut values) = route_values(found) else { unreachable!("an object is written above") };
                values.insert("from".into(), json!(from));
                step(name, says, Value::Object(values)).faulty(fault)
            }
        })
    }
}

/// What to do about a way that is narrower than the fan.
#[must_use]
pub(crate) fn narrow_advice(mtu: u32) -> String {
    format!("give the fan what fits, on all hosts: fanctl up with --mtu {mtu}")
}
