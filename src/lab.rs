//! stand-in until the lab branch is merged
use crate::cli::LabArgs;
use crate::error::Error;
/// x
/// # Errors
/// x
pub fn command(_: &LabArgs, _: &mut dyn std::io::Write) -> Result<(), Error> {
    Err(Error::Failed("no lab yet".into()))
}
