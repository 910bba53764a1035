//! flannel: what it writes to /run/flannel/subnet.env, for what reads that.

use super::Network;

/// The environment.
///
/// # Errors
/// A sentence: it has no words for reserved addresses.
pub(crate) fn environment(network: &Network) -> Result<String, String> {
    if let Some(reserved) = network.reserved().next() {
        return Err(format!(
            "fan {} reserves {reserved} for the host, which flannel's environment cannot tell: a container would get it; \
             use cni, or bring the fan up with host-reserve 1",
            network.fan.overlay()
        ));
    }
    let (fan, mtu) = (&network.fan, network.mtu);
    // FLANNEL_IPMASQ=true says that flannel masquerades and others must not: the fan does, unless it has `no-nat`.
    Ok(format!(
        "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}/{}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n",
        fan.overlay(),
        fan.gateway(),
        fan.slice().prefix()
    ))
}
