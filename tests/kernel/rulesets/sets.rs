//! The rule sets, by the software whose kind they are: scripts as an administrator or a program would run them.
//!
//! In a file a line `### NAME WORDS` begins a set. The words: `bridged`, bridged packets pass through iptables too; `unsure`, the
//! doctor cannot tell; `unmended`, what it prints is for a program that is not there, or it prints nothing.

/// A rule set.
pub struct Set {
    pub name: String,
    pub script: String,
    pub is_bridged: bool,
    pub may_be_unsure: bool,
    pub is_not_mended: bool,
}

/// Those of one kind of software.
pub type File = &'static str;

pub const DOCKER: File = include_str!("sets/docker.sh");
pub const FIREWALLD: File = include_str!("sets/firewalld.sh");
pub const UFW: File = include_str!("sets/ufw.sh");
pub const KUBERNETES: File = include_str!("sets/kubernetes.sh");
pub const HOSTS: File = include_str!("sets/hosts.sh");
pub const VIRTUAL: File = include_str!("sets/virtual.sh");
pub const EXPRESSIONS: File = include_str!("sets/expressions.sh");
pub const LAYERS: File = include_str!("sets/layers.sh");

pub const FILES: [File; 8] = [DOCKER, FIREWALLD, UFW, KUBERNETES, HOSTS, VIRTUAL, EXPRESSIONS, LAYERS];

/// The sets of one file.
pub fn of(file: File) -> Vec<Set> {
    file.split("\n### ").skip(1).map(set).collect()
}

fn set(text: &str) -> Set {
    let (head, script) = text.split_once('\n').expect("a script");
    let mut words = head.split(' ');
    let name = words.next().expect("a name").to_string();
    let words: Vec<&str> = words.collect();
    for word in &words {
        assert!(["bridged", "unsure", "unmended"].contains(word), "{name}: '{word}'");
    }
    let has = |word| words.contains(&word);
    Set {
        name,
        script: script.into(),
        is_bridged: has("bridged"),
        may_be_unsure: has("unsure"),
        is_not_mended: has("unmended"),
    }
}
