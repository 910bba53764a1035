//! The laws, on states as they occur: up to three fans with any options, of which somebody has removed or changed
//! any part.

use crate::plan::reason::ReasonCode;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{Mapping, Overlay};
use crate::fan::options::Options;
use crate::fan::tests::announced;
use crate::plan::apply::apply;
use crate::plan::desired;
use crate::plan::firewall::ForwardChain;
use crate::plan::host::{Counters, Link, LinkKind, PortFacts};
use crate::plan::state::{Identity, Owner, Tunnel, TunnelKind, Vnis};

fn host(mtu: u32, forward_chains: Vec<ForwardChain>) -> Host {
    let eth0 = Link {
        name: "eth0".parse().unwrap(),
        other_names: Vec::new(),
        up: true,
        carrier: true,
        mtu,
        ours: false,
        master: None,
        port: PortFacts::default(),
        lower: None,
        is_ethernet: true,
        kind: LinkKind::Other,
        addresses: Vec::new(),
        ipv6: None,
        ipv6_addresses: Vec::new(),
        counters: Counters::default(),
        programs: Vec::new(),
    };
    Host { links: vec![eth0], forward_chains, privileged: true, ..Host::default() }
}

fn any_host() -> impl Strategy<Value = Host> {
    let [docker, forward] = ForwardChain::ALL;
    let chains = select(vec![vec![], vec![docker], vec![forward], vec![docker, forward]]);
    (select(vec![1500, 9000]), chains).prop_map(|(mtu, chains)| host(mtu, chains))
}

fn any_fan(overlay: Overlay) -> impl Strategy<Value = Fan> {
    let table = select(vec![None, Some(100), Some(7)]);
    let encapsulation =
        select(vec![(Encapsulation::Ipip, None), (Encapsulation::Vxlan, None), (Encapsulation::Vxlan, Some(4789))]);
    let address = select(vec!["172.30.0.28", "172.30.9.9"]);
    let mtu = select(vec![None, Some(1400)]);
    (table, encapsulation, address, mtu, any::<(bool, bool)>(), 1_u8..3).prop_map(
        move |(table, (encapsulation, port), address, mtu, (dhcp, nat), host_reserve)| {
            let mapping = Mapping::new(overlay, announced().mapping.underlay()).unwrap();
            let options = Options { encapsulation, dhcp, host_reserve, mtu, port, table, nat, ..Options::default() };
            let mut fan = Fan { mapping, host: address.parse().unwrap(), options, ..announced() };
            fan.bridge = fan.default_bridge();
            fan
        },
    )
}

/// Up to three whole fans.
fn any_whole_state() -> impl Strategy<Value = (State, Host)> {
    let fan = |overlay: &str| proptest::option::of(any_fan(overlay.parse().unwrap()));
    ((fan("250"), fan("251"), fan("10")), any_host()).prop_map(|((a, b, c), host)| {
        let fans: Vec<Fan> = [a, b, c].into_iter().flatten().collect();
        (fans.iter().fold(State::new(), |state, fan| desired::with(&state, fan, &host)), host)
    })
}

/// Fans that somebody has meddled with: some objects are gone, some tunnels pulled out of their bridge.
fn any_state() -> impl Strategy<Value = (State, Host)> {
    (any_whole_state(), proptest::collection::vec(0_u8..8, 64)).prop_map(|((state, host), dice)| {
        let mut dice = dice.into_iter().cycle();
        let survivors = state.into_values().filter_map(|object| match (dice.next(), object) {
            (Some(0), _) => None,
            (
                Some(1),
                Object::Tunnel(Tunnel {
                    kind: TunnelKind::Vxlan { port, sources, mac, changed, .. },
                    owner,
                    name,
                    mtu,
                    ipv6,
                    ..
                }),
            ) => {
                let kind = TunnelKind::Vxlan { port, sources, vnis: Vnis::new(), mac, bridge: None, changed };
                Some(Object::Tunnel(Tunnel { owner, name, mtu, forwarding: false, ipv6, kind }))
            }
            (_, object) => Some(object),
        });
        (survivors.map(|object| (object.key(), object)).collect(), host)
    })
}

/// What a state becomes by a step.
fn replay(state: &mut State, step: &Step) {
    match step {
        Step::Delete(object) => {
            state.remove(&object.key());
        }
        Step::Create(object) => {
            state.insert(object.key(), object.clone());
        }
        Step::Hold(_) | Step::Remake(_) => {}
        Step::Change { from, to } => {
            state.remove(&from.key());
            state.insert(to.key(), to.clone());
        }
    }
}

fn walked(start: &State, steps: &[Step]) -> State {
    let mut state = start.clone();
    for step in steps {
        replay(&mut state, step);
    }
    state
}

/// A plan of either kind.
fn way(observed: &State, desired: &State, renumbers: bool) -> Vec<Step> {
    let steps = diff(observed, desired);
    if renumbers { renumbering(&steps) } else { steps }
}

