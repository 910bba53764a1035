//! `fanctl watch`

use clap::Args;

use super::ConfigArgs;
use crate::fan::json::JsonArgs;

/// `fanctl watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Whether each line is a document of JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Tell on standard error what was chosen, and each step as it is done
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
