//! Faults injected from outside: `strace` lets a chosen system call of a run of `fanctl` fail, or kills the process as it
//! enters that call. The program knows nothing of it.

use std::collections::HashMap;
use std::fmt;

use super::{Host, Output};

/// The calls by which `fanctl` acts: requests to netlink, programs to load, children to start, their input and sysctls to
/// write, a dnsmasq to signal. What it reads on the way is among them.
const CALLS: &str = "sendto,bpf,clone,clone3,vfork,write,kill";

/// Where `strace` writes; /run is the host's own.
const LOG: &str = "/run/acts";

/// One system call of a run, by which an equal run can be hit again.
#[derive(Debug, Clone)]
pub struct Act {
    call: String,
    /// The how-manieth call of this name.
    number: usize,
    line: String,
}

impl Act {
    /// Whether it only asks: a dump of netlink (`NLM_F_DUMP` is 0x300).
    pub fn is_reading(&self) -> bool {
        self.call == "sendto" && ["NLM_F_DUMP", "0x300"].iter().any(|flag| self.line.contains(flag))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} number {}: {}", self.call, self.number, self.line)
    }
}

impl Host {
    /// Runs `fanctl` to its good end, and returns what it did, call by call. What it tells us at the end is left out.
    #[track_caller]
    pub fn acts_of(&self, words: &str) -> Vec<Act> {
        self.traced("", words).ok();
        let log = self.exec(&format!("cat {LOG}")).ok().stdout;
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let calls = log.lines().filter_map(|line| Some((line.split_once('(')?.0, line)));
        let acts = calls.filter(|(call, _)| CALLS.split(',').any(|known| known == *call));
        acts.map(|(call, line)| {
            let number = counts.entry(call).or_default();
            *number += 1;
            Act { call: call.to_string(), number: *number, line: line.to_string() }
        })
        .filter(|act| !["write(1<", "write(2<"].iter().any(|told| act.line.starts_with(told)))
        .collect()
    }

    /// Runs `fanctl`, and lets this call fail as if there were no memory.
    #[track_caller]
    pub fn fails_at(&self, words: &str, act: &Act) -> Output {
        self.hit(words, act, "error=ENOMEM")
    }

    /// Runs `fanctl`, and kills it as it enters this call.
    #[track_caller]
    pub fn killed_entering(&self, words: &str, act: &Act) {
        let output = self.hit(words, act, "signal=KILL");
        assert_eq!(output.code, None, "it was killed\n{output}");
    }

    /// Runs `fanctl` as on a kernel without nf_tables, which gives no socket of that family. The first socket is that of
    /// route netlink.
    pub fn without_nf_tables(&self, words: &str) -> Output {
        self.fanctl_by(
            &format!("strace -o {LOG} -e trace=socket -e inject=socket:error=EPROTONOSUPPORT:when=2+ --"),
            words,
        )
    }

    #[track_caller]
    fn hit(&self, words: &str, act: &Act, how: &str) -> Output {
        let Act { call, number, .. } = act;
        let output = self.traced(&format!("-e inject={call}:{how}:when={number}"), words);
        let log = self.exec(&format!("cat {LOG}")).ok().stdout;
        assert!(log.contains("(INJECTED)") || log.contains("killed by SIGKILL"), "never came to {act}\n{output}");
        output
    }

    #[track_caller]
    fn traced(&self, options: &str, words: &str) -> Output {
        self.fanctl_by(&format!("strace -y -o {LOG} -e trace={CALLS} {options} --"), words)
    }
}
