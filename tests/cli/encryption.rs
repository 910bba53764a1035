//! The keys of docs/encryption.md, by other programs: `openssl kdf` and `wg pubkey` compute them from what the page says.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};

/// The secret of the page's examples: the bytes 00 to 1f.
fn secret() -> String {
    hexadecimal(&(0..32).collect::<Vec<u8>>())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn output(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; see tests/setup"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// HKDF of the secret with the salt "fanctl/1", in hexadecimal.
fn hkdf(info: &[u8], len: usize) -> String {
    let options = [
        "digest:SHA256".to_string(),
        format!("hexkey:{}", secret()),
        "salt:fanctl/1".to_string(),
        format!("hexinfo:{}", hexadecimal(info)),
    ];
    let len = len.to_string();
    let mut arguments = vec!["kdf", "-keylen", &len];
    for option in &options {
        arguments.extend(["-kdfopt", option]);
    }
    arguments.push("HKDF");
    output("openssl", &arguments, "").trim().replace(':', "").to_lowercase()
}

/// A network as the page has it in a context: four bytes and a length.
fn network(text: &str) -> Vec<u8> {
    let (address, len) = text.split_once('/').expect("a network");
    let mut bytes: Vec<u8> = address.split('.').map(|byte| byte.parse().expect("a byte")).collect();
    bytes.push(len.parse().expect("a length"));
    bytes
}

#[test]
fn keys_of_version_1_are_what_the_page_says() {
    let path = format!("{}/docs/encryption.md", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(path).expect("the page");
    let (_, section) = page.split_once("\n### Version 1\n").expect("the section");
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| overlay"));
    let mut compared = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [overlay, underlay, epoch, host, private, public, preshared, fingerprint] = cells[..] else {
            panic!("{row}")
        };
        let epoch = epoch.parse::<u32>().expect("an epoch").to_be_bytes();
        let context = [&[4][..], &network(overlay), &network(underlay), &epoch].concat();
        let host = &network(&format!("{host}/32"))[..4];
        assert_eq!(hkdf(&[b"fanctl/1 host\0", &context[..], host].concat(), 32), private, "{row}");
        assert_eq!(hkdf(&[b"fanctl/1 psk\0", &context[..]].concat(), 32), preshared, "{row}");
        assert_eq!(hkdf(&[&b"fanctl/1 fingerprint\0"[..], &epoch].concat(), 8), fingerprint.replace(' ', ""), "{row}");
        let bytes: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&private[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect();
        assert_eq!(output("wg", &["pubkey"], &Base64::encode_string(&bytes)).trim(), public, "{row}");
        compared += 1;
    }
    assert_eq!(compared, 3);
    // The unit test of src/fan/keys.rs has the same examples.
    let unit = fs::read_to_string(format!("{}/src/fan/keys.rs", env!("CARGO_MANIFEST_DIR"))).expect("the source");
    let keys = page.split_ascii_whitespace().filter(|word| word.len() == 64 && unit.contains(word));
    assert_eq!(keys.count(), 6);
}
