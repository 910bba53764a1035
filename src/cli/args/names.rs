//! `fanctl names`

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::ConfigArgs;
use crate::fan::json::JsonArgs;

/// `fanctl names`
#[derive(Debug, Subcommand)]
pub enum NamesAction {
    /// Answer for the names of the fans that have them, until asked to end: fan-names.service does this
    Serve(NamesServeArgs),
    /// Pass on the names that a container engine knows, without network: fan-names-engine@.service does this
    Engine(NamesEngineArgs),
    /// List the names that are answered, of all hosts
    List(NamesListArgs),
    /// Tell which hosts are there, for how long, and why not
    Hosts(NamesHostsArgs),
    /// Give an address of this host's slice a name, until that is removed or the daemon ends
    Add(NamesAddArgs),
    /// Take away what `names add` gave
    Remove(NamesRemoveArgs),
}

/// `fanctl names serve`
#[derive(Debug, Args)]
pub struct NamesServeArgs {
    /// Where names and peers are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `fanctl names engine`
#[derive(Debug, Args)]
pub struct NamesEngineArgs {
    /// Which
    #[arg(value_enum)]
    pub engine: Engine,
    /// Its socket [default: /run/docker.sock or /run/podman/podman.sock]
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
}

/// A container engine with the API of Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Docker
    Docker,
    /// Podman
    Podman,
}

impl Engine {
    /// Where its socket is.
    #[must_use]
    pub fn socket(self) -> &'static Path {
        Path::new(match self {
            Self::Docker => "/run/docker.sock",
            Self::Podman => "/run/podman/podman.sock",
        })
    }
}

/// `fanctl names list`
#[derive(Debug, Args)]
pub struct NamesListArgs {
    /// Only this name
    pub name: Option<String>,
    /// `--json`
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// `fanctl names hosts`
#[derive(Debug, Args)]
pub struct NamesHostsArgs {
    /// Wait at most this long for the hosts that are configured as peers, and exit with 4 if one is missing then
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait: Option<u64>,
    /// `--json`
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// `fanctl names add`
#[derive(Debug, Args)]
pub struct NamesAddArgs {
    /// The name: one label, without the domain
    pub name: String,
    /// Its address, of this host's slice
    pub address: Ipv4Addr,
}

/// `fanctl names remove`
#[derive(Debug, Args)]
pub struct NamesRemoveArgs {
    /// The name
    pub name: String,
    /// Only this address of it
    pub address: Option<Ipv4Addr>,
}
