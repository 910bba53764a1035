//! The rooms of src/: what each may use, and which of them may touch the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// In the order of the table in src/lib.rs: a room may use those before it. `error`, how a command ends, is one file.
const ROOMS: [&str; 11] =
    ["fan", "bpf", "config", "export", "plan", "error", "kernel", "diagnose", "lab", "names", "cli"];

/// Rooms that only the command line uses, so that each can be deleted.
const APART: [&str; 4] = ["export", "diagnose", "lab", "names"];

/// Modules that touch the machine. All others are pure.
const IMPURE: [&str; 5] = ["kernel", "diagnose::gather", "lab", "names::daemon", "cli"];

/// What a pure module does without: I/O, processes, threads, clocks and the environment.
const OUTSIDE: [&str; 16] = [
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::os::fd",
    "Instant::now",
    "SystemTime::now",
    "std::net::Tcp",
    "std::net::Udp",
    "nix::",
    "rustix::",
    "socket2::",
    "caps::",
    "netlink_",
    "rtnetlink::",
    "crate::kernel",
];

/// The kernel's numbers are values.
const INSIDE: [&str; 3] = ["nix::errno", "nix::libc::E", "nix::libc::RTPROT_"];

/// A module of the library: its path, and its code without comments and unit tests.
struct Module {
    path: String,
    code: String,
}

impl Module {
    fn room(&self) -> &str {
        self.path.split("::").next().unwrap_or_default()
    }

    fn is_in(&self, path: &str) -> bool {
        self.path == path || self.path.starts_with(&format!("{path}::"))
    }

    /// The rooms that it names, its own left out.
    fn uses(&self) -> impl Iterator<Item = &str> {
        let paths = self.code.split("crate::").skip(1);
        let names = paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
        names.filter(|name| *name != self.room() && ROOMS.contains(name))
    }
}

/// Whether a path that begins with this is in a text: `nix::` is not in `unix::`.
fn has_path(code: &str, path: &str) -> bool {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(path).any(|(at, _)| begins(at))
}

fn modules() -> Vec<Module> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut modules, mut rest) = (Vec::new(), vec![src.clone()]);
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let inside: PathBuf = path.strip_prefix(&src).expect("in src").with_extension("");
        let names: Vec<&str> = inside.iter().map(|name| name.to_str().expect("UTF-8")).collect();
        if path.extension().is_none_or(|extension| extension != "rs")
            || names.contains(&"tests")
            || ["main", "lib"].contains(&names[0])
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        let code = match code.find("mod tests {") {
            Some(tests) => &code[..tests],
            None => &code,
        };
        modules.push(Module { path: names.join("::"), code: code.into() });
    }
    assert!(modules.len() > 100, "{} modules", modules.len());
    modules
}

/// What of a rule is broken, a line each.
fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_module_is_in_a_room() {
    let astray = modules().into_iter().filter(|module| !ROOMS.contains(&module.room()));
    assert_none(&astray.map(|module| module.path).collect::<Vec<_>>());
}

#[test]
fn rooms_use_those_before_them() {
    let floor = |room: &str| ROOMS.iter().position(|name| *name == room);
    let mut broken = Vec::new();
    for module in modules() {
        for used in module.uses() {
            if floor(used) > floor(module.room()) {
                broken.push(format!("{} uses {used}, which is later in the table", module.path));
            }
            if APART.contains(&used) && module.room() != "cli" {
                broken.push(format!("{} uses {used}, which is for cli alone", module.path));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn pure_modules_do_not_touch_the_machine() {
    let mut broken = Vec::new();
    for module in modules().iter().filter(|module| !IMPURE.iter().any(|path| module.is_in(path))) {
        let mut code = module.code.clone();
        for allowed in INSIDE {
            code = code.replace(allowed, "");
        }
        let touched = OUTSIDE.iter().filter(|outside| has_path(&code, outside));
        broken.extend(touched.map(|outside| format!("{} names {outside}", module.path)));
    }
    assert_none(&broken);
}
