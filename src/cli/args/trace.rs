//! `fanctl trace`: which address, and how patiently.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;

use crate::fan::json::JsonArgs;
use crate::fan::options;

/// `fanctl trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// An address of a fan that is up; a host of its underlay stands for that host's gateway
    #[arg(value_parser = address)]
    pub(crate) address: Ipv4Addr,
    /// How long to wait for answers, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = |text: &str| options::number("wait", text, 1..=60_u8))]
    wait: u8,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

impl TraceArgs {
    /// How long to wait for answers.
    #[must_use]
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait.into())
    }
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("address '{text}' is no IPv4 address; write one like 250.0.27.2"))
}
