//! The command line: declarations, and how the two grammars that ever existed fill one [`Config`]. No decisions.

mod doctor;
mod text;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use doctor::DoctorArgs;

use crate::config::{self, Config, UnderlaySource};
use crate::encap::Encapsulation;
use crate::error::Error;
use crate::export::{self, Runtime};
use crate::mapping::Overlay;
use crate::name::InterfaceName;

/// The fan: every host of an underlay gets a slice of an overlay, computed from its own address
///
/// Containers on all hosts reach each other directly, over plain IP-in-IP or VXLAN, with no database, no agent and no
/// kernel patch. Example: on a host with the address 172.30.0.28, `fanctl up 250.0.0.0/8 eth0/16` makes the
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
    #[command(override_usage = text::UP_USAGE, after_help = text::UP_EXAMPLES)]
    Up(UpArgs),
    /// Take down a fan
    #[command(override_usage = text::DOWN_USAGE, after_help = text::DOWN_EXAMPLES)]
    Down(DownArgs),
    /// Make the machine match its configuration: add, change and remove fans
    #[command(after_help = text::RELOAD_EXAMPLES)]
    Reload(ReloadArgs),
    /// Tell whether the machine matches its configuration
    #[command(after_help = text::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Show the fans that are up, from the kernel alone
    #[command(after_help = text::SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Find out what is wrong with the fans of this host, and what mends it
    #[command(after_help = text::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print what a container runtime has to be told to put its containers on a fan
    #[command(after_help = text::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Check, list or convert the configuration files
    #[command(subcommand, after_help = text::CONFIG_EXAMPLES)]
    Config(ConfigAction),
    /// Tell which slice a host owns, or which host an overlay address lives on
    #[command(after_help = text::MAP_EXAMPLES)]
    Map(MapArgs),
    /// Build a small fan on this machine, in network namespaces of its own, and try it
    #[command(after_help = text::LAB_EXAMPLES)]
    Lab(LabArgs),
    /// Print the completions of a shell
    #[command(after_help = text::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// Overlay and underlay, by position or by option.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// Overlay, underlay and the words of 2015, which the usage line and the text below the options explain
    #[arg(value_name = "OVERLAY UNDERLAY", hide = true)]
    positional: Vec<String>,
    /// The network that containers live in
    #[arg(short, long)]
    overlay: Option<String>,
    /// Where this host's underlay address comes from: eth0/16, 172.30.0.28/16, 172.30.0.0/16, default/16
    #[arg(short, long)]
    underlay: Option<String>,
}

impl PairArgs {
    /// Overlay, underlay and the words that follow. What is not given by option is taken by position.
    fn read(&self, verb: &str) -> Result<(Overlay, UnderlaySource, &[String]), Error> {
        let mut rest = self.positional.as_slice();
        let mut next = |option: &Option<String>, name: &str| -> Result<String, Error> {
            if let Some(text) = option {
                return Ok(text.clone());
            }
            let (first, others) = rest.split_first().ok_or_else(|| {
                Error::Usage(format!(
                    "{name} is missing; for example: fanctl {verb} 250.0.0.0/8 eth0/16"
                ))
            })?;
            rest = others;
            Ok(first.clone())
        };
        let overlay = next(&self.overlay, "OVERLAY")?;
        let underlay = next(&self.underlay, "UNDERLAY")?;
        let is_interface = |text: &str| {
            text.parse::<UnderlaySource>()
                .is_ok_and(|source| source.underlay().is_none())
        };
        if is_interface(&overlay) && underlay.parse::<Overlay>().is_ok() {
            return Err(Error::Usage(format!(
                "overlay '{overlay}' is no network; the overlay comes first: fanctl {verb} {underlay} {overlay}"
            )));
        }
        let overlay = overlay.parse().map_err(Error::Usage)?;
        let underlay: UnderlaySource = underlay.parse().map_err(Error::Usage)?;
        let mut contradictions = Config::new(overlay, underlay.clone()).contradictions();
        match contradictions.pop() {
            Some((_, reason)) => Err(Error::Usage(reason)),
            None => Ok((overlay, underlay, rest)),
        }
    }
}

/// What to print, and whether to act.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Print the steps as the lines a person would type, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Tell on standard error what was chosen, and each step as it is done
    #[arg(short, long)]
    pub verbose: bool,
}

