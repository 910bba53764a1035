//! `up` and `down`: one fan, by position, by option or in the words of 2015, or those of the configuration.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{ConfigArgs, OutputArgs};
use crate::error::Error;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::{Argument, KEYS, OptionKey, OptionKind};
use crate::fan::request::{Request, UnderlaySource};
use crate::shell;

/// Overlay and underlay, by position or by option.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
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

    /// The fan of overlay and underlay, plain, and the words that follow. What is not given by option is taken by position.
    fn read(&self, verb: &str) -> Result<(Request, &[String]), Error> {
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
        match (overlay.parse(), underlay.parse()) {
            (Ok(overlay), Ok(underlay)) => Ok((Request::new(overlay, underlay), rest)),
            (Err(reason), _) | (_, Err(reason)) => {
                Err(Error::Usage(turned(verb, &overlay, &underlay).unwrap_or(reason)))
            }
        }
    }
}

/// That the underlay is in the overlay's place, and the overlay in the underlay's.
fn turned(verb: &str, overlay: &str, underlay: &str) -> Option<String> {
    let is_interface = overlay.parse::<UnderlaySource>().is_ok_and(|source| source.underlay().is_none());
    (is_interface && underlay.parse::<Overlay>().is_ok()).then(|| {
        let right = shell!("fanctl {} {} {}", verb, underlay, overlay);
        format!("overlay '{overlay}' is no network; the overlay comes first: {right}")
    })
}

/// The fan, unless something about it makes no sense.
fn checked(config: Request) -> Result<Request, Error> {
    match config.contradictions().into_iter().next() {
        Some((_, reason)) => Err(Error::Usage(reason)),
        None => Ok(config),
    }
}

