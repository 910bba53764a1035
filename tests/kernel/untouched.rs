//! What the tests must not touch: the fans of the machine that they run on. Every host of a test has its own `/etc`, `/run`
//! and `/var/lib`; this is for what a test starts outside of a host, or would write if a host had them not.
//!
//! The run sees these directories through a layer of its own. What it writes never reaches the machine, and what others
//! write on the machine meanwhile is not taken for the run's.

use std::fs;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where `fanctl` reads and writes unless it is told otherwise.
const FILES: [&str; 4] = ["/etc/fan.toml", "/etc/network/fan", "/var/lib/fan", "/run/fan"];

/// The files of the machine's fans as they were, with their content.
#[derive(Debug)]
pub struct Untouched(Vec<(PathBuf, Vec<u8>)>);

impl Untouched {
    /// Puts the layers over the machine's directories, for this process and what it starts. Call it before there are threads.
    pub fn begin() -> Self {
        if nix::unistd::geteuid().is_root() {
            layers()
                .unwrap_or_else(|error| println!("the run sees the machine's own /etc, /run and /var/lib: {error}"));
        }
        Self(found())
    }

    /// The files that have come, gone or changed since.
    pub fn touched(&self) -> Vec<PathBuf> {
        let now = found();
        let differ = |one: &[(PathBuf, Vec<u8>)], other: &[(PathBuf, Vec<u8>)]| {
            let others = one.iter().filter(|file| !other.contains(file));
            others.map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let mut touched = [differ(&self.0, &now), differ(&now, &self.0)].concat();
        touched.sort();
        touched.dedup();
        touched
    }
}

fn layers() -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), none)?;
    for (number, directory) in ["/etc", "/run", "/var/lib"].into_iter().enumerate() {
        let [upper, work] = ["upper", "work"].map(|layer| format!("/mnt/{number}/{layer}"));
        for layer in [&upper, &work] {
            fs::create_dir_all(layer).expect("a directory in memory");
        }
        let layers = format!("lowerdir={directory},upperdir={upper},workdir={work}");
        mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(&layers[..]))?;
    }
    Ok(())
}

fn found() -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => {
                left.extend(entries.flatten().map(|entry| entry.path()));
                found.push((path, Vec::new()));
            }
            Err(_) if path.symlink_metadata().is_ok() => {
                let content = fs::read(&path).unwrap_or_default();
                found.push((path, content));
            }
            Err(_) => {}
        }
    }
    found
}
