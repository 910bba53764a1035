//! Each verb, in a file of its own.

mod change;
mod map;
mod show;

use std::io::Write;

use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::lab;
use crate::object::{Bridge, Object, State};

/// Does what the command line says, and writes what was asked for to `out`.
///
/// # Errors
/// How it ended otherwise.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<(), Error> {
    match &cli.command {
        Command::Up(args) => change::up(&args.config()?, args.output, out),
        Command::Down(args) if args.everything => change::down_everything(args.output, out),
        Command::Down(args) => {
            let (overlay, underlay) = args.pair()?;
            change::down(overlay, &underlay, args.output, out)
        }
        Command::Show(args) => show::show(args, out),
        Command::Map(args) => map::map(args, out),
        Command::Lab(args) => lab::command(args, out),
    }
}

fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn bridges(state: &State) -> impl Iterator<Item = &Bridge> {
    state.values().filter_map(|object| {
        if let Object::Bridge(bridge) = object {
            Some(bridge)
        } else {
            None
        }
    })
}
