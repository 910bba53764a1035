//! What two looks at a fan have to tell.

use super::*;
use crate::fan::tests::announced;
use crate::plan::desired;
use crate::plan::resolve::tests::{host, link};
use crate::plan::state::{Identity, Object};

/// A host like that of the announcement, and the fan as it should be there.
fn whole() -> (Fan, State, Host) {
    let host = Host { ip_forward: true, ..host(vec![link("eth0", &["172.30.0.28/16"])]) };
    let fan = announced();
    let owned = desired::with(&State::new(), &fan, &host);
    (fan, owned, host)
}

fn sight(fan: &Fan, owned: &State, host: &Host) -> Sight {
    Sight::new(fan, &Ok((fan, &[])), owned, host)
}

/// What is told when the fan was as it should be, and something is done to the machine.
fn told(care: Care, change: impl FnOnce(&mut State, &mut Host)) -> Option<String> {
    let (fan, mut owned, mut host) = whole();
    let before = sight(&fan, &owned, &host);
    assert!(before.is_right(), "{before:?}");
    change(&mut owned, &mut host);
    news(Some(&before), &sight(&fan, &owned, &host), care)
}

#[test]
fn nothing_new_is_no_news() {
    for care in [Care::ByHand, Care::Told, Care::Followed] {
        assert_eq!(told(care, |_, host| host.links[0].counters.received = 7), None);
    }
    let (fan, owned, host) = whole();
    assert_eq!(news(None, &sight(&fan, &owned, &host), Care::Told), None);
}

#[test]
fn what_somebody_took_away_is_told_with_what_to_do() {
    let without_route = |owned: &mut State, _: &mut Host| {
        owned.retain(|key, _| !matches!(key.identity, Identity::Unreachable { .. }));
    };
    let gone = "gone: unreachable route '250.0.0.0/8'";
    for (care, end) in [
        (Care::Told, "; fanctl reload puts it right"),
        (Care::ByHand, "; the fanctl up that made it puts it right"),
        (Care::Followed, ""),
    ] {
        assert_eq!(told(care, without_route), Some(format!("{gone}{end}")));
    }
    let (fan, mut owned, mut host) = whole();
    let whole = sight(&fan, &owned, &host);
    without_route(&mut owned, &mut host);
    let damaged = sight(&fan, &owned, &host);
    assert_eq!(news(Some(&damaged), &damaged, Care::Told), None, "it is told once");
    assert_eq!(news(Some(&damaged), &whole, Care::Told).as_deref(), Some("it is as it should be"));
    owned.retain(|_, object| !matches!(object, Object::Clsact(..)));
    let worse = sight(&fan, &owned, &host);
    assert_eq!(
        news(Some(&damaged), &worse, Care::Told).as_deref(),
        Some("gone: clsact of 'fan-ipip'; fanctl reload puts it right")
    );
    assert_eq!(news(Some(&worse), &damaged, Care::Told), None, "half of it is back");
}

#[test]
fn an_mtu_is_told_as_one_change() {
    assert_eq!(
        told(Care::Told, |_, host| host.links[0].mtu = 9000).as_deref(),
        Some("the MTU of interface 'eth0' changed from 1500 to 9000; fanctl reload puts it right")
    );
    let (mut fan, _, mut host) = whole();
    fan.options.mtu = Some(1300);
    let owned = desired::with(&State::new(), &fan, &host);
    let before = sight(&fan, &owned, &host);
    host.links[0].mtu = 9000;
    assert_eq!(
        news(Some(&before), &sight(&fan, &owned, &host), Care::Told).as_deref(),
        Some("the MTU of interface 'eth0' changed from 1500 to 9000; it is as it should be"),
        "its own is fixed"
    );
}

