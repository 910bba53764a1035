//! The words of the command line: declarations, no decisions.

mod doctor;
mod fan;
mod help;
mod key;
mod names;
mod trace;
mod watch;

use crate::lab::args::LabArgs;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
pub(crate) use doctor::DoctorArgs;
pub(crate) use fan::{DownArgs, ForceArgs, Named, UpAllArgs, UpArgs};
pub(crate) use key::{EpochArgs, KeyAction};
pub(crate) use names::{NamesAction, NamesHostsArgs, NamesListArgs, NamesServeArgs};
pub(crate) use trace::TraceArgs;
pub(crate) use watch::WatchArgs;

use crate::error::Error;
use crate::export::{self, Runtime};
use crate::fan::json::JsonArgs;
use crate::fan::mapping::Overlay;
use crate::fan::request::UnderlaySource;

/// The fan: every host of an underlay gets a slice of an overlay, computed from its own address
///
/// Containers on all hosts reach each other directly, over IP-in-IP, VXLAN or WireGuard, with no database, no agent
/// and no kernel patch. Example: on a host with the address 172.30.0.28, `fanctl up 250.0.0.0/8 eth0/16` makes the
/// bridge fan-250-0-28 with the slice 250.0.28.0/24.
#[derive(Debug, Parser)]
#[command(name = "fanctl", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring up a fan, or make one that is up as asked for
    #[command(override_usage = help::UP_USAGE, after_help = help::UP_EXAMPLES)]
    Up(UpArgs),
    /// Take down a fan
    #[command(override_usage = help::DOWN_USAGE, after_help = help::DOWN_EXAMPLES)]
    Down(DownArgs),
    /// Make the machine match its configuration: add, change and remove fans
    #[command(after_help = help::RELOAD_EXAMPLES)]
    Reload(ReloadArgs),
    /// Tell whether the machine matches its configuration
    #[command(after_help = help::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Log changes that concern fans, and repair fans that have follow
    #[command(after_help = help::WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Show the fans that are up, from the kernel alone
    #[command(after_help = help::SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Print counters and states of the fans for Prometheus
    #[command(after_help = help::METRICS_EXAMPLES)]
    Metrics(MetricsArgs),
    /// Find out what is wrong with the fans of this host, and what mends it
    #[command(after_help = help::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Follow the way of a packet to an address, prove it, and name who is to blame
    #[command(after_help = help::TRACE_EXAMPLES)]
    Trace(TraceArgs),
    /// Print what a container runtime has to be told to put its containers on a fan
    #[command(after_help = help::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Answer for the names of containers, and tell who is there
    #[command(subcommand, after_help = help::NAMES_EXAMPLES)]
    Names(NamesAction),
    /// Check, list or convert the configuration files
    #[command(subcommand, after_help = help::CONFIG_EXAMPLES)]
    Config(ConfigAction),
    /// Tell which slice a host owns, or which host an overlay address lives on
    #[command(after_help = help::MAP_EXAMPLES)]
    Map(MapArgs),
    /// Make and change the file of secrets that a fan over WireGuard is encrypted by
    #[command(subcommand, after_help = help::KEY_EXAMPLES)]
    Key(KeyAction),
    /// Build a small fan on this machine, in network namespaces of its own, and try it
    #[command(after_help = help::LAB_EXAMPLES)]
    Lab(LabArgs),
    /// Print the completions of a shell
    #[command(after_help = help::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// What to print, and whether to act.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// Print the steps as the lines a person would type, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Tell on standard error what was chosen, and each step as it is done
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Which files the fans are written down in.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Read FILE instead of /etc/fan.toml and /etc/network/fan: as TOML if its name ends in .toml, else as the latter
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `fanctl reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Whether something may be taken away.
    #[command(flatten)]
    pub(crate) force: ForceArgs,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `fanctl status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Tell on standard error what was chosen
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// `fanctl config`
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Tell everything that is wrong with the files
    Check(ListArgs),
    /// List the fans that are written down
    List(ListArgs),
    /// Print an /etc/network/fan, a fan of LXD's or Juju's fan-config as TOML
    Convert(ConvertArgs),
}

