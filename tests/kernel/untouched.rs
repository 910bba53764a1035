//! What the tests must not touch: the fans of the machine that they run on. Every host of a test has its own `/etc`, `/run`
//! and `/var/lib`; this is for what a test starts outside of a host, or would write if a host had them not.
//!
//! The run sees these directories through a layer of its own, which holds what the run writes and nothing else: none of it
//! reaches the machine, and what others do to the machine meanwhile is not in it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where the layers are, in memory.
const LAYERS: &str = "/mnt";

/// The directories, and what `fanctl` has in each unless it is told otherwise.
const DIRECTORIES: [(&str, &[&str]); 3] =
    [("/etc", &["fan.toml", "network/fan"]), ("/run", &["fan"]), ("/var/lib", &["fan"])];

/// Puts the layers over the directories, for this process and what it starts. Call it before there are threads. A guest of
/// tests/qemu has no overlayfs, and no fans of its own.
pub fn begin() {
    if nix::unistd::geteuid().is_root()
        && let Err(error) = put_layers()
    {
        println!("the run sees /etc, /run and /var/lib of the machine itself: {error}");
    }
}

/// What the run has written, changed or removed of the machine's fans.
pub fn touched() -> Vec<PathBuf> {
    let files = DIRECTORIES.iter().flat_map(|(directory, names)| {
        names.iter().map(move |name| (layer(directory, "upper").join(name), Path::new(directory).join(name)))
    });
    files.filter(|(written, _)| written.symlink_metadata().is_ok()).map(|(_, file)| file).collect()
}

fn layer(directory: &str, kind: &str) -> PathBuf {
    Path::new(LAYERS).join(directory.replace('/', "-")).join(kind)
}

fn put_layers() -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), LAYERS, Some("tmpfs"), MsFlags::empty(), none)?;
    for (directory, _) in DIRECTORIES {
        let [upper, work] = ["upper", "work"].map(|kind| layer(directory, kind));
        for layer in [&upper, &work] {
            fs::create_dir_all(layer).expect("a directory in memory");
        }
        let layers = format!("lowerdir={directory},upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(&layers[..]))?;
    }
    Ok(())
}