#[test]
fn another_address_is_told_with_the_slice_that_comes_of_it() {
    let (fan, owned, mut host) = whole();
    let before = sight(&fan, &owned, &host);
    host.links = vec![link("eth0", &["172.30.0.99/16"])];
    let wanted = Fan {
        host: "172.30.0.99".parse().unwrap(),
        bridge: "fan-250-0-99".parse().unwrap(),
        auto: true,
        ..fan.clone()
    };
    let refused = [reason!(BridgeInUse, "bridge 'fan-250-0-28' still has a container: web")];
    for (reasons, end) in [(&[][..], "fanctl reload puts it right"), (&refused[..], refused[0].as_str())] {
        let now = Sight::new(&fan, &Ok((&wanted, reasons)), &owned, &host);
        assert_eq!(
            news(Some(&before), &now, Care::Told).unwrap(),
            format!(
                "address 172.30.0.28 is gone from 'eth0', which has 172.30.0.99 now; this host's address is now \
                 172.30.0.99/16 on 'eth0'; its slice would be 250.0.99.0/24; {end}"
            )
        );
    }
    let Err(reason) = by_hand(&fan, &host) else { panic!("there is no such address") };
    let now = Sight::new(&fan, &Err(reason), &owned, &host);
    let line = news(Some(&before), &now, Care::ByHand).unwrap();
    assert!(line.ends_with("fanctl down 250.0.0.0/8 172.30.0.28/16"), "{line}");
}

#[test]
fn an_interface_comes_and_goes() {
    use ReasonCode::{InterfaceDown, InterfaceMissing};
    let cannot = |code, text: &str| Reason::new(code, text).of(&"eth0".parse().unwrap());
    let (fan, owned, mut host) = whole();
    let whole = sight(&fan, &owned, &host);
    let reason = "interface 'eth0' is down; bring it up first: ip link set dev eth0 up";
    host.links[0].up = false;
    let down = Sight::new(&fan, &Err(Some(cannot(InterfaceDown, reason))), &owned, &host);
    assert_eq!(news(Some(&whole), &down, Care::Told).as_deref(), Some(reason), "it is told once");
    assert_eq!(
        news(Some(&down), &whole, Care::Told).as_deref(),
        Some("interface 'eth0' is up again; it is as it should be")
    );
    host.links.clear();
    let reason = "interface 'eth0' does not exist; see: ip link";
    let none = Sight::new(&fan, &Err(Some(cannot(InterfaceMissing, reason))), &owned, &host);
    assert_eq!(news(Some(&whole), &none, Care::Followed).as_deref(), Some(reason));
    assert_eq!(
        news(Some(&none), &whole, Care::Followed).as_deref(),
        Some("interface 'eth0' is there again; address 172.30.0.28 is on 'eth0' again; it is as it should be")
    );
}

#[test]
fn a_fan_that_was_taken_down_is_down() {
    let (fan, owned, host) = whole();
    let whole = sight(&fan, &owned, &host);
    assert!(is_there(fan.overlay(), &owned) && !is_there(fan.overlay(), &State::new()));
    let until = "it is down, and stays so until: fanctl up -a";
    assert_eq!(news(Some(&whole), &Sight::down(), Care::Followed).as_deref(), Some(until));
    assert_eq!(news(None, &Sight::down(), Care::Told).as_deref(), Some(until));
    assert_eq!(news(Some(&Sight::down()), &Sight::down(), Care::Told), None);
    assert_eq!(news(Some(&whole), &Sight::down(), Care::ByHand).as_deref(), Some("it is down"));
    assert_eq!(news(Some(&Sight::down()), &whole, Care::Told).as_deref(), Some("it is up"));
}

#[test]
fn what_cannot_be_followed_is_told_with_what_could_be() {
    let config = |underlay: &str, follow| {
        let mut config = Request::new("250".parse().unwrap(), underlay.parse().unwrap());
        config.options.follow = follow;
        config
    };
    let renumber = advice(&config("eth0", Follow::Yes), true, true).unwrap();
    assert!(renumber.as_str().contains("follow = \"renumber\""));
    assert_eq!(advice(&config("eth0", Follow::No), true, true), None);
    let written = advice(&config("172.30.0.28", Follow::Yes), false, false).unwrap();
    assert!(written.as_str().contains("cannot be followed") && written.as_str().contains("eth0/16"));
    assert_eq!(advice(&config("eth0", Follow::Yes), false, false), None);
    assert_eq!(advice(&config("172.30.0.28", Follow::No), false, false), None);
}
