//! `fanctl watch`

use clap::Args;

use super::ConfigArgs;

/// `fanctl watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Tell on standard error what was chosen, and each step as it is done
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
