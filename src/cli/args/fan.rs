//! `up` and `down`: one fan, by position, by option or in the words of 2015, or those of the configuration.

use clap::Args;

use super::{ConfigArgs, OutputArgs};
use crate::error::Error;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{self, Config, Subnets, UnderlaySource};
use crate::shell;

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
    /// The overlay where it is all that is given, or a name in its place.
    fn only_word(&self) -> Option<&String> {
        match (&self.overlay, self.positional.as_slice()) {
            (Some(word), []) | (None, [word]) => Some(word),
            _ => None,
        }
    }

    /// Overlay, underlay and the words that follow. What is not given by option is taken by position.
    fn read(&self, verb: &str) -> Result<(Overlay, UnderlaySource, &[String]), Error> {
        let mut rest = self.positional.as_slice();
        let mut next = |option: &Option<String>, name: &str| -> Result<String, Error> {
            if let Some(text) = option {
                return Ok(text.clone());
            }
            let (first, others) = rest.split_first().ok_or_else(|| {
                Error::Usage(format!("{name} is missing; for example: fanctl {verb} 250.0.0.0/8 eth0/16"))
            })?;
            rest = others;
            Ok(first.clone())
        };
        let overlay = next(&self.overlay, "OVERLAY")?;
        let underlay = next(&self.underlay, "UNDERLAY")?;
        let is_interface = |text: &str| text.parse::<UnderlaySource>().is_ok_and(|source| source.underlay().is_none());
        if is_interface(&overlay) && underlay.parse::<Overlay>().is_ok() {
            let turned = shell!("fanctl {} {} {}", verb, underlay, overlay);
            return Err(Error::Usage(format!("overlay '{overlay}' is no network; the overlay comes first: {turned}")));
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

/// What a fan is like where it is not a plain one.
#[derive(Debug, Args)]
pub struct FanArgs {
    /// Give out the slice by DHCP (needs dnsmasq)
    #[arg(long)]
    dhcp: bool,
    /// Addresses at the start of the slice that the host keeps, 1 to 254 [default: 1]
    #[arg(long, value_name = "N", value_parser = request::host_reserve)]
    host_reserve: Option<u8>,
    /// The bridge's name [default: after the slice, fan-250-0-28]
    #[arg(long, value_name = "NAME", value_parser = request::bridge_name)]
    bridge: Option<InterfaceName>,
    /// How packets travel; the same on all hosts: ipip or vxlan [default: ipip]
    #[arg(long, value_name = "ENCAP")]
    encap: Option<Encapsulation>,
    /// MTU of bridge and tunnel, 576 to 65515 [default: the underlay's less 20 (ipip) or 50 (vxlan)]
    #[arg(long, value_name = "N", value_parser = request::mtu)]
    mtu: Option<u32>,
    /// UDP port of vxlan; the same on all hosts [default: 8472]
    #[arg(long, value_name = "N", value_parser = request::port)]
    port: Option<u16>,
    /// Keep the fan's routes in table N, behind a routing rule, instead of the main table
    #[arg(long, value_name = "N", value_parser = request::table)]
    table: Option<u32>,
    /// Do not masquerade traffic from the slice to outside the overlay
    #[arg(long)]
    no_nat: bool,
    /// Networks that are routed behind containers here, and that containers so may send from, with commas between them
    #[arg(long, value_name = "NETWORKS")]
    routed: Option<String>,
    /// Ask the host's own rules about every packet between slices, and not only about the first ones of a connection (ipip)
    #[arg(long)]
    no_flowtable: bool,
}

impl FanArgs {
    /// Adds the options to what the words of 2015 have said.
    fn merge_into(&self, config: &mut Config) -> Result<(), Error> {
        let plain = Config::new(config.overlay, config.underlay.clone());
        let reserve = &mut config.host_reserve;
        merge(reserve, self.host_reserve, &plain.host_reserve, "host-reserve")?;
        let bridge = self.bridge.clone().map(Some);
        merge(&mut config.bridge, bridge, &plain.bridge, "bridge")?;
        config.dhcp |= self.dhcp;
        merge(&mut config.encapsulation, self.encap, &plain.encapsulation, "encap")?;
        merge(&mut config.mtu, self.mtu.map(Some), &plain.mtu, "mtu")?;
        merge(&mut config.port, self.port.map(Some), &plain.port, "port")?;
        merge(&mut config.table, self.table.map(Some), &plain.table, "table")?;
        config.nat &= !self.no_nat;
        let routed = &mut config.routed;
        let listed = self.routed.as_deref().map(str::parse::<Subnets>);
        let listed = listed.transpose().map_err(Error::Usage)?;
        merge(routed, listed, &plain.routed, "routed")?;
        config.flowtable &= !self.no_flowtable;
        Ok(())
    }
}

/// Whether something may be taken away.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ForceArgs {
    /// Bring a fan up even where its routes take away addresses that this host uses, or its overlay is of public addresses
    #[arg(long, overrides_with = "force")]
    pub force: bool,
}

/// `fanctl up`
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    all: UpAllArgs,
    #[command(flatten)]
    fan: FanArgs,
    #[command(flatten)]
    force: ForceArgs,
    /// With -a: exit with status 75 instead of 3, for a service manager to try again later, unless the fans were refused
    /// because they would take something away
    #[arg(long)]
    tempfail: bool,
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

    /// Whether fans may take away addresses that this host uses.
    #[must_use]
    pub fn force(&self) -> bool {
        self.force.force
    }

    /// Whether a service manager is to try again after most refusals.
    #[must_use]
    pub fn tempfail(&self) -> bool {
        self.tempfail
    }

    /// The fan that is asked for.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is said twice in different ways.
    pub fn config(&self) -> Result<Config, Error> {
        let for_all = [
            ("--config", self.all.config.file.is_some()),
            ("--dev", self.all.dev.is_some()),
            ("--tempfail", self.tempfail),
        ];
        only_for_all(&for_all)?;
        let (overlay, underlay, words) = self.pair.read("up")?;
        let mut config = Config::new(overlay, underlay);
        config.apply_words(words).map_err(|(_, reason)| Error::Usage(reason))?;
        self.fan.merge_into(&mut config)?;
        config.force = self.force.force;
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
        return Err(Error::Usage(format!("{name} is given twice, as a word and as an option, with different values")));
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
        conflicts_with_all = ["positional", "overlay", "underlay", "dhcp", "host_reserve", "bridge", "encap", "mtu", "port", "table", "no_nat", "routed", "no_flowtable"]
    )]
    all: bool,
    /// With -a: only fans whose underlay address is on this interface
    #[arg(long, value_name = "INTERFACE")]
    pub dev: Option<InterfaceName>,
    /// Where the fans are written down.
    #[command(flatten)]
    pub config: ConfigArgs,
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

/// Which fan is to go down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The one of this overlay, over this underlay.
    Pair(Overlay, UnderlaySource),
    /// The one with this bridge or overlay, as `show` takes it.
    Word(String),
}

impl DownArgs {
    /// The fan that is meant.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is too much.
    pub fn named(&self) -> Result<Named, Error> {
        only_for_all(&[("--dev", self.dev.is_some())])?;
        if let (None, Some(word)) = (&self.pair.underlay, self.pair.only_word()) {
            return Ok(Named::Word(word.clone()));
        }
        let (overlay, underlay, words) = self.pair.read("down")?;
        match words.first() {
            None => Ok(Named::Pair(overlay, underlay)),
            Some(word) => {
                Err(Error::Usage(format!("word '{word}' is too much; down takes OVERLAY UNDERLAY, or a bridge")))
            }
        }
    }
}
