use super::message::*;
use super::*;
use crate::fan::encap::SourcePorts;
use crate::fan::tests::announced;
use crate::plan::firewall::{Ruleset, ruleset, table_name};

const NAME: &str = "fan-250.0.0.0/8";

fn payload(family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = header(family);
    for (kind, value) in attributes {
        let len = 4 + value.len();
        bytes.extend(u16::try_from(len).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn named(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// What nft keeps of a comment, behind something else that it keeps.
fn commented(comment: &str) -> Vec<u8> {
    let text = named(comment);
    [&[1, 2, 7, 7, 0, u8::try_from(text.len()).unwrap()], &text[..]].concat()
}

fn table(family: u8, flags: u32) -> Vec<u8> {
    payload(family, &[(TABLE, &named(NAME)), (TABLE_FLAGS, &flags.to_be_bytes())])
}

fn chain(family: u8, table: &str, name: &str, policy: u32) -> Vec<u8> {
    let policy = policy.to_be_bytes();
    payload(family, &[(TABLE, &named(table)), (CHAIN_NAME, &named(name)), (CHAIN_POLICY, &policy)])
}

fn flowtable(name: &str, devices: &[&str]) -> Vec<u8> {
    let nested = |kind: u16, parts: &[(u16, &[u8])]| (kind, payload(2, parts)[HEADER_LEN..].to_vec());
    let names: Vec<Vec<u8>> = devices.iter().map(|device| named(device)).collect();
    let names: Vec<(u16, &[u8])> = names.iter().map(|name| (1, &name[..])).collect();
    let (kind, list) = nested(HOOK_DEVICES, &names);
    let (hook, value) = nested(FLOWTABLE_HOOK, &[(kind, &list)]);
    payload(2, &[(TABLE, &named(NAME)), (FLOWTABLE_NAME, &named(name)), (hook, &value)])
}

/// How many of the tables are plain.
fn plain(answers: &Replies) -> usize {
    Tables::read(answers).plain.len()
}

#[test]
fn tables_and_chains_are_read_and_others_are_not_ours() {
    let all = [table(7, 0), table(2, 0), table(1, 0), payload(2, &[(TABLE, &named("mine"))])];
    let chains = [
        chain(2, NAME, "guard", 1),
        chain(7, NAME, "ports", 1),
        chain(2, NAME, "nat", 1),
        chain(2, "filter", "FORWARD", DROP),
        chain(2, "filter", "DOCKER-USER", 1),
        chain(7, "filter", "FORWARD", 1),
    ];
    let read = |tables: &[Vec<u8>], chains: &[Vec<u8>]| {
        Tables::read(&Replies { tables: tables.to_vec(), chains: chains.to_vec(), ..Replies::default() })
    };
    let tables = read(&all, &chains);
    assert_eq!(tables.ours, BTreeMap::from([("250".parse().unwrap(), vec!["ip", "bridge"])]));
    assert_eq!(tables.forward, [ForwardChain::Forward, ForwardChain::DockerUser]);
    assert!(tables.forward_drops);
    assert_eq!(tables.plain[&("ip", NAME.to_string())].chains, ["guard", "nat"]);
    let accepting = read(&all, &[chain(2, "filter", "FORWARD", 1)]);
    assert!(!accepting.forward_drops);
    for payload in all.iter().chain(&chains).chain(&[flowtable(FLOWTABLE, &["fan0"])]) {
        for len in 0..payload.len() {
            let cut = || vec![payload[..len].to_vec()];
            let _ = Tables::read(&Replies {
                tables: [&all[..], &cut()].concat(),
                chains: cut(),
                sets: cut(),
                flowtables: cut(),
                others: cut(),
            });
        }
    }
}

#[test]
fn a_table_with_more_than_is_ours_is_not_plain() {
    let answers =
        || Replies { tables: vec![table(2, 0)], chains: vec![chain(2, NAME, "guard", 1)], ..Replies::default() };
    let set = |flags: u32| vec![payload(2, &[(TABLE, &named(NAME)), (SET_FLAGS, &flags.to_be_bytes())])];
    let with_comment =
        payload(2, &[(TABLE, &named(NAME)), (CHAIN_NAME, &named("guard")), (CHAIN_USERDATA, &commented("mine"))]);
    let sets = |flags| Replies { sets: set(flags), ..answers() };
    let flowtables = |name| Replies { flowtables: vec![flowtable(name, &["eth0"])], ..answers() };
    assert_eq!([plain(&answers()), plain(&sets(SET_ANONYMOUS | 2)), plain(&flowtables(FLOWTABLE))], [1; 3]);
    for more in [
        sets(2),
        flowtables("mine"),
        Replies { others: set(0), ..answers() },
        Replies {
            tables: vec![table(2, 1)], // dormant
            ..answers()
        },
        Replies { chains: vec![with_comment], ..answers() },
    ] {
        assert_eq!(plain(&more), 0, "{more:?}");
    }
}

/// The chains of a table as made, and its rules as the kernel has them.
fn as_made(script: &str) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut chains, mut rules) = (Vec::new(), Vec::new());
    for line in script.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            chains.push(name.trim_end_matches(" {").to_string());
        } else if let Some((_, comment)) = line.split_once("comment \"") {
            let userdata = commented(comment.trim_end_matches('"'));
            let chain = named(chains.last().unwrap());
            rules.push(payload(2, &[(RULE_CHAIN, &chain), (RULE_USERDATA, &userdata)]));
        }
    }
    (chains, rules)
}

