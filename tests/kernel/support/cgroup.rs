//! A cgroup of a test's own, for programs that start containers: all processes that they leave are in it, and end with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Namespace, eventually};

/// Where a namespace sees the cgroups of the machine.
const ROOT: &str = "/sys/fs/cgroup";

/// The name of a cgroup, and every hierarchy it may be in.
pub struct Cgroup {
    name: String,
    hierarchies: Vec<PathBuf>,
}

impl Cgroup {
    /// Mounts the machine's hierarchies in a namespace, whose `/sys` is its own and has none, and chooses a name.
    pub fn in_namespace(namespace: &Namespace) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            // libvirt adds a suffix where there is no dot.
            name: format!("fanctl-test-{}.{count}", process::id()),
            hierarchies: namespace.run(mount_hierarchies),
        }
    }

    /// For `--cgroup-parent`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lines of a shell that make it.
    pub fn make_script(&self) -> String {
        let make = |own: PathBuf| {
            // A cpuset of version 1 takes no process before it has processors and memory.
            format!(
                "mkdir -p {own}
                 for key in cpuset.cpus cpuset.mems; do
                   [ ! -e {own}/cgroup.clone_children ] || [ ! -e {own}/$key ] || cat {own}/../$key >{own}/$key
                 done\n",
                own = own.display()
            )
        };
        self.directories().map(make).collect()
    }

    /// The lines of a shell that put it into the cgroup, with all that it starts.
    pub fn join_script(&self) -> String {
        let join = |own: PathBuf| format!("echo $$ >{}/cgroup.procs\n", own.display());
        self.make_script() + &self.directories().map(join).collect::<String>()
    }

    /// The lines of a shell that put it in the place of the whole hierarchies, in the mounts that the shell has.
    pub fn confine_script(&self) -> String {
        let bind = |own: PathBuf| format!("mount --bind {} {}/..\n", own.display(), own.display());
        self.make_script() + &self.directories().map(bind).collect::<String>()
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.join(&self.name))
    }

    /// Kills what is in it, and removes it. Runs in the namespace, where the hierarchies are.
    pub fn remove(&self, namespace: &Namespace) {
        let (name, hierarchies) = (self.name.clone(), self.hierarchies.clone());
        namespace.run(move || {
            for hierarchy in hierarchies {
                for own in named(&hierarchy, &name) {
                    eventually("its processes end", || {
                        let processes = processes(&own);
                        for &process in &processes {
                            let _ = kill(process, Signal::SIGKILL);
                        }
                        processes.is_empty().then_some(())
                    });
                    remove_tree(&own);
                }
            }
        });
    }
}

/// What hierarchies there are, from this process's place in them (cgroups(7)), each mounted: one for each controller, or
/// with a name instead; or else the one of version 2.
fn mount_hierarchies() -> Vec<PathBuf> {
    let lines = fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let fields = lines.lines().filter_map(|line| line.split(':').nth(1));
    let hierarchies: Vec<&str> = fields.filter(|field| !field.is_empty()).collect();
    let make = |kind: &str, place: &Path, options: &str| {
        fs::create_dir_all(place).expect("a directory");
        mount(Some(kind), place, Some(kind), MsFlags::empty(), Some(options))
            .unwrap_or_else(|error| panic!("{kind} {options} on {}: {error}", place.display()));
        place.to_path_buf()
    };
    if hierarchies.is_empty() {
        return vec![make("cgroup2", Path::new(ROOT), "")];
    }
    make("tmpfs", Path::new(ROOT), "");
    let mount_one = |hierarchy: &&str| match hierarchy.strip_prefix("name=") {
        Some(name) => make("cgroup", &Path::new(ROOT).join(name), &format!("none,{hierarchy}")),
        None => make("cgroup", &Path::new(ROOT).join(hierarchy), hierarchy),
    };
    hierarchies.iter().map(mount_one).collect()
}

/// The directories of this name, which is below the cgroup that the runtime itself was started in.
fn named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let own = directory.join(name);
    if own.is_dir() {
        return vec![own];
    }
    subdirectories(directory).iter().flat_map(|directory| named(directory, name)).collect()
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn processes(directory: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw);
    own.chain(subdirectories(directory).iter().flat_map(|inside| processes(inside))).collect()
}

fn remove_tree(directory: &Path) {
    for inside in subdirectories(directory) {
        remove_tree(&inside);
    }
    // The kernel frees a cgroup a moment after its last process has ended.
    eventually("the cgroup goes", || match fs::remove_dir(directory) {
        Err(_) if directory.is_dir() => None,
        _ => Some(()),
    });
}
