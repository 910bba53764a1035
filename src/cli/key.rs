//! `key`: the file of the secrets that a fan over WireGuard is encrypted by. No verb prints a secret.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnetwork::Ipv4Network;

use super::config::faultless;
use crate::cli::args::{EpochArgs, IssueArgs, KeyAction, NetworksArgs, TableArgs};
use crate::error::Error;
use crate::fan::encap::Encapsulation;
use crate::fan::keys::file::{KeyFault, KeyFile};
use crate::fan::keys::{Key, Secret, SecretKey, table};
use crate::fan::mapping::{self, Mapping, Underlay};
use crate::fan::request::{MOST_LISTED, MOST_UNLISTED, Request, Subnets, UnderlaySource};
use crate::kernel::secret::{self, NoKey};
use crate::plan::reason::reason;

/// Does what is asked for.
pub(crate) fn key(action: &KeyAction, out: &mut dyn Write) -> Result<(), Error> {
    match action {
        KeyAction::Generate(args) => {
            let file = KeyFile::new(Secret::new(1, new_secret()?));
            secret::create(&args.file, &file).map_err(|why| refused(&why))?;
            tell(&args.file, &file, out)
        }
        KeyAction::Fingerprint(args) => tell(&args.file, &secret::read(&args.file).map_err(|why| refused(&why))?, out),
        KeyAction::Add(args) => {
            let new = new_secret()?;
            edit(&args.file, |file| file.add(new).map(drop), out)
        }
        KeyAction::Prefer(EpochArgs { epoch, file }) => edit(&file.file, |file| file.prefer(*epoch), out),
        KeyAction::Remove(EpochArgs { epoch, file }) => edit(&file.file, |file| file.remove(*epoch), out),
        KeyAction::Issue(args) => issue(args, out),
        KeyAction::Table(args) => table(args, out),
    }
}

/// Writes what one host is to have, and prints what people compare.
fn issue(args: &IssueArgs, out: &mut dyn Write) -> Result<(), Error> {
    if args.output == Path::new("-") {
        return Err(Error::Usage("output '-' is no file, and keys are not printed; name one: -o FILE".into()));
    }
    let (mapping, _) = mapping(&args.networks, Some(args.address))?;
    let (address, underlay) = (args.address, mapping.underlay());
    let is_of_none = mapping::of_no_host(underlay.network()).any(|other| other == address);
    if !underlay.contains(address) || is_of_none {
        return Err(Error::Usage(format!("address '{address}' is no host's in underlay '{underlay}'")));
    }
    let path = &args.file.file;
    let file = secret::read(path).map_err(|why| refused(&why))?;
    let issued = file.issue(mapping, address);
    let issued = issued.map_err(|fault| refused(&NoKey::Faulty(path.clone(), fault)))?;
    secret::issue(&args.output, &issued).map_err(|why| refused(&why))?;
    tell(&args.output, &issued, out)
}

/// Prints the public keys of all hosts, epoch by epoch.
fn table(args: &TableArgs, out: &mut dyn Write) -> Result<(), Error> {
    let hosts = args.hosts.clone().unwrap_or_default();
    let first = hosts.subnets().next().map(Ipv4Network::network);
    let (mapping, configured) = mapping(&args.networks, first)?;
    let hosts = if hosts.given().is_some() { hosts } else { configured };
    let underlay = mapping.underlay().network();
    if let Some(reason) = hosts.outside("hosts", underlay) {
        return Err(Error::Usage(reason));
    }
    let listed: Vec<Ipv4Network> = hosts.subnets().copied().collect();
    let networks = if listed.is_empty() { vec![underlay] } else { listed };
    let count: u64 = networks.iter().map(|network| u64::from(network.size())).sum();
    if count > MOST_LISTED || (hosts.given().is_none() && count > MOST_UNLISTED) {
        return Err(Error::Usage(format!(
            "{count} addresses are too many; say where hosts are, like --hosts 172.30.0.0/24"
        )));
    }
    let path = &args.file.file;
    let file = secret::read(path).map_err(|why| refused(&why))?;
    for key in file.keys() {
        let Key::Shared(secret) = key else {
            return Err(refused(&NoKey::Faulty(path.clone(), KeyFault::NotASecret)));
        };
        let is_host = |address: &Ipv4Addr| mapping::of_no_host(underlay).all(|other| other != *address);
        let addresses = networks.iter().flat_map(|network| network.iter()).filter(is_host);
        out.write_all(table::write(secret, mapping, addresses).as_bytes())?;
    }
    Ok(())
}

/// Overlay and underlay as they were named, or those of the one fan over WireGuard that is configured, with its hosts. An underlay that
/// is an interface there is the network that an address is in.
fn mapping(args: &NetworksArgs, address: Option<Ipv4Addr>) -> Result<(Mapping, Subnets), Error> {
    let usage = Error::Usage;
    if let Some([overlay, underlay]) = args.networks.as_deref() {
        let source: UnderlaySource = underlay.parse().map_err(usage)?;
        let network = source
            .underlay()
            .ok_or_else(|| usage(format!("underlay '{underlay}' is no network; write it like 172.30.0.0/16")))?;
        let mapping = Mapping::new(overlay.parse().map_err(usage)?, network).map_err(usage)?;
        return Ok((mapping, Subnets::default()));
    }
    let (configuration, _) = args.config.read();
    faultless(&configuration)?;
    let is_encrypted = |request: &&Request| request.options.encapsulation == Encapsulation::Wireguard;
    let found: Vec<&Request> = configuration.enabled().filter(is_encrypted).collect();
    let [request] = found[..] else {
        let count = found.len();
        return Err(usage(format!(
            "{count} fans over wireguard are configured, so that it is not known which is meant; name its networks: --networks OVERLAY \
             UNDERLAY"
        )));
    };
    let hosts = request.options.hosts.clone();
    let inside = address.or_else(|| hosts.subnets().next().map(Ipv4Network::network));
    let named = || Underlay::containing(inside?, request.underlay.len).ok();
    let underlay = request.underlay.underlay().or_else(named).ok_or_else(|| {
        usage(format!(
            "underlay '{}' is no network; name it: --networks {} 172.30.0.0/16",
            request.underlay, request.overlay
        ))
    })?;
    Ok((Mapping::new(request.overlay, underlay).map_err(usage)?, hosts))
}

fn new_secret() -> Result<SecretKey, Error> {
    secret::generate().map_err(|error| Error::Failed(format!("the kernel gives no random bytes: {error}")))
}

fn edit(
    path: &Path,
    change: impl FnOnce(&mut KeyFile) -> Result<(), KeyFault>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    tell(path, &secret::edit(path, change).map_err(|why| refused(&why))?, out)
}

/// Prints what people compare, a line for each secret, the one that hosts send by first.
fn tell(path: &Path, file: &KeyFile, out: &mut dyn Write) -> Result<(), Error> {
    for key in file.keys() {
        let of = key.holder().map_or(String::new(), |(_, host)| format!(" of host {host}"));
        writeln!(out, "{}: epoch {}{of}, fingerprint {}", path.display(), key.epoch(), key.fingerprint())?;
    }
    Ok(())
}

fn refused(why: &NoKey) -> Error {
    Error::Refused(vec![reason!(NoKey, "{why}")])
}
