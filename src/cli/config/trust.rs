//! Who can change a file that this program obeys.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{getegid, geteuid};

/// Whether nobody can change a file but root and who runs this, with their groups, as ssh has it. The same goes for its
/// directory, for each link on the way to it, and for the directory of each, in which files can be exchanged. It does not go
/// for /dev/null.
pub(super) fn trust(file: &Path, metadata: &Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Ok(());
    }
    let links_to = fs::canonicalize(file).unwrap_or_default();
    if let Some((who, first)) = stranger(file, metadata) {
        // Of /dev/stdin it is the file behind it.
        let file = if links_to.is_file() { &links_to } else { file }.display();
        return Err(format!("{who} may write to it, and so change this host's network; first: {first} {file}"));
    }
    let links = links(file);
    for link in &links {
        let owner = fs::symlink_metadata(link).map_or(0, |data| data.uid());
        if is_strange(owner) {
            let link = link.display();
            return Err(format!(
                "user {owner} may replace it, and so change this host's network, by the link '{link}'; first: chown -h root {link}"
            ));
        }
    }
    let places = [file].into_iter().chain(links.iter().map(PathBuf::as_path));
    for directory in places.chain([links_to.as_path()]).filter_map(Path::parent) {
        let directory = if directory == Path::new("") { Path::new(".") } else { directory };
        let found = fs::metadata(directory).ok();
        if let Some((who, first)) = found.as_ref().and_then(|found| stranger(directory, found)) {
            let directory = directory.display();
            return Err(format!(
                "{who} may replace it, and so change this host's network, by its directory; first: {first} {directory}"
            ));
        }
    }
    Ok(())
}

/// The symbolic links that the kernel follows on the way to a file, directories among them. What it finds by other means than
/// names, as in /proc/self/fd, ends the way.
fn links(file: &Path) -> Vec<PathBuf> {
    /// As many as the kernel follows (`MAXSYMLINKS`, linux/namei.h).
    const MOST: usize = 40;
    let words = |path: &Path| -> VecDeque<OsString> { path.components().map(|c| c.as_os_str().to_owned()).collect() };
    let mut at = std::env::current_dir().unwrap_or_default();
    let (mut rest, mut links) = (words(file), Vec::new());
    while let Some(word) = rest.pop_front() {
        match Path::new(&word).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                match fs::read_link(&next) {
                    Ok(target) if links.len() < MOST => {
                        for word in words(&target).into_iter().rev() {
                            rest.push_front(word);
                        }
                        links.push(next);
                    }
                    _ => at = next,
                }
            }
            _ => {}
        }
    }
    links
}

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In such a directory, like /tmp, only its owner can exchange a file.
const STICKY: u32 = 0o1000;

/// Whether a user is neither root nor who runs this.
fn is_strange(user: u32) -> bool {
    ![0, geteuid().as_raw()].contains(&user)
}

/// Who else may write, and what to do about it. With an access list the bits of the group are the most that anybody in it may
/// (acl(5)).
fn stranger(path: &Path, metadata: &Metadata) -> Option<(String, &'static str)> {
    let writes = |bit| metadata.mode() & bit != 0 && !(metadata.is_dir() && metadata.mode() & STICKY != 0);
    let (owner, group) = (metadata.uid(), metadata.gid());
    if writes(OTHERS_WRITE) {
        Some(("everybody".into(), "chmod o-w"))
    } else if is_strange(owner) {
        Some((format!("user {owner}"), "chown root"))
    } else if writes(GROUP_WRITES) && ![0, getegid().as_raw()].contains(&group) {
        Some((format!("group {group}"), "chmod g-w"))
    } else if writes(GROUP_WRITES) && has_access_list(path) {
        Some(("who is in its access list".into(), "chmod g-w"))
    } else {
        None
    }
}

/// Whether a file has more permissions than its mode tells. One that has none beyond it has no such list.
fn has_access_list(path: &Path) -> bool {
    // It is longer than its head of four bytes, so that what there is does not fit.
    let found = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0; 4]);
    matches!(found, Ok(_) | Err(rustix::io::Errno::RANGE))
}
