//! `older LINK ENCAP`: puts the programs of version 0.1.0 on a tunnel that a script of this directory made. For the tests of
//! an upgrade that run in a system of their own (tests/package, tests/boot).

mod programs;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(link), Some(encap), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: older LINK ipip|vxlan");
        std::process::exit(2);
    };
    programs::attach(&link.parse().expect("the name of an interface"), &encap);
}
