//! `fanctl key`

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArgs;
use crate::fan::keys::file::DEFAULT_KEY_FILE;
use crate::fan::request::Subnets;

/// `fanctl key`
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a file with a new secret, for all hosts of a fan
    Generate(KeyFileArgs),
    /// Print what two hosts compare to see whether they have the same secret
    Fingerprint(KeyFileArgs),
    /// Add a second secret, which hosts receive by and do not send by yet
    Add(KeyFileArgs),
    /// Put a secret first, by which hosts then send
    Prefer(EpochArgs),
    /// Remove a secret that hosts do not send by any more
    Remove(EpochArgs),
    /// Write the file of one host that is to have its own keys and not the secret
    Issue(IssueArgs),
    /// Print the table of the public keys of all hosts, which hosts with keys of their own need
    Table(TableArgs),
}

/// A key file.
#[derive(Debug, Args)]
pub struct KeyFileArgs {
    /// The key file
    #[arg(id = "key-file", default_value = DEFAULT_KEY_FILE, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Overlay and underlay of a fan.
#[derive(Debug, Args)]
pub struct NetworksArgs {
    /// Overlay and underlay of the fan [default: those of the one fan over wireguard in the configuration]
    #[arg(long, num_args = 2, value_names = ["OVERLAY", "UNDERLAY"])]
    pub(crate) networks: Option<Vec<String>>,
    /// Where fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `fanctl key issue`
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The host's address in the underlay, or its number
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Ipv4Addr,
    /// The host's key file, which is not there yet; it is for that host alone
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The networks.
    #[command(flatten)]
    pub(crate) networks: NetworksArgs,
    /// The key file with the secret.
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}

/// `fanctl key table`
#[derive(Debug, Args)]
pub struct TableArgs {
    /// Where in the underlay hosts have addresses, with commas between them [default: as configured, or all of it, up to 4096]
    #[arg(long, value_name = "NETWORKS", value_parser = |text: &str| Subnets::read("hosts", text))]
    pub(crate) hosts: Option<Subnets>,
    /// The networks.
    #[command(flatten)]
    pub(crate) networks: NetworksArgs,
    /// The key file with the secret.
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}

/// A secret in a key file.
#[derive(Debug, Args)]
pub struct EpochArgs {
    /// The epoch of the secret, a number that fanctl key fingerprint prints
    #[arg(value_name = "EPOCH", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epoch: u32,
    /// The key file.
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}
