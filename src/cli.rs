//! The command line: declarations, and how the two grammars that ever existed fill one [`Config`]. No decisions.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, UnderlaySource};
use crate::desire::{MAX_MTU, MIN_MTU};
use crate::encap::{Encapsulation, VXLAN_PORT};
use crate::error::Error;
use crate::mapping::{Mapping, Overlay};
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
    #[command(override_usage = UP_USAGE, after_help = UP_EXAMPLES)]
    Up(UpArgs),
    /// Take down a fan
    #[command(override_usage = DOWN_USAGE, after_help = DOWN_EXAMPLES)]
    Down(DownArgs),
    /// Show the fans that are up, from the kernel alone
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Tell which slice a host owns, or which host an overlay address lives on
    #[command(after_help = MAP_EXAMPLES)]
    Map(MapArgs),
    /// Build a small fan on this machine, in network namespaces of its own, and try it
    #[command(after_help = LAB_EXAMPLES)]
    Lab(LabArgs),
}

const UP_USAGE: &str = "fanctl up OVERLAY UNDERLAY [WORD]... [OPTIONS]
       fanctl up -o OVERLAY -u UNDERLAY [OPTIONS]";

const DOWN_USAGE: &str = "fanctl down OVERLAY UNDERLAY [OPTIONS]
       fanctl down -o OVERLAY -u UNDERLAY [OPTIONS]
       fanctl down -e [OPTIONS]";

const UP_EXAMPLES: &str = "\
OVERLAY is the network that containers live in: 250.0.0.0/8, or 250 for short.

UNDERLAY is where this host's address comes from, and the underlay's width (16 if not written),
which need not be that of the interface:
  eth0/16          the first primary address of eth0
  172.30.0.28/16   this address
  172.30.0.0/16    the host's one address in this network
  default/16       the first primary address of the default route's interface

WORD is one of those of 2015:
  dhcp             as --dhcp
  host-reserve N   as --host-reserve N
  bridge NAME      as --bridge NAME
  off              leave this fan alone: do nothing

Examples:
  fanctl up 250.0.0.0/8 eth0/16
  fanctl up 250.0.0.0/8 eth0/16 dhcp host-reserve 4
  fanctl up -o 250.0.0.0/8 -u 172.30.0.0/16 --encap vxlan
  fanctl up 250 default --dry-run

Exit status: 0 done, 1 failed (all steps were taken back), 2 usage, 3 refused (nothing was touched).";

const DOWN_EXAMPLES: &str = "\
OVERLAY and UNDERLAY are those that the fan was brought up with, or what fanctl show prints.

Examples:
  fanctl down 250.0.0.0/8 eth0/16
  fanctl down -o 250.0.0.0/8 -u 172.30.0.28/16
  fanctl down -e

Exit status: 0 done or nothing to do, 1 failed (all steps were taken back), 2 usage, 3 refused
(nothing was touched), as when a container is still attached.";

const SHOW_EXAMPLES: &str = "\
Examples:
  fanctl show
  fanctl show 250.0.0.0/8 --json | jq '.[].verdict'
  fanctl show fan-250-0-28 --program

Exit status: 0 done, 1 failed, as when the fan that was named is not up, 2 usage.";

const MAP_EXAMPLES: &str = "\
Examples:
  fanctl map 250.0.0.0/8 172.30.0.0/16 172.30.0.28 250.0.27.3
  fanctl map 250 172.30.0.0/16 - < addresses.txt

Exit status: 0 done, 1 failed, 2 usage, as when an address is in neither network.";

const LAB_EXAMPLES: &str = "\
Examples:
  fanctl lab
  fanctl lab --hosts 4 --encap vxlan
  fanctl lab --keep
  fanctl lab down

Exit status: 0 every packet arrived, 1 failed (nothing is left), 2 usage, 3 refused (nothing was touched).";

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
        if let Some(underlay) = underlay.underlay() {
            Mapping::new(overlay, underlay).map_err(Error::Usage)?;
        }
        Ok((overlay, underlay, rest))
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
    #[arg(long, value_name = "N", value_parser = number("mtu", MIN_MTU..=MAX_MTU))]
    mtu: Option<u32>,
    /// UDP port of vxlan; the same on all hosts [default: 8472]
    #[arg(long, value_name = "N", value_parser = number("port", 1..=65535_u16))]
    port: Option<u16>,
    /// Keep the fan's routes in table N, behind a routing rule, instead of the main table
    #[arg(long, value_name = "N", value_parser = table)]
    table: Option<u32>,
    /// Do not masquerade traffic from the slice to outside the overlay
    #[arg(long)]
    no_nat: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A reader of numbers in a range that names what the number is for.
fn number<T>(what: &'static str, range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("{what} '{text}' is no number from {} to {}", range.start(), range.end()))
    }
}

/// A routing table that a fan can have for itself: not 0, and not the kernel's 253 to 255.
fn table(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("table '{text}' is no number from 1 to 4294967295")),
        Ok(253..=255) => Err(format!(
            "table {text} is the kernel's own; leave --table out for the main table"
        )),
        Ok(number) => Ok(number),
    }
}

impl UpArgs {
    /// The fan that is asked for.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is said twice in different ways.
    pub fn config(&self) -> Result<Config, Error> {
        let (overlay, underlay, words) = self.pair.read("up")?;
        let mut config = Config::new(overlay, underlay);
        config.apply_words(words).map_err(Error::Usage)?;
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
        if self.port.is_some() && config.encapsulation != Encapsulation::Vxlan {
            return Err(Error::Usage(
                "option '--port' is for vxlan; add --encap vxlan, on all hosts".into(),
            ));
        }
        config.port = self.port.unwrap_or(VXLAN_PORT);
        config.mtu = self.mtu;
        config.table = self.table;
        config.nat = !self.no_nat;
        Ok(config)
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

/// `fanctl down`
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pair: PairArgs,
    /// Take down every fan of this host
    #[arg(short, long, conflicts_with_all = ["positional", "overlay", "underlay"])]
    pub everything: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl DownArgs {
    /// The fan that is meant.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is too much.
    pub fn pair(&self) -> Result<(Overlay, UnderlaySource), Error> {
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
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = number("hosts", 2..=16_u8))]
    pub hosts: u8,
    /// How many containers on each host, 1 to 100
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = number("containers", 1..=100_u8))]
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
