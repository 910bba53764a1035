use super::*;
use crate::plan::firewall::ForwardDirection;

#[test]
fn dockers_chain_is_taken_away_where_it_is_nobodys() {
    let alone = "table ip filter {\n\tchain DOCKER-USER {\n\t}\n}\n";
    let forward = "\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    let others = alone.replace("\n}\n", forward);
    let asked = others.replace("drop;\n", "drop;\n\t\tcounter packets 0 bytes 0 jump DOCKER-USER\n");
    let used = alone.replace("USER {\n", "USER {\n\t\tcounter packets 7 bytes 420 return\n");
    assert_eq!(beside(alone), Beside::Nothing);
    assert_eq!(beside(&others), Beside::Others);
    for text in [&asked, &used, ""] {
        assert_eq!(beside(text), Beside::Use, "{text}");
    }
    assert!(asks(&asked, ForwardChain::DockerUser) && !asks(&others, ForwardChain::DockerUser));
}

#[test]
fn our_rule_goes_with_the_chain_that_it_was_alone_in() {
    let accept = |overlay: &str, way| Accept {
        overlay: overlay.parse().unwrap(),
        chain: ForwardChain::DockerUser,
        bridge: "fan-250-0-28".parse().unwrap(),
        way,
    };
    let line = |accept: &Accept, number| {
        format!("\t\t{} # handle {number}\n", accept.rule().replace("ip filter DOCKER-USER ", ""))
    };
    let (ours, theirs) = (accept("250", ForwardDirection::From), accept("251", ForwardDirection::From));
    let listing =
        |rules: &str| format!("table ip filter {{ # handle 1\n\tchain DOCKER-USER {{ # handle 14\n{rules}\t}}\n}}\n");
    let alone = listing(&line(&ours, 4));
    let gone = "delete rule ip filter DOCKER-USER handle 4\n";
    assert_eq!(deletion(&[&ours], &alone), format!("{gone}delete table ip filter\n"));
    let beside = listing(&(line(&theirs, 14) + &line(&ours, 4)));
    assert_eq!(deletion(&[&ours], &beside), gone);
    let both = format!("{gone}delete rule ip filter DOCKER-USER handle 14\ndelete table ip filter\n");
    assert_eq!(deletion(&[&theirs, &ours], &beside), both);
    assert_eq!(deletion(&[&accept("250", ForwardDirection::To)], &alone), "");
}

#[test]
fn our_rules_are_read_back_and_others_are_not() {
    let accept = |way| Accept {
        overlay: "250".parse().unwrap(),
        chain: ForwardChain::Forward,
        bridge: "fan-250-0-28".parse().unwrap(),
        way,
    };
    let printed = |way| accept(way).rule().replace("ip filter FORWARD ", "");
    let listing = format!(
        "table ip filter {{\n\tchain FORWARD {{\n\t\t{} # handle 4\n\t\t{} # handle 5\n\t\tiifname \"docker0\" accept \
         comment \"fan of docker\" # handle 6\n\t}}\n}}\n",
        printed(ForwardDirection::From).replace("counter", "counter packets 3 bytes 252"),
        printed(ForwardDirection::To),
    );
    let found: Vec<_> = accepts(&listing).collect();
    assert_eq!(found, [(accept(ForwardDirection::From), Some(4)), (accept(ForwardDirection::To), Some(5))]);
}