fn inverted(steps: &[Step]) -> Vec<Step> {
    steps.iter().rev().map(|step| step.clone().inverse()).collect()
}

fn identities(state: &State) -> BTreeSet<Identity> {
    state.keys().map(|key| key.identity.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_right_needs_nothing((state, _) in any_state()) {
        prop_assert_eq!(diff(&state, &state), []);
    }

    #[test]
    fn a_plan_does_what_it_is_for(
        (observed, _) in any_state(),
        (desired, _) in any_state(),
        renumbers in any::<bool>(),
    ) {
        prop_assert_eq!(walked(&observed, &way(&observed, &desired, renumbers)), desired);
    }

    #[test]
    fn a_bridge_is_renumbered_in_place_and_down((observed, _) in any_whole_state(), (desired, _) in any_whole_state()) {
        let bridges = |state: &State| crate::plan::state::fans(state).map(Fan::overlay).collect::<BTreeSet<_>>();
        let steps = renumbering(&diff(&observed, &desired));
        let mut state = observed.clone();
        for step in &steps {
            if let Step::Change { from: Object::Bridge(from), to: Object::Bridge(to) } = step
                && (&from.fan.bridge, from.mac) != (&to.fan.bridge, to.mac)
            {
                let identity = Object::Bridge(from.clone()).key().identity;
                // The tables stay, and keep no bridge from being down.
                let stands =
                    |object: &&Object| !matches!(object, Object::Firewall(..)) && object.depends_on(&identity);
                prop_assert_eq!(state.values().find(stands), None);
            }
            replay(&mut state, step);
            let stay = bridges(&observed).intersection(&bridges(&desired)).copied().collect::<BTreeSet<_>>();
            prop_assert!(bridges(&state).is_superset(&stay), "{step:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_plan_can_be_taken_back_and_is_finished_by_the_next(
        (observed, _) in any_state(),
        (desired, _) in any_state(),
        renumbers in any::<bool>(),
    ) {
        let steps = way(&observed, &desired, renumbers);
        for end in 0..=steps.len() {
            let half = walked(&observed, &steps[..end]);
            prop_assert_eq!(&walked(&half, &inverted(&steps[..end])), &observed);
            prop_assert_eq!(&walked(&half, &way(&half, &desired, renumbers)), &desired);
        }
    }

    #[test]
    fn nothing_comes_before_what_it_stands_on_or_goes_after_it(
        (observed, _) in any_whole_state(),
        (desired, _) in any_whole_state(),
    ) {
        let mut state = observed.clone();
        for step in diff(&observed, &desired) {
            let present = identities(&state);
            match &step {
                Step::Delete(object) => {
                    let identity = object.key().identity;
                    // The tables stay, and are made anew with what comes instead.
                    let stays = |other: &Object| {
                        matches!(other, Object::Firewall(..)) && desired.contains_key(&other.key())
                    };
                    let orphan = state.values().find(|other| other.depends_on(&identity) && !stays(other));
                    prop_assert!(orphan.is_none(), "{orphan:?} would lose {identity:?}");
                }
                Step::Hold(_) => {}
                Step::Create(object) | Step::Change { to: object, .. } | Step::Remake(object) => {
                    for base in identities(&desired).iter().filter(|identity| object.depends_on(identity)) {
                        prop_assert!(present.contains(base), "{object:?} has no {base:?}");
                    }
                }
            }
            replay(&mut state, &step);
        }
    }

    #[test]
    fn tables_stay_and_are_made_anew_behind_the_links_they_hold_on_to(
        (observed, _) in any_state(),
        (desired, _) in any_state(),
        renumbers in any::<bool>(),
    ) {
        let tables = |state: &State| {
            let keys = state.iter().filter(|(_, object)| matches!(object, Object::Firewall(..)));
            keys.map(|(key, _)| key.clone()).collect::<BTreeSet<_>>()
        };
        let stay = tables(&observed).intersection(&tables(&desired)).cloned().collect::<BTreeSet<_>>();
        for back in [false, true] {
            let mut steps = way(&observed, &desired, renumbers);
            let mut state = observed.clone();
            if back {
                state = walked(&state, &steps);
                steps = inverted(&steps);
            }
            let (mut stale, mut written) = (BTreeSet::new(), BTreeSet::new());
            for step in &steps {
                // On the way back they are first what they were, and then hold on to what is there again.
                if !back && matches!(step.object(), Object::Firewall(..)) && !matches!(step, Step::Hold(_)) {
                    prop_assert!(written.insert(step.object().key()), "twice: {step:?}");
                }
                replay(&mut state, step);
                prop_assert!(tables(&state).is_superset(&stay), "{step:?}");
                let key = step.object().key();
                let is_made = |object: &Object| object.depends_on(&key.identity);
                match step {
                    Step::Create(Object::Bridge(_) | Object::Tunnel(_)) => {
                        stale.extend(stay.iter().filter(|key| is_made(&state[key])).cloned());
                    }
                    Step::Change { .. } | Step::Remake(_) => drop(stale.remove(&key)),
                    _ => {}
                }
            }
            prop_assert!(stale.is_empty(), "{stale:?}");
        }
    }

    #[test]
    fn a_fan_comes_and_goes_without_touching_another(
        (observed, host) in any_whole_state(),
        fan in any_fan("240".parse().unwrap()),
    ) {
        let up = desired::with(&observed, &fan, &host);
        let down = desired::with_shared(desired::without(&up, Owner::Fan(fan.overlay())), &host);
        prop_assert_eq!(&down, &observed);
        let first_ipip = desired::shared(crate::plan::state::fans(&observed), &host).is_empty();
        for step in diff(&observed, &up).iter().chain(&diff(&up, &down)) {
            let object = step.object();
            let widened = matches!((object, step), (Object::Tunnel(_), Step::Change { .. }));
            let own = object.owner() == Owner::Fan(fan.overlay());
            prop_assert!(own || (object.owner() == Owner::Shared && (first_ipip || widened)), "{:?}", step);
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_start((observed, _) in any_state(), (desired, _) in any_state()) {
        let steps = diff(&observed, &desired);
        for fails in 0..steps.len() {
            let (mut state, mut failed) = (observed.clone(), false);
            let outcome = apply(&steps, |group| {
                if !failed && group.contains(&steps[fails]) {
                    failed = group.len() == 1;
                    return Err("no")
                }
                for step in group { replay(&mut state, step) }
                Ok(())
            });
            let failure = outcome.unwrap_err();
            prop_assert_eq!(&failure.failed.0, &steps[fails]);
            prop_assert!(failure.left.is_empty());
            prop_assert_eq!(&state, &observed);
        }
    }
}

#[test]
fn the_last_resort_comes_first_and_goes_last_and_filters_come_before_their_link() {
    let host = host(1500, vec![]);
    let up = desired::with(&State::new(), &announced(), &host);
    let steps = diff(&State::new(), &up);
    assert!(matches!(steps.first(), Some(Step::Create(Object::Unreachable(..)))));
    assert!(matches!(diff(&up, &State::new()).last(), Some(Step::Delete(Object::Unreachable(..)))));
    let position = |wanted: fn(&Object) -> bool| steps.iter().position(|step| wanted(step.object())).unwrap();
    assert!(position(|o| matches!(o, Object::Filter(_))) < position(|o| matches!(o, Object::Up(..))));
    assert!(position(|o| matches!(o, Object::Firewall(..))) < position(|o| matches!(o, Object::Up(..))));
}

#[test]
fn a_bridge_is_not_pulled_from_under_a_container() {
    let mut host = host(1500, vec![]);
    let up = desired::with(&State::new(), &announced(), &host);
    let down = diff(&up, &State::new());
    assert_eq!(refusals(&down, &host, &[]), Vec::<Reason>::new());
    let port = Link { name: "veth1".parse().unwrap(), master: Some(announced().bridge), ..host.links[0].clone() };
    host.links.push(port);
    let reasons = refusals(&down, &host, &[]);
    assert!(
        matches!(&reasons[..], [reason] if reason.code == ReasonCode::BridgeInUse
            && reason.as_str().contains("veth1") && reason.as_str().contains("fan-250-0-28")),
        "{reasons:?}"
    );
}

#[test]
fn the_address_of_a_container_is_not_taken() {
    let host = host(1500, vec![]);
    let state = |fan: &Fan, host: &Host| desired::with(&State::new(), fan, host);
    let plain = announced();
    let reserving = Fan { options: Options { host_reserve: 4, ..plain.options.clone() }, ..plain.clone() };
    let steps = diff(&state(&plain, &host), &state(&reserving, &host));
    let taken: Vec<Vec<Ipv4Addr>> = growths(&steps).map(|(_, addresses)| addresses).collect();
    assert_eq!(taken, [[2, 3, 4].map(|last| Ipv4Addr::new(250, 0, 28, last))]);
    let claim = |last, port: Option<&str>| Claim {
        address: [250, 0, 28, last].into(),
        port: port.map(|port| port.parse().unwrap()),
    };
    assert_eq!(refusals(&steps, &host, &[claim(9, Some("veth1"))]), Vec::<Reason>::new(), "it is not taken");
    let claims = [claim(2, Some("veth1")), claim(4, None)];
    let told: Vec<String> = refusals(&steps, &host, &claims).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "host-reserve 4 takes more than 1 did, 250.0.28.2 to 250.0.28.4, and a container of bridge 'fan-250-0-28' answers \
             for: 250.0.28.2 behind port 'veth1', 250.0.28.4; give it another address, or stop it"
        ]
    );
    let shrink = diff(&state(&reserving, &host), &state(&plain, &host));
    assert_eq!(refusals(&shrink, &host, &claims), Vec::<Reason>::new());
}
