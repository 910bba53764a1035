//! The steps behind the routing: the tunnel with its program, the underlay, the bridge's port, and what fits.

use serde_json::json;

use super::PathStep;
use super::{Steps, narrow_advice, route_text, route_values, step, table_name};
use crate::bpf::program;
use crate::diagnose::trace::cause::Cause;
use crate::diagnose::trace::{Location, Target};
use crate::fan::encap::Encapsulation;
use crate::plan::desired;
use crate::plan::host::Reachability;
use crate::plan::state::{Direction, Filter, Object, Slot};
use crate::shell;

impl Steps<'_> {
    /// What the tunnel's program decides: the mapping says what it should, the kernel what it does.
    pub(super) fn program(&self) -> PathStep {
        let Target { fan, host, .. } = self.target;
        let spec = desired::spec(fan, self.host);
        let slot = Slot::Fan(fan.overlay());
        let link = self.host.link(&fan.tunnel());
        let id = |direction| {
            let programs = link.map(|link| link.programs.as_slice()).unwrap_or_default();
            let found = programs.iter().find(|found| (found.direction, found.slot) == (direction, slot));
            found.map(|found| found.id)
        };
        let wanted = [(Direction::Egress, program::egress(&spec)), (Direction::Ingress, program::ingress(&spec))];
        let missing = wanted.iter().find(|(direction, program)| {
            !self.owned.values().any(|object| {
                matches!(object, Object::Filter(Filter { link, direction: there, slot: at, program: runs, .. })
                    if *link == fan.tunnel() && there == direction && *at == slot && runs.digest == program.digest())
            })
        });
        let asked = self.facts.program.as_ref();
        let fault = match (missing, asked) {
            (Some((direction, _)), _) => {
                let what = if id(*direction).is_some() { "is not that of this fan" } else { "is gone" };
                let says = format!("the {} program of {} {what}", direction.as_str(), fan.tunnel());
                Some((Cause::HereProgram, says, self.mend()))
            }
            (None, Some(Ok(verdict))) if *verdict != program::ACCEPTED => {
                let says = format!("the egress program of {} refuses it", fan.tunnel());
                Some((Cause::HereProgram, says, "see fanctl show --program".into()))
            }
            _ => None,
        };
        let number = id(Direction::Egress).map_or("none".into(), |id| id.to_string());
        let answer = match asked {
            _ if fault.is_some() => "does not send it".into(),
            Some(Ok(_)) => format!("accepts it, and sends it to {host}"),
            Some(Err(why)) => format!("sends it to {host}, by the mapping ({why})"),
            None => format!("sends it to {host}, by the mapping"),
        };
        let values = json!({
            "device": fan.tunnel(), "egress": id(Direction::Egress), "ingress": id(Direction::Ingress),
            "verdict": asked.and_then(|asked| asked.as_ref().ok()), "remote": host, "local": fan.host,
        });
        step("program", format!("{number} on {} {answer}", fan.tunnel()), values).faulty(fault)
    }

    pub(super) fn wrap(&self) -> PathStep {
        let fan = &self.target.fan;
        let overhead = fan.options.encapsulation.overhead();
        let df = if fan.key_file().is_some() { "no DF" } else { "DF as the packet has it" };
        let says =
            format!("{}, {}, {overhead} bytes around it, {df}", fan.options.encapsulation, self.target.carrier());
        let vxlan = fan.options.encapsulation == Encapsulation::Vxlan;
        let port = (!fan.ports().is_empty()).then(|| fan.carrier_port());
        let values = json!({
            "encap": fan.options.encapsulation, "overhead": overhead,
            "port": port, "vni": vxlan.then(|| fan.overlay().vni()),
        });
        step("encapsulation", says, values)
    }

    pub(super) fn outer(&self) -> PathStep {
        let Target { fan, host, at, source, .. } = self.target;
        match self.facts.outer.as_ref() {
            None | Some(Err(_)) => {
                let words = match self.facts.outer.as_ref() {
                    Some(Err(none)) => none.words.clone(),
                    _ => "not asked".into(),
                };
                let fault = (
                    Cause::HereUnderlay,
                    format!("this host has no way to {at} from {source}: {words}"),
                    format!("see ip route get {at} from {source}"),
                );
                step("underlay", format!("none: {words}"), json!({ "error": words })).faulty(Some(fault))
            }
            Some(Ok(found)) => {
                let see = format!("see ip route get {at} from {source}");
                let fault = if found.device == fan.bridge || found.device == fan.tunnel() {
                    let says = format!("the way to {host} leads back into the fan, by {}", found.device);
                    Some((Cause::HereUnderlay, says, see))
                } else if !fan.options.number && found.is_astray(fan, *at, self.host) {
                    let says = format!(
                        "the way to {host} leads by {} (table {}), and not by {}, which has the underlay address",
                        found.device,
                        table_name(found.table),
                        fan.device
                    );
                    let doctor = shell!("fanctl doctor {}", fan.bridge);
                    let advice = format!("{see}, and ip rule; {doctor} tells what mends it");
                    Some((Cause::HereUnderlay, says, advice))
                } else {
                    self.host.link(&found.device).and_then(|link| self.wire(link))
                };
                let says = format!("{at}: {} from {source}", route_text(found));
                step("underlay", says, route_values(found)).faulty(fault)
            }
        }
    }

    pub(super) fn port(&self) -> PathStep {
        let fan = &self.target.fan;
        let (says, mac) = match (self.facts.neighbour, &self.facts.port) {
            (Some(Reachability::Known(mac)), Some(port)) => {
                (format!("{mac} at port {port} of {}", fan.bridge), Some(mac))
            }
            (Some(Reachability::Known(mac)), None) => (format!("{mac} on {}", fan.bridge), Some(mac)),
            _ => (format!("nobody has answered for it on {}", fan.bridge), None),
        };
        let values = json!({ "bridge": fan.bridge, "port": self.facts.port, "mac": mac.map(|mac| mac.to_string()) });
        step("port", says, values)
    }

    /// What fits: the fan's MTU, and what the way under it takes.
    pub(super) fn mtu(&self) -> PathStep {
        let Target { fan, mtu, .. } = self.target;
        if self.target.place == Location::Here {
            return step("mtu", format!("{mtu} bytes"), json!({ "mtu": mtu }));
        }
        let overhead = fan.options.encapsulation.overhead();
        let outer = self.facts.outer.as_ref().and_then(|way| way.as_ref().ok());
        let device = outer.and_then(|way| self.host.link(&way.device)).map(|link| link.mtu);
        let underlay = outer.and_then(|way| way.mtu).or(device);
        let fault = underlay.filter(|underlay| *underlay < self.target.wrapped_mtu()).map(|underlay| {
            (
                Cause::Narrow,
                format!(
                    "the underlay takes {underlay} bytes, {} less than the fan's {mtu} need",
                    self.target.wrapped_mtu() - underlay
                ),
                narrow_advice(underlay.saturating_sub(overhead)),
            )
        });
        let says = match underlay {
            Some(underlay) => format!("{mtu} bytes, wrapped {}, of the underlay's {underlay}", mtu + overhead),
            None => format!("{mtu} bytes, wrapped {}", mtu + overhead),
        };
        let values = json!({ "mtu": mtu, "wrapped": mtu + overhead, "underlay": underlay });
        step("mtu", says, values).faulty(fault)
    }
}