/// `fanctl config list` and `fanctl config check`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// `fanctl config convert`
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The file [default: /etc/network/fan]
    pub(crate) file: Option<PathBuf>,
    /// Where it goes.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Where a text goes.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Write to FILE instead of standard output: whole, or not at all
    #[arg(short, long, value_name = "FILE", value_parser = target)]
    pub(crate) output: Option<PathBuf>,
    /// With -o: replace a file that holds something else
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

/// Reads the name of a file to be written.
fn target(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" | "" => Err(format!("output '{text}' is no file; without -o, standard output is written")),
        _ => Ok(text.into()),
    }
}

/// `fanctl completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// `fanctl show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Only this fan, by its bridge or its overlay
    #[arg(value_name = "BRIDGE|OVERLAY")]
    pub(crate) fan: Option<String>,
    /// Slice, gateway, MTU, encapsulation, health, and the ports with who is behind them
    #[arg(short, long, conflicts_with_all = ["json", "program"])]
    pub(crate) long: bool,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// The programs that the kernel runs for the fan, disassembled
    #[arg(long, conflicts_with = "json")]
    pub(crate) program: bool,
}

/// `fanctl metrics`
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Where they go.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `fanctl export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to print
    #[arg(value_enum)]
    pub(crate) runtime: Runtime,
    /// The fan, by its bridge or its overlay [default: the one that is up, else the one that is configured]
    #[arg(value_name = "BRIDGE|OVERLAY")]
    pub(crate) fan: Option<String>,
    /// With docker: daemon.json, for containers that name no network
    #[arg(long, conflicts_with = "name")]
    pub(crate) default_bridge: bool,
    /// With docker: what makes a network of a swarm, on each node of it
    #[arg(long, conflicts_with = "default_bridge")]
    pub(crate) swarm: bool,
    /// What the runtime is to call the network [default: fan]
    #[arg(long, value_name = "NAME", value_parser = export::network_name)]
    pub(crate) name: Option<String>,
    /// With docker, podman and cni: print nothing for the runtime, but tell whether what it has (what `docker network
    /// inspect` or `podman network inspect` prints, daemon.json, a list of plugins) is for this fan; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "output", "swarm"])]
    pub(crate) check: Option<String>,
    /// Whether --check prints JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Where it goes.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Tell on standard error what was chosen
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl ExportArgs {
    /// Whether every option says something to the runtime.
    ///
    /// # Errors
    /// Usage: one does not.
    pub(crate) fn says_nothing_idle(&self) -> Result<(), Error> {
        let takes_check = matches!(self.runtime, Runtime::Docker | Runtime::Podman | Runtime::Cni);
        let (takes_name, takes_default) = (self.runtime != Runtime::FlannelEnv, self.runtime == Runtime::Docker);
        let idle = [
            ("--name", self.name.is_some() && !takes_name),
            ("--default-bridge", self.default_bridge && !takes_default),
            ("--swarm", self.swarm && !takes_default),
            ("--check", self.check.is_some() && !takes_check),
            ("--json", self.json.is_wanted() && self.check.is_none()),
        ];
        match idle.iter().find(|(_, is_idle)| *is_idle) {
            None => Ok(()),
            Some((option, _)) => {
                Err(Error::Usage(format!("option '{option}' does not apply to {}; leave it out", self.runtime)))
            }
        }
    }
}

/// `fanctl map`
#[derive(Debug, Args)]
pub struct MapArgs {
    /// The network that containers live in: 250.0.0.0/8, or 250 for short
    pub(crate) overlay: Overlay,
    /// The network that hosts live in: 172.30.0.0/16
    pub underlay: UnderlaySource,
    /// Addresses of either network; - reads them from standard input, one a line, without comments (#)
    #[arg(required = true, value_name = "ADDRESS")]
    pub(crate) addresses: Vec<String>,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}
