//! What clap found wrong with a command line, as one line in the words of every other message.
//!
//! Knows clap's kinds of errors, and nothing of what the arguments mean.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};

use crate::cli::args::Cli;

/// One line: what is wrong, and what to do. `words` are the first arguments, which may be verbs.
#[must_use]
pub fn sentence(error: &Error, words: &[&str]) -> String {
    let (mut command, mut path) = (Cli::command(), vec!["fanctl"]);
    for word in words {
        let Some(verb) = command.find_subcommand(word).cloned() else {
            break;
        };
        path.push(word);
        command = verb;
    }
    let help = format!("see: {} --help", path.join(" "));
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let verb = path.get(1);
    let argument = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    match error.kind() {
        // Our own parsers speak for themselves.
        ErrorKind::ValueValidation => error.source().map_or(first_line(error), ToString::to_string),
        ErrorKind::InvalidValue if value.is_empty() => format!("{} lacks its value; {help}", option(&argument)),
        ErrorKind::InvalidValue => format!(
            "{} cannot be '{value}'; it is one of {}; {help}",
            option(&argument),
            texts(error, ContextKind::ValidValue).join(", ")
        ),
        ErrorKind::TooManyValues => format!("{} takes no value, and '{value}' is one; {help}", option(&argument)),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => format!("unexpected argument '{argument}'; {help}"),
        ErrorKind::UnknownArgument if verb.is_none() => {
            format!("option '{argument}' stands before the command; options follow it; {help}")
        }
        ErrorKind::UnknownArgument => match text(error, ContextKind::SuggestedArg) {
            meant if meant.is_empty() => format!("option '{argument}' is unknown; {help}"),
            meant => format!("option '{argument}' is unknown; did you mean '{meant}'? {help}"),
        },
        ErrorKind::ArgumentConflict => match texts(error, ContextKind::PriorArg).join(", ") {
            prior if prior == argument => format!("{} is given twice; {help}", option(&argument)),
            prior => format!("{} and {} exclude each other; {help}", option(&argument), option(&prior)),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = texts(error, ContextKind::InvalidArg).iter().map(|a| bare(a)).collect();
            let are = if missing.len() == 1 { "is" } else { "are" };
            format!("{} {are} missing; {help}", missing.join(" and "))
        }
        ErrorKind::InvalidSubcommand => {
            let unknown = text(error, ContextKind::InvalidSubcommand);
            format!("verb '{unknown}' is unknown; it is one of {}; {help}", verbs.join(", "))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            format!("the verb is missing; it is one of {}; {help}", verbs.join(", "))
        }
        _ => format!("{}; {help}", first_line(error)),
    }
}

/// What clap says of an error's circumstances: one text, or several, or none.
fn texts(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => vec![],
    }
}

fn text(error: &Error, kind: ContextKind) -> String {
    texts(error, kind).join(", ")
}

/// An argument as a person calls it: `--mtu <N>` is option '--mtu', `[OVERLAY UNDERLAY]...` is OVERLAY UNDERLAY.
fn option(argument: &str) -> String {
    // One whose value may be left out is `--json[=<VERSION>]`.
    match argument.split([' ', '[']).next() {
        Some(name) if name.starts_with('-') => format!("option '{name}'"),
        _ => bare(argument),
    }
}

fn bare(argument: &str) -> String {
    argument.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_string()
}

fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_string()
}
