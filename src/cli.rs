//! The command line: the words in [`args`], each verb in a file of its own, and what is printed in [`report`].
//!
//! This room alone uses all others. A verb is a choice of the desired state.

pub mod args;
mod change;
mod completions;
mod config;
mod doctor;
mod down;
mod export;
mod key;
mod map;
mod metrics;
mod names;
mod reload;
pub(crate) mod report;
mod show;
mod status;
mod target;
mod trace;
mod up;
pub mod usage;
mod watch;

use std::io::Write;

use crate::cli::args::{Cli, Command, ConfigAction, NamesAction};
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::text::{self, Output};
use crate::kernel::capabilities::{self, Needs};
use crate::kernel::features;
use crate::lab;

/// Does what the command line says, and writes what was asked for to `out`.
///
/// # Errors
/// How it ended otherwise.
pub fn run(cli: &Cli, out: &mut dyn Output) -> Result<(), Error> {
    let needs = needs(&cli.command);
    if !matches!(needs, Needs::Nothing | Needs::Serving) {
        features::try_source();
    }
    capabilities::drop_to(needs)
        .map_err(|error| Error::Failed(format!("capabilities that are not needed cannot be given up: {error}")))?;
    match &cli.command {
        Command::Up(args) => match args.all() {
            Some(all) => up::all(all, args.force(), args.output, out)
                .map_err(|error| if args.tempfail() { error.for_a_service() } else { error }),
            None => up::one(&args.config()?, args.save(), args.output, out),
        },
        Command::Down(args) if args.everything => down::everything(args.output, out),
        Command::Down(args) if args.all => down::all(args.dev.as_ref(), args.output, out),
        Command::Down(args) => down::one(&args.named()?, args.output, out),
        Command::Reload(args) => reload::reload(args, out),
        Command::Status(args) => status::status(args, out),
        Command::Watch(args) => watch::watch(args, out),
        Command::Show(args) => show::show(args, out),
        Command::Metrics(args) => metrics::metrics(args, out),
        Command::Doctor(args) => doctor::doctor(args, out),
        Command::Trace(args) => trace::trace(args, out),
        Command::Export(args) => export::export(args, out),
        Command::Config(action) => config::config(action, out),
        Command::Names(action) => names::names(action, out),
        Command::Map(args) => map::map(args, out),
        Command::Key(action) => key::key(action, out),
        Command::Lab(args) => lab::command(args, out),
        Command::Completions(args) => Ok(completions::write(args.shell, out)?),
    }
}

/// What a verb can need. Files are read as their owner, who is root.
fn needs(command: &Command) -> Needs {
    match command {
        Command::Key(_) => Needs::Writing,
        Command::Config(ConfigAction::Convert(args)) if args.target.output.is_some() => Needs::Writing,
        Command::Export(args) if args.target.output.is_some() => Needs::Writing,
        Command::Metrics(args) if args.target.output.is_some() => Needs::Recording,
        Command::Show(args) if args.json.is_wanted() || args.long => Needs::Counting,
        Command::Metrics(_) => Needs::Counting,
        Command::Names(NamesAction::Serve(_)) => Needs::Serving,
        Command::Names(_) | Command::Config(_) | Command::Map(_) | Command::Completions(_) => Needs::Nothing,
        Command::Show(_) | Command::Export(_) | Command::Status(_) => Needs::Looking,
        Command::Trace(_) => Needs::Probing,
        Command::Doctor(args) if !args.fix => Needs::Examining,
        Command::Up(args) if args.output.dry_run => Needs::Looking,
        Command::Down(args) if args.output.dry_run => Needs::Looking,
        Command::Reload(args) if args.output.dry_run => Needs::Looking,
        Command::Up(_) | Command::Down(_) | Command::Reload(_) | Command::Watch(_) | Command::Doctor(_) => {
            Needs::Changing
        }
        Command::Lab(_) => Needs::Namespaces,
    }
}

/// Whether a fan is meant by this, its bridge or its overlay.
fn is_called(fan: &Fan, text: &str) -> bool {
    text == fan.bridge.as_str() || text.parse::<Overlay>().is_ok_and(|overlay| overlay == fan.overlay())
}

/// Says what somebody has to see to, beside what was asked for.
fn warn(sentences: &[String]) {
    for sentence in sentences {
        // That nobody listens changes nothing.
        let _ = writeln!(std::io::stderr(), "fanctl: {}", text::line(sentence));
    }
}