/// `fanctl up`
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    all: UpAllArgs,
    /// Give out the slice by DHCP (needs dnsmasq)
    #[arg(long)]
    dhcp: bool,
    /// Addresses at the start of the slice that the host keeps, 1 to 254 [default: 1]
    #[arg(long, value_name = "N", value_parser = config::host_reserve)]
    host_reserve: Option<u8>,
    /// The bridge's name [default: after the slice, fan-250-0-28]
    #[arg(long, value_name = "NAME", value_parser = config::bridge_name)]
    bridge: Option<InterfaceName>,
    /// How packets travel; the same on all hosts: ipip or vxlan [default: ipip]
    #[arg(long, value_name = "ENCAP")]
    encap: Option<Encapsulation>,
    /// MTU of bridge and tunnel, 576 to 65515 [default: the underlay's less 20 (ipip) or 50 (vxlan)]
    #[arg(long, value_name = "N", value_parser = config::mtu)]
    mtu: Option<u32>,
    /// UDP port of vxlan; the same on all hosts [default: 8472]
    #[arg(long, value_name = "N", value_parser = config::port)]
    port: Option<u16>,
    /// Keep the fan's routes in table N, behind a routing rule, instead of the main table
    #[arg(long, value_name = "N", value_parser = config::table)]
    table: Option<u32>,
    /// Do not masquerade traffic from the slice to outside the overlay
    #[arg(long)]
    no_nat: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl UpArgs {
    /// Which of the configured fans are asked for, if it is not one that is spelled out.
    #[must_use]
    pub fn all(&self) -> Option<&UpAllArgs> {
        self.all.all.then_some(&self.all)
    }

    /// The fan that is asked for.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is said twice in different ways.
    pub fn config(&self) -> Result<Config, Error> {
        let for_all = [
            ("--config", self.all.config.file.is_some()),
            ("--dev", self.all.dev.is_some()),
        ];
        only_for_all(&for_all)?;
        let (overlay, underlay, words) = self.pair.read("up")?;
        let mut config = Config::new(overlay, underlay);
        config.apply_words(words).map_err(|(_, reason)| Error::Usage(reason))?;
        let defaults = Config::new(config.overlay, config.underlay.clone());
        config.dhcp |= self.dhcp;
        merge(
            &mut config.host_reserve,
            self.host_reserve,
            &defaults.host_reserve,
            "host-reserve",
        )?;
        merge(
            &mut config.bridge,
            self.bridge.clone().map(Some),
            &defaults.bridge,
            "bridge",
        )?;
        config.encapsulation = self.encap.unwrap_or(config.encapsulation);
        config.mtu = self.mtu;
        config.port = self.port;
        config.table = self.table;
        config.nat = !self.no_nat;
        match config.contradictions().pop() {
            Some((_, reason)) => Err(Error::Usage(reason)),
            None => Ok(config),
        }
    }
}

/// Refuses options, named and whether they were given, that choose among the fans of a configuration.
fn only_for_all(options: &[(&str, bool)]) -> Result<(), Error> {
    match options.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::Usage(format!(
            "option '{option}' goes with -a, which is about every fan of the configuration; add -a, or leave it out"
        ))),
    }
}

/// Takes an option's value, unless a word has already said something else.
fn merge<T: PartialEq>(value: &mut T, option: Option<T>, default: &T, name: &str) -> Result<(), Error> {
    let Some(option) = option else { return Ok(()) };
    if value != default && *value != option {
        return Err(Error::Usage(format!(
            "{name} is given twice, as a word and as an option, with different values"
        )));
    }
    *value = option;
    Ok(())
}

/// Which of the configured fans to bring up.
#[derive(Debug, Args)]
pub struct UpAllArgs {
    /// Bring up every fan of /etc/fan.toml and /etc/network/fan
    #[arg(
        short,
        long,
        conflicts_with_all = ["positional", "overlay", "underlay", "dhcp", "host_reserve", "bridge", "encap", "mtu", "port", "table", "no_nat"]
    )]
    all: bool,
    /// With -a: only fans whose underlay address is on this interface
    #[arg(long, value_name = "INTERFACE")]
    pub dev: Option<InterfaceName>,
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Which files the fans are written down in.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Read FILE instead of /etc/fan.toml and /etc/network/fan: as TOML if its name ends in .toml, else as the latter
    #[arg(long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `fanctl down`
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pair: PairArgs,
    /// Take down every fan that configuration brought up (those that fanctl show flags auto)
    #[arg(short, long, conflicts_with_all = ["positional", "overlay", "underlay"])]
    pub all: bool,
    /// With -a: only fans whose underlay address is on this interface
    #[arg(long, value_name = "INTERFACE")]
    pub dev: Option<InterfaceName>,
    /// Take down every fan of this host
    #[arg(short, long, conflicts_with_all = ["positional", "overlay", "underlay", "all", "dev"])]
    pub everything: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `fanctl reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `fanctl status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print an object with each fan and what is to be done
    #[arg(long)]
    pub json: bool,
    /// Tell on standard error what was chosen
    #[arg(short, long)]
    pub verbose: bool,
}

