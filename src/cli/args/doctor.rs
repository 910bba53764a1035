//! `fanctl doctor`

use clap::Args;

use super::ConfigArgs;
use crate::fan::json::JsonArgs;

/// `fanctl doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only this fan, by its bridge or its overlay
    #[arg(value_name = "BRIDGE|OVERLAY")]
    pub(crate) fan: Option<String>,
    /// Mend what can be mended without harm: the objects of the fans; then examine again
    #[arg(long)]
    pub(crate) fix: bool,
    /// Whether to print JSON.
    #[command(flatten)]
    pub(crate) json: JsonArgs,
    /// Where the fans are written down.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}