/// What a fan is like where it is not a plain one: an option for each of [`KEYS`] that is one, with the value that was given.
#[derive(Debug)]
pub(crate) struct FanArgs(Vec<(&'static OptionKey, String)>);

/// Reads the value of a key, and tells completions which there are.
#[derive(Clone)]
struct Checked(&'static OptionKey);

impl TypedValueParser for Checked {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let Self(key) = *self;
        (move |text: &str| key.check(text)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = || Encapsulation::ALL.into_iter().map(|encapsulation| PossibleValue::new(encapsulation.as_str()));
        (self.0.name == "encap").then(|| Box::new(words()) as Box<dyn Iterator<Item = PossibleValue>>)
    }
}

/// The keys that are options of `up`, those that were words in 2015 first.
fn of_one_fan() -> impl Iterator<Item = (&'static OptionKey, &'static Argument)> {
    let mut keys: Vec<_> = KEYS.iter().filter_map(|key| Some((key, key.argument.as_ref()?))).collect();
    keys.sort_by_key(|(key, _)| key.word.unwrap_or(u8::MAX));
    keys.into_iter()
}

impl Args for FanArgs {
    fn augment_args(command: Command) -> Command {
        let arg = |(key, argument): (&'static OptionKey, &Argument)| {
            let arg = Arg::new(key.name).help(argument.help);
            match key.kind {
                OptionKind::Flag => arg.long(key.name).action(ArgAction::SetTrue),
                OptionKind::Switch => arg.long(format!("no-{}", key.name)).action(ArgAction::SetTrue),
                // What is wrong with an element of a list is told once it is known that the list may be there.
                OptionKind::List => arg.long(key.name).value_name(argument.value_name),
                OptionKind::Text | OptionKind::Number | OptionKind::FlagOrText => {
                    let arg = arg.long(key.name).value_name(argument.value_name);
                    arg.value_parser(Checked(key)).hide_possible_values(true)
                }
            }
        };
        command.args(of_one_fan().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FanArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(key, _): (&'static OptionKey, _)| {
            let value = match key.kind {
                OptionKind::Flag => matches.get_flag(key.name).then(|| "true".to_string()),
                OptionKind::Switch => matches.get_flag(key.name).then(|| "false".to_string()),
                OptionKind::Text | OptionKind::Number | OptionKind::FlagOrText | OptionKind::List => {
                    matches.get_one::<String>(key.name).cloned()
                }
            };
            Some((key, value?))
        };
        Ok(Self(of_one_fan().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl FanArgs {
    /// Adds the options to what the words of 2015 have said.
    fn merge_into(&self, config: &mut Request) -> Result<(), Error> {
        let plain = Request::new(config.overlay, config.underlay.clone());
        for (key, value) in &self.0 {
            let said = key.get(config);
            config.set(key, value).map_err(Error::Usage)?;
            if said != key.get(&plain) && said != key.get(config) {
                let name = key.name;
                return Err(Error::Usage(format!(
                    "{name} is given twice, as a word and as an option, with different values"
                )));
            }
        }
        Ok(())
    }
}

/// Whether something may be taken away.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ForceArgs {
    /// Bring a fan up even where its routes take away addresses that this host uses, or its overlay is of public addresses
    #[arg(long, overrides_with = "force")]
    pub(crate) force: bool,
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
    /// Write the fan into /etc/fan.toml too, or into the file of --config, so that it comes up at boot
    #[arg(long, conflicts_with_all = ["all", "dry_run"])]
    save: bool,
    /// With -a: exit with status 75 instead of 3, for a service manager to try again later, unless the fans were refused
    /// because they would take something away
    #[arg(long)]
    tempfail: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl UpArgs {
    /// Which of the configured fans are asked for, if it is not one that is spelled out.
    #[must_use]
    pub fn all(&self) -> Option<&UpAllArgs> {
        self.all.all.then_some(&self.all)
    }

    /// Whether fans may take away addresses that this host uses.
    #[must_use]
    pub(crate) fn force(&self) -> bool {
        self.force.force
    }

    /// Whether a service manager is to try again after most refusals.
    #[must_use]
    pub(crate) fn tempfail(&self) -> bool {
        self.tempfail
    }

    /// Where the fan is to be written down, if that is asked for.
    #[must_use]
    pub(crate) fn save(&self) -> Option<&ConfigArgs> {
        self.save.then_some(&self.all.config)
    }

    /// The fan that is asked for.
    ///
    /// # Errors
    /// Usage: something is missing, makes no sense, or is said twice in different ways.
    pub fn config(&self) -> Result<Request, Error> {
        let for_all = [
            ("--config", self.all.config.file.is_some() && !self.save),
            ("--dev", self.all.dev.is_some()),
            ("--tempfail", self.tempfail),
        ];
        only_for_all(&for_all)?;
        let (mut config, words) = self.pair.read("up")?;
        config.apply_words(words).map_err(|(_, reason)| Error::Usage(reason))?;
        self.fan.merge_into(&mut config)?;
        config.options.force = self.force.force;
        checked(config)
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

/// Which of the configured fans to bring up.
#[derive(Debug, Args)]
pub struct UpAllArgs {
    /// Bring up every fan of /etc/fan.toml and /etc/network/fan
    #[arg(
        short,
        long,
        conflicts_with_all = ["positional", "overlay", "underlay"].into_iter().chain(of_one_fan().map(|(key, _)| key.name))
    )]
    all: bool,
    /// With -a: only fans whose underlay address is on this interface
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) dev: Option<InterfaceName>,
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `fanctl down`
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pair: PairArgs,
    /// Take down every fan that configuration brought up (those that fanctl show flags auto)
    #[arg(short, long, conflicts_with_all = ["positional", "overlay", "underlay"])]
    pub(crate) all: bool,
    /// With -a: only fans whose underlay address is on this interface
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) dev: Option<InterfaceName>,
    /// Take down every fan of this host
    #[arg(short, long, conflicts_with_all = ["positional", "overlay", "underlay", "all", "dev"])]
    pub(crate) everything: bool,
    /// What to print, and whether to act.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
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
        let (config, words) = self.pair.read("down")?;
        let Request { overlay, underlay, .. } = checked(config)?;
        match words.first() {
            None => Ok(Named::Pair(overlay, underlay)),
            Some(word) => {
                Err(Error::Usage(format!("unexpected argument '{word}'; down takes OVERLAY UNDERLAY, or a bridge")))
            }
        }
    }
}
