//! From nothing to a lab in which every container is reachable.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::namespaces::Stage;
use super::report::LabSetting;
use super::topology::{self, CommandLine, FanHost, LabHost, Topology, UNDERLAY, ip};
use crate::fan::encap::Encapsulation;
use crate::kernel::file::{self, KERNEL_LIMIT};
use crate::lab::args::LabArgs;

/// How many hosts, and how many containers on each, by default.
const SIZE: u8 = 2;
use crate::error::Error;

/// How long links may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Builds the lab, down to a default route in every container.
pub(crate) fn build(stage: &mut Stage, args: &LabArgs) -> Result<LabSetting, Error> {
    let topology = Topology::new(args.hosts.unwrap_or(SIZE), args.containers.unwrap_or(SIZE));
    stage.add(UNDERLAY)?;
    stage.run_all(&topology::underlay_lines())?;
    let (encapsulation, note) = choose(stage, args.encap)?;
    if encapsulation == Encapsulation::Wireguard {
        stage.make_key()?;
    }
    let command = topology.up(encapsulation);
    let mut hosts = Vec::new();
    for host in topology.hosts {
        stage.add(&host.place.namespace)?;
        stage.run_all(&topology::host_lines(&host))?;
        stage.watch(&CommandLine::inside(&host.place.namespace, &command))?;
        let host = inspect(stage, host)?;
        for container in &host.host.containers {
            stage.add(&container.namespace)?;
            stage.run_all(&topology::container_lines(&host, container))?;
        }
        hosts.push(host);
    }
    await_ports(stage, UNDERLAY, "underlay", hosts.len())?;
    for FanHost { host, .. } in &hosts {
        await_ports(stage, &host.place.namespace, host.bridge.as_str(), host.containers.len())?;
    }
    let kernel = file::read_text("/proc/sys/kernel/osrelease", KERNEL_LIMIT).unwrap_or_default().trim().into();
    let (overlay, underlay) = (topology.mapping.overlay(), topology.mapping.underlay());
    Ok(LabSetting { kernel, encapsulation, note, overlay, underlay, command, hosts })
}

/// IPIP where the kernel has it, which is tried by making a device, otherwise VXLAN. With a note for the user, if there
/// is one.
fn choose(stage: &Stage, wanted: Option<Encapsulation>) -> Result<(Encapsulation, Option<String>), Error> {
    match wanted {
        Some(Encapsulation::Vxlan) => return Ok((Encapsulation::Vxlan, None)),
        Some(Encapsulation::Wireguard) => {
            let lines = ["add probe type wireguard", "delete probe"].map(|words| ip!("-n {UNDERLAY} link {words}"));
            return match stage.run_all(&lines) {
                Ok(()) => Ok((Encapsulation::Wireguard, None)),
                Err(Error::Failed(sentence)) => Err(Error::Failed(format!(
                    "{sentence}\nthis kernel has no wireguard devices; a lab that encrypts nothing: fanctl lab --encap vxlan"
                ))),
                Err(interrupted) => Err(interrupted),
            };
        }
        Some(Encapsulation::Ipip) | None => {}
    }
    let loaded = || Path::new("/sys/module/ipip").exists();
    let before = loaded();
    let refusal = match stage.run(&ip!("-n {UNDERLAY} link add probe type ipip external")) {
        Ok(_) => {
            stage.run(&ip!("-n {UNDERLAY} link delete probe"))?;
            let note = "the kernel loaded its module ipip for this, which adds an idle device tunl0 to the machine";
            return Ok((Encapsulation::Ipip, (loaded() && !before).then(|| note.into())));
        }
        Err(Error::Failed(sentence)) => sentence,
        Err(interrupted) => return Err(interrupted),
    };
    if wanted.is_some() {
        return Err(Error::Failed(format!("{refusal}\nthis kernel has no ipip devices; try --encap vxlan")));
    }
    let reason = refusal.lines().last().unwrap_or_default().trim();
    Ok((Encapsulation::Vxlan, Some(format!("this kernel has no ipip devices, so VXLAN carries the fan ({reason})"))))
}

/// What `fanctl up` made on a host.
fn inspect(stage: &Stage, host: LabHost) -> Result<FanHost, Error> {
    let line = ip!("-n {} -j address show dev {}", host.place.namespace, host.bridge);
    let found = json(stage, &line)?;
    let bridge = &found[0];
    let gateway = host.gateway.to_string();
    let address = bridge["addr_info"].as_array().and_then(|all| all.iter().find(|info| info["local"] == *gateway));
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let prefix = address.and_then(|info| number(&info["prefixlen"])).and_then(|len| u8::try_from(len).ok());
    let (Some(prefix), Some(mtu)) = (prefix, number(&bridge["mtu"])) else {
        return Err(Error::Failed(format!("{} has no address {gateway} after 'fanctl up'", host.bridge)));
    };
    Ok(FanHost { host, prefix, mtu })
}

/// Waits until so many ports of a bridge are there and all forward. Links come up in their own time; a fan has nothing
/// to wait for.
fn await_ports(stage: &Stage, namespace: &str, bridge: &str, count: usize) -> Result<(), Error> {
    let line = ip!("-n {namespace} -j -d link show master {bridge}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let links = json(stage, &line)?;
        let states: Vec<&Value> = links
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|link| &link["linkinfo"]["info_slave_data"]["state"])
            .filter(|state| !state.is_null())
            .collect();
        if states.len() >= count && states.iter().all(|state| **state == "forwarding") {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Failed(format!("the links of {bridge} in {namespace} did not come up")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn json(stage: &Stage, line: &CommandLine) -> Result<Value, Error> {
    serde_json::from_str(&stage.run(line)?).map_err(|error| Error::Failed(format!("'{line}' printed no JSON: {error}")))
}