/// `fanctl config`
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Tell everything that is wrong with the files
    Check(ConfigArgs),
    /// List the fans that are written down
    List(ListArgs),
    /// Print a file in one of the grammars of /etc/network/fan as TOML
    Convert(ConvertArgs),
}

/// `fanctl config list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print an array of objects
    #[arg(long)]
    pub json: bool,
}

/// `fanctl config convert`
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The file [default: /etc/network/fan]
    pub file: Option<PathBuf>,
}

/// `fanctl completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl DownArgs {
    /// The fan that is meant.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is too much.
    pub fn pair(&self) -> Result<(Overlay, UnderlaySource), Error> {
        only_for_all(&[("--dev", self.dev.is_some())])?;
        let (overlay, underlay, words) = self.pair.read("down")?;
        match words.first() {
            None => Ok((overlay, underlay)),
            Some(word) => Err(Error::Usage(format!(
                "word '{word}' is too much; down takes OVERLAY UNDERLAY"
            ))),
        }
    }
}

/// `fanctl show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Only this fan, by its bridge or its overlay
    #[arg(value_name = "BRIDGE|OVERLAY")]
    pub fan: Option<String>,
    /// Everything, as JSON: MTU, tunnel, programs, counters, and whether the kernel holds all that belongs to the fan
    #[arg(long)]
    pub json: bool,
    /// The programs that the kernel runs for the fan, disassembled
    #[arg(long, conflicts_with = "json")]
    pub program: bool,
}

/// `fanctl export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to print
    #[arg(value_enum)]
    pub runtime: Runtime,
    /// The fan, by its bridge or its overlay [default: the one that is up, else the one that is configured]
    #[arg(value_name = "BRIDGE|OVERLAY")]
    pub fan: Option<String>,
    /// With docker: daemon.json, for containers that name no network
    #[arg(long, conflicts_with = "name")]
    pub default_bridge: bool,
    /// What the runtime is to call the network [default: fan]
    #[arg(long, value_name = "NAME", value_parser = export::network_name)]
    pub name: Option<String>,
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Tell on standard error what was chosen
    #[arg(short, long)]
    pub verbose: bool,
}

impl ExportArgs {
    /// Whether every option says something to the runtime.
    ///
    /// # Errors
    /// Usage: one does not.
    pub fn check(&self) -> Result<(), Error> {
        let (takes_name, takes_default) = (self.runtime != Runtime::FlannelEnv, self.runtime == Runtime::Docker);
        let idle = [
            ("--name", self.name.is_some() && !takes_name),
            ("--default-bridge", self.default_bridge && !takes_default),
        ];
        match idle.iter().find(|(_, is_idle)| *is_idle) {
            None => Ok(()),
            Some((option, _)) => Err(Error::Usage(format!(
                "option '{option}' says nothing to {}; leave it out",
                self.runtime
            ))),
        }
    }
}

/// `fanctl map`
#[derive(Debug, Args)]
pub struct MapArgs {
    /// The network that containers live in: 250.0.0.0/8, or 250 for short
    pub overlay: Overlay,
    /// The network that hosts live in: 172.30.0.0/16
    pub underlay: UnderlaySource,
    /// Addresses of either network; - reads them from standard input, one a line
    #[arg(required = true, value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Print an array of objects
    #[arg(long)]
    pub json: bool,
}

/// What `lab` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LabAction {
    /// Build, try, and clean up
    #[default]
    Run,
    /// Remove a lab that was kept
    Down,
}

/// `fanctl lab`
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Build and try a lab, or remove one that was kept
    #[arg(value_enum, default_value_t)]
    pub action: LabAction,
    /// How many hosts, 2 to 16
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = |text: &str| config::number("hosts", text, 2..=16_u8))]
    pub hosts: u8,
    /// How many containers on each host, 1 to 100
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = |text: &str| config::number("containers", text, 1..=100_u8))]
    pub containers: u8,
    /// How packets travel [default: ipip where the kernel has it, else vxlan]
    #[arg(long, value_name = "ENCAP")]
    pub encap: Option<Encapsulation>,
    /// Leave the lab standing, and tell how to enter it
    #[arg(long)]
    pub keep: bool,
    /// Print the measurements as JSON
    #[arg(long)]
    pub json: bool,
    /// Print every command that is run
    #[arg(short, long)]
    pub verbose: bool,
}
