//! Where the bytes of a secret could be left behind: cores, the words of processes, the kernel's log, files.

use base64ct::{Base64, Encoding};

use super::{DEVICE, UP, wg};
use crate::support::{Host, Lan};

/// Secrets in each form in which they could be somewhere: bytes, base64 and hexadecimal.
fn forms(secrets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let hexadecimal = |secret: &[u8]| {
        let digits: Vec<String> = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    let of_one = |secret: &Vec<u8>| {
        // The last digits of base64 are others when something follows.
        let base64 = Base64::encode_string(secret)[..40].to_string();
        [secret.clone(), base64.into_bytes(), hexadecimal(secret).into_bytes()]
    };
    secrets.iter().flat_map(of_one).collect()
}

fn has(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form))
}

#[track_caller]
fn decode(base64: &str) -> Vec<u8> {
    Base64::decode_vec(base64).unwrap_or_else(|_| panic!("'{base64}' is no base64"))
}

#[track_caller]
fn read(host: &Host, path: &str) -> Vec<u8> {
    let path = path.to_string();
    host.run(move || std::fs::read(path)).expect("a file")
}

/// Aborts `fanctl` at a call of netlink: whether it was, or ended before that, and the core that it left.
#[track_caller]
fn core(host: &Host, call: u32) -> (bool, Option<Vec<u8>>) {
    host.sh("rm -f /run/cores/*").ok();
    let launcher = format!(
        "sh -c 'cd /run/cores; ulimit -c unlimited; exec \"$@\"' sh strace -o /dev/null -e trace=sendto,sendmsg \
         -e inject=sendto,sendmsg:signal=ABRT:when={call} --"
    );
    let output = host.sh(&format!("{launcher} {} {UP}", Host::program()));
    let list = host.sh("ls /run/cores").ok().stdout;
    let core = list.lines().next().map(|name| read(host, &format!("/run/cores/{name}")));
    (output.code != Some(0), core)
}

pub(super) fn no_secret_is_left_behind() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl("key generate").ok();
    let file = host.exec("cat /etc/fan/key").ok().stdout;
    let secret = decode(file.split_whitespace().last().expect("three words"))[..32].to_vec();
    // What every process that it starts is told, by words and environment.
    host.fanctl_by("strace -f -v -s 65536 -o /run/trace -e trace=execve --", &format!("{UP} -v")).ok();
    let of_device = ["private-key", "preshared-keys"].map(|word| wg(&host, DEVICE, word));
    let private = decode(&of_device[0]);
    let preshared = decode(of_device[1].split_whitespace().nth(1).expect("a key"));
    let forms = forms(&[secret, private, preshared]);
    assert!(has(&read(&host, "/etc/fan/key"), &forms), "the search finds what is there");
    assert!(!has(&read(&host, "/run/trace"), &forms), "in the words of a process");
    host.fanctl("key issue 172.30.0.27 -o /etc/fan/issued --networks 250.0.0.0/8 172.30.0.0/16").ok();
    for words in [
        "key table --networks 250.0.0.0/8 172.30.0.0/16 --hosts 172.30.0.0/28",
        "key fingerprint /etc/fan/issued",
        "metrics",
    ] {
        let said = host.fanctl(words).ok().to_string();
        assert!(!has(said.as_bytes(), &forms), "{said}");
    }
    let log = host.exec("dmesg").ok().to_string();
    assert!(!has(log.as_bytes(), &forms), "in the kernel's log");
    host.fanctl("down -e").ok();

    host.sh("mkdir -p /run/cores; echo core >/proc/sys/kernel/core_pattern").ok();
    let aborted = [1, 8, 16, 24, 32].into_iter().map(|call| core(&host, call)).filter(|(is_aborted, _)| *is_aborted);
    let cores: Vec<Option<Vec<u8>>> = aborted.map(|(_, core)| core).collect();
    assert!(cores[0].is_some(), "before it holds a secret, it leaves a core");
    assert!(cores.iter().any(Option::is_none), "while it holds one, it leaves none");
    assert!(!cores.iter().flatten().any(|core| has(core, &forms)), "in a core");
    host.fanctl("down -e").ok();

    // Files, but for the two that are to have them.
    let list = host.sh("find /etc /run /var /tmp -xdev -type f -size -4096k").ok().stdout;
    for path in list.lines().filter(|path| !path.starts_with("/etc/fan/")) {
        let path = path.to_string();
        let bytes = host.run(move || std::fs::read(path)).unwrap_or_default();
        assert!(!has(&bytes, &forms), "in a file");
    }
}
