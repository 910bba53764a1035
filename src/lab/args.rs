//! The words of `fanctl lab`.

use crate::fan::json::JsonArgs;
use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::fan::encap::Encapsulation;
use crate::fan::options;

/// What `lab` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabAction {
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
    pub(crate) action: LabAction,
    /// How many hosts, 2 to 16 [default: 2]
    #[arg(long, value_name = "N", value_parser = |text: &str| options::number("hosts", text, 2..=16_u8))]
    pub(crate) hosts: Option<u8>,
    /// How many containers on each host, 1 to 100 [default: 2]
    #[arg(long, value_name = "M", value_parser = |text: &str| options::number("containers", text, 1..=100_u8))]
    pub(crate) containers: Option<u8>,
    /// How packets travel, ipip, vxlan or wireguard [default: ipip where the kernel has it, else vxlan]
    #[arg(long, value_name = "ENCAP", value_parser = |text: &str| text.parse::<Encapsulation>())]
    pub(crate) encap: Option<Encapsulation>,
    /// Leave the lab standing, and tell how to enter it
    #[arg(long)]
    pub(crate) keep: bool,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Print every command that is run
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl LabArgs {
    /// Whether every option is for what is to be done.
    ///
    /// # Errors
    /// Usage: one is about building a lab, and one is to be removed.
    pub(crate) fn says_nothing_idle(&self) -> Result<(), Error> {
        let about_building = [
            ("--hosts", self.hosts.is_some()),
            ("--containers", self.containers.is_some()),
            ("--encap", self.encap.is_some()),
            ("--keep", self.keep),
        ];
        let idle = about_building.iter().find(|(_, is_given)| *is_given);
        match idle.filter(|_| self.action == LabAction::Down) {
            None => Ok(()),
            Some((option, _)) => Err(Error::Usage(format!(
                "option '{option}' is about a lab that is to be built; leave it out, or: fanctl lab run"
            ))),
        }
    }
}