/// The expressions of a rule that asks for the index of a device.
fn asking_for(index: u32) -> Vec<u8> {
    let nested = |attributes: &[(u16, &[u8])]| payload(2, attributes)[HEADER_LEN..].to_vec();
    let expression = |name, data: &[u8]| nested(&[(EXPRESSION_NAME, &named(name)), (EXPRESSION_DATA, data)]);
    let meta = expression("meta", &nested(&[(1, &[0; 4]), (META_KEY, &META_IIF.to_be_bytes())]));
    let value = nested(&[(DATA_VALUE, &index.to_ne_bytes())]);
    let cmp = expression("cmp", &nested(&[(1, &[0; 4]), (CMP_DATA, &value)]));
    nested(&[(RULE_EXPRESSIONS, &nested(&[(1, &meta), (1, &cmp)]))])
}

#[test]
fn a_sketch_is_the_ruleset_that_was_made_and_no_other() {
    let made = ruleset(&announced(), SourcePorts::Privileged);
    assert!(made.script().contains(&table_name(announced().overlay())));
    let (chains, rules) = as_made(made.script());
    let with = |chains: &[String], rules: &[Vec<u8>], devices: &[&str]| {
        let answers = Replies {
            tables: vec![table(2, 0)],
            chains: chains.iter().map(|name| chain(2, NAME, name, 1)).collect(),
            flowtables: vec![flowtable(FLOWTABLE, devices)],
            ..Replies::default()
        };
        let tables = Tables::read(&answers);
        let name_of = |index| (index == 7).then(|| "eth0".to_string());
        Ruleset::new(sketch(&tables.plain[&("ip", NAME.to_string())], rules, name_of))
    };
    let devices = ["fan-ipip", "fan-250-0-28"];
    let sketched = |chains: &[String], rules: &[Vec<u8>]| with(chains, rules, &devices);
    assert_ne!(with(&chains, &rules, &devices[1..]), made, "a device is gone");
    assert_eq!(sketched(&chains, &rules), made);
    for index in 0..rules.len() {
        let mut fewer = rules.clone();
        fewer.remove(index);
        assert_ne!(sketched(&chains, &fewer), made, "without rule {index}");
        let mut more = rules.clone();
        more.insert(index, payload(2, &[(RULE_CHAIN, &named(&chains[0]))]));
        assert_ne!(sketched(&chains, &more), made, "with another rule at {index}");
    }
    for index in 0..chains.len() {
        let mut fewer = chains.clone();
        fewer.remove(index);
        assert_ne!(sketched(&fewer, &rules), made, "without chain {index}");
    }
    let more = [&chains[..], &["mine".to_string()]].concat();
    assert_ne!(sketched(&more, &rules), made);
    for (index, is_ours) in [(7, true), (8, false)] {
        let asking: Vec<_> = rules.iter().map(|rule| [&rule[..], &asking_for(index)].concat()).collect();
        assert_eq!(sketched(&chains, &asking) == made, is_ours, "device {index}");
    }
}
