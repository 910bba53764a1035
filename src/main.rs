//! `fanctl`: parse, run, say once what went wrong, exit.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use fanctl::cli::Cli;
use fanctl::command;
use fanctl::error::Error;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return complain(&usage(&error)),
        Err(help) => help.exit(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = command::run(&cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What was found before the error is worth having too; that it cannot be written is the lesser news.
            let _ = out.flush();
            complain(&error)
        }
    }
}

fn complain(error: &Error) -> ExitCode {
    for line in error.lines() {
        eprintln!("fanctl: {line}");
    }
    ExitCode::from(error.exit_status())
}

/// The first line of clap's explanation, which says what is wrong; the rest is in `--help`.
fn usage(error: &clap::Error) -> Error {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_string();
    let missing: Vec<&str> = if what.ends_with(':') {
        lines.take_while(|l| !l.starts_with("Usage")).collect()
    } else {
        vec![]
    };
    let what = [what.as_str()].into_iter().chain(missing).collect::<Vec<_>>().join(" ");
    Error::Usage(format!("{what}; see: fanctl --help"))
}
