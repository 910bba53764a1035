//! What /proc tells of the privileges of a process.

use std::fs;

/// Bits of the sets in /proc/PID/status (linux/capability.h).
pub mod bit {
    pub const KILL: u64 = 1 << 5;
    pub const SETGID: u64 = 1 << 6;
    pub const SETUID: u64 = 1 << 7;
    pub const NET_BIND_SERVICE: u64 = 1 << 10;
    pub const NET_ADMIN: u64 = 1 << 12;
    pub const NET_RAW: u64 = 1 << 13;
    pub const SYS_PTRACE: u64 = 1 << 19;
    pub const SYS_ADMIN: u64 = 1 << 21;
    pub const BPF: u64 = 1 << 39;
    pub const LOOKING: u64 = NET_ADMIN | SYS_PTRACE;
    pub const DNSMASQ: u64 = SETUID | SETGID | NET_BIND_SERVICE | NET_RAW | NET_ADMIN;
    pub const CHANGING: u64 = LOOKING | BPF | KILL | DNSMASQ;
}

/// What /proc tells of a process.
#[derive(Debug)]
pub struct Status(pub String);

impl Status {
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        Self(fs::read_to_string(format!("/proc/{pid}/status")).expect("a process"))
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name}: {}", self.0)).trim()
    }

    /// A set of capabilities: CapPrm, CapEff, CapInh, CapBnd or CapAmb.
    #[track_caller]
    pub fn set(&self, name: &str) -> u64 {
        u64::from_str_radix(self.field(name), 16).expect("hexadecimal digits")
    }

    /// May have these and no others, ever, and has those in effect.
    #[track_caller]
    pub fn has(&self, permitted: u64, effective: u64) {
        let sets = ["CapPrm", "CapBnd", "CapEff"].map(|name| self.set(name));
        assert_eq!(sets, [permitted, permitted, effective], "{}", self.0);
        self.gains_nothing();
    }

    #[track_caller]
    pub fn gains_nothing(&self) {
        assert_eq!(["CapInh", "CapAmb"].map(|name| self.set(name)), [0, 0], "{}", self.0);
        assert_eq!(self.field("NoNewPrivs"), "1", "{}", self.0);
    }
}
