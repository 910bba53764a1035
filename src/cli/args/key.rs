//! `fanctl key`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::fan::keys::file::DEFAULT_KEY_FILE;

/// `fanctl key`
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a file with a new secret, for all hosts of a fan
    Generate(KeyFileArgs),
    /// Print what two hosts compare to see whether they have the same secret
    Fingerprint(KeyFileArgs),
    /// Add a second secret, which hosts receive by and do not send by yet
    Add(KeyFileArgs),
    /// Put a secret first, by which hosts then send
    Prefer(EpochArgs),
    /// Remove a secret that hosts do not send by any more
    Remove(EpochArgs),
}

/// A key file.
#[derive(Debug, Args)]
pub struct KeyFileArgs {
    /// The key file
    #[arg(default_value = DEFAULT_KEY_FILE, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// A secret in a key file.
#[derive(Debug, Args)]
pub struct EpochArgs {
    /// The epoch of the secret, a number that fanctl key fingerprint prints
    #[arg(value_name = "EPOCH", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epoch: u32,
    /// The key file.
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}
