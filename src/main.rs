//! `fanctl`: parse, run, say once what went wrong, exit.

use std::ffi::OsStr;
use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use fanctl::cli;
use fanctl::cli::args::Cli;
use fanctl::cli::usage;
use fanctl::error::Error;
use fanctl::fan::text::{self, Screen};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let words: Vec<String> = std::env::args_os().skip(1).map_while(|word| word.into_string().ok()).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            return complain(&Error::Usage(usage::sentence(&error, &words)));
        }
        Err(help) => help.exit(),
    };
    let mut out = Screen { inner: BufWriter::new(std::io::stdout().lock()), has_colours: has_colours() };
    let done = cli::run(&cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Write what was found before the error. An error of this write is less important than the first one.
            let _ = out.flush();
            complain(&error)
        }
    }
}

/// Whether standard output is a terminal with colours, and they are wanted (no-color.org).
fn has_colours() -> bool {
    let says = |name: &str, is_no: fn(&OsStr) -> bool| std::env::var_os(name).is_some_and(|value| is_no(&value));
    let is_unwanted = says("NO_COLOR", |value| !value.is_empty()) || says("TERM", |value| value == "dumb");
    std::io::stdout().is_terminal() && !is_unwanted
}

/// Writes one line for each reason; characters in quoted text that could break the line are escaped.
fn complain(error: &Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for line in error.lines() {
        // An error of standard error cannot be reported.
        let _ = writeln!(stderr, "fanctl: {}", text::line(line));
    }
    ExitCode::from(error.exit_status())
}
