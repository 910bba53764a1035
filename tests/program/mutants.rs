//! Programs with one mistake each: whoever judges packets must notice all of them.

use fanctl::bpf::Operation::{self, And, Move, Or, ShiftRight};
use fanctl::bpf::Register::{self, R0, R1, R7, R8};
use fanctl::bpf::program::{Program, Spec, egress, ingress};
use fanctl::bpf::{Comparison, Insn, Operand, Width};
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::Mapping;

use crate::adversary::{self, Adversary, Random};
use crate::campaign::{Done, incoming, is_outrage, outgoing, put, setting};
use crate::interpreter::interpreter;
use crate::oracle::{Frame, Outer};
use crate::{announced, of};

/// Packets to try a mistaken program on.
const TRIED: usize = 40_000;

/// Where the programs keep the inner source and destination.
const SOURCE: Register = R7;
const DESTINATION: Register = R8;

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

const NOTHING: Insn = Insn::Goto { offset: 0 };

/// A program with a mistake, and what the mistake is.
struct Mutant {
    name: String,
    code: Vec<u8>,
}

/// A fan's program, what the oracle expects of it, and packets for it.
struct Trial {
    spec: Spec,
    program: Program,
    arrivals: Vec<(Frame, Option<Outer>, Done)>,
}

impl Trial {
    /// The programs of a fan, out and in.
    fn both(spec: &Spec) -> [Self; 2] {
        [Direction::Out, Direction::In].map(|way| {
            let random = &Random::new(1);
            let adversary = Adversary::new(spec, adversary::mapping(random));
            let arrivals = (0..TRIED).map(|_| {
                let mut frame = Frame::default();
                let (_, outer) = adversary.make(random, &mut frame);
                let expected = match way {
                    Direction::Out => outgoing(spec, &frame),
                    Direction::In => incoming(spec, &frame, outer),
                };
                (frame, outer, expected)
            });
            Self {
                spec: spec.clone(),
                program: match way {
                    Direction::Out => egress(spec),
                    Direction::In => ingress(spec),
                },
                arrivals: arrivals.collect(),
            }
        })
    }

    /// The program with another instruction in this place.
    fn mutant(&self, at: usize, slip: &str, wrong: Insn) -> Mutant {
        let Program { name, instructions, .. } = &self.program;
        let mut mutant = self.program.clone();
        mutant.instructions[at] = wrong;
        Mutant { name: format!("{name} of {:?}, {at}: {}: {slip}", self.spec, instructions[at]), code: mutant.encode() }
    }

    /// Whether a helper has just been called. One that fails leaves zeros, and 0.0.0.0 is in no overlay, so that nothing
    /// shows whether the program looked.
    fn follows_call(&self, at: usize) -> bool {
        matches!(self.program.instructions[at - 1], Insn::Call(_))
    }

    /// What one slip could make of the instructions. Only what keeps the program in its memory: the interpreter's helpers
    /// trust it as the kernel trusts what its verifier has passed.
    fn mutants(&self) -> Vec<Mutant> {
        let instructions = self.program.instructions.iter().enumerate();
        let slips = instructions.flat_map(|(at, &instruction)| {
            let slips = slips(instruction, self.spec.mapping).into_iter();
            let seen = slips.filter(move |(slip, _)| slip != NEVER_TAKEN || !self.follows_call(at));
            seen.map(move |(slip, wrong)| self.mutant(at, &slip, wrong))
        });
        slips.collect()
    }

    /// The program without one of its checks, for each of them.
    fn without_a_check(&self) -> Vec<Mutant> {
        let host = Operand::from(u32::from(self.spec.host));
        let instructions = self.program.instructions.iter().enumerate();
        let checks = instructions.filter(|&(at, &instruction)| match instruction {
            Insn::Branch { comparison: Comparison::Equal, right, .. } => right == host,
            Insn::Branch { .. } => !self.follows_call(at),
            _ => false,
        });
        checks.map(|(at, _)| self.mutant(at, NEVER_TAKEN, NOTHING)).collect()
    }

    /// The mutants that do the same as the program, as far as can be seen by this judge of a packet, its outer header, what
    /// was expected, and what was done.
    fn unnoticed(
        &mut self,
        mutants: Vec<Mutant>,
        is_wrong: impl Fn(&Spec, &Frame, Option<Outer>, [Done; 2]) -> bool,
    ) -> Vec<String> {
        let spec = &self.spec;
        let mut is_noticed = |mutant: &Mutant| {
            let code = interpreter(&mutant.code);
            self.arrivals.iter_mut().any(|(frame, outer, expected)| {
                let done = put(&code, frame, *outer);
                is_wrong(spec, frame, *outer, [*expected, done])
            })
        };
        let unnoticed = mutants.into_iter().filter(|mutant| !is_noticed(mutant));
        unnoticed.map(|mutant| mutant.name).collect()
    }
}

const NEVER_TAKEN: &str = "never taken";

/// What an instruction could be by one slip, and the slip's name.
fn slips(insn: Insn, mapping: Mapping) -> Vec<(String, Insn)> {
    match insn {
        Insn::Branch { left, comparison, right, offset } => {
            let branch = |comparison, right| Insn::Branch { left, comparison, right, offset };
            let inverted = match comparison {
                Comparison::Equal => Comparison::NotEqual,
                Comparison::NotEqual => Comparison::Equal,
                Comparison::Greater => return Vec::new(),
            };
            let mut slips = vec![
                ("inverted".into(), branch(inverted, right)),
                (NEVER_TAKEN.into(), NOTHING),
                ("always taken".into(), Insn::Goto { offset }),
            ];
            if let Operand::Immediate(number) = right {
                slips.extend((0..32).map(|bit| {
                    let right = Operand::Immediate(number ^ 1 << bit);
                    (format!("bit {bit}"), branch(comparison, right))
                }));
            }
            slips
        }
        Insn::Alu { width: Width::Bits32, operation, target, source: Operand::Immediate(number) } => {
            let wrong = |slip: String, number| {
                let source = Operand::Immediate(number);
                let alu = Insn::Alu { width: Width::Bits32, operation, target, source };
                (slip, alu)
            };
            wrong_numbers(operation, target, mapping)
                .into_iter()
                .map(|change| match change {
                    Change::Flip(bit) => wrong(format!("bit {bit}"), number ^ 1 << bit),
                    Change::Add(by) => wrong(format!("{by:+}"), number + by),
                })
                .collect()
        }
        Insn::Be32(_) => vec![("left out".into(), NOTHING)],
        Insn::Load { size, target: target @ (SOURCE | DESTINATION), base, offset } => {
            let offsets = [offset - 8, offset + 8].into_iter().filter(|&offset| offset < 0);
            let wrong = |offset| Insn::Load { size, target, base, offset };
            offsets.map(|offset| (format!("from {offset}"), wrong(offset))).collect()
        }
        _ => Vec::new(),
    }
}

/// How a number goes wrong.
enum Change {
    Flip(u8),
    Add(i32),
}

/// The changes of an operation's number that must show.
fn wrong_numbers(operation: Operation, target: Register, mapping: Mapping) -> Vec<Change> {
    match (operation, target) {
        // Verdicts: 0, 2 and -1.
        (Move, R0) => vec![Change::Add(1), Change::Add(2), Change::Add(-2)],
        (And, SOURCE | DESTINATION) => (0..32).filter(|&bit| shows(bit, mapping)).map(Change::Flip).collect(),
        (And | Or, R1 | SOURCE | DESTINATION) => (0..32).map(Change::Flip).collect(),
        (ShiftRight, _) => vec![Change::Add(-1), Change::Add(1)],
        _ => Vec::new(),
    }
}

/// Whether it shows when a bit of an overlay address is kept or lost on the way to the host's: the lowest bits are shifted
/// away, and the overlay's own may be set there anyway.
fn shows(bit: u8, mapping: Mapping) -> bool {
    let (overlay, underlay) = (mapping.overlay().network(), mapping.underlay().network());
    let Some(lands) = bit.checked_sub(mapping.shift()) else {
        return false;
    };
    let is_set = |network: ipnetwork::Ipv4Network, bit| u32::from(network.network()) >> bit & 1 == 1;
    bit < 32 - overlay.prefix() || is_set(overlay, bit) && !is_set(underlay, lands)
}

fn specs() -> impl Iterator<Item = Spec> {
    [Encapsulation::Ipip, Encapsulation::Vxlan].into_iter().flat_map(|encapsulation| {
        let odd = of("99.0.0.0/8", ([10, 99, 238, 5], 20), encapsulation);
        [announced(encapsulation), odd]
    })
}

#[test]
fn a_slip_in_any_instruction_that_decides_is_noticed() {
    for mut trial in specs().flat_map(|spec| Trial::both(&spec)) {
        let mutants = trial.mutants();
        assert!(mutants.len() > 300, "{}", mutants.len());
        // Every eighth of them unless told otherwise, from one that the seed chooses: in time all are tried.
        let (stride, seed) = (setting("MUTANT_STRIDE", 8), setting("FANCTL_SEED", 0));
        let mutants = mutants.into_iter().skip(usize::try_from(seed % stride).unwrap());
        let mutants = mutants.step_by(usize::try_from(stride).unwrap()).collect();
        let unnoticed = trial.unnoticed(mutants, |_, _, _, [expected, done]| done != expected);
        assert_eq!(unnoticed, Vec::<String>::new());
    }
}

/// The oracle may look away: without any one check something gets through that the law forbids.
#[test]
fn the_law_alone_notices_when_any_check_is_left_out() {
    for mut trial in specs().flat_map(|spec| Trial::both(&spec)) {
        let mutants = trial.without_a_check();
        assert!(mutants.len() >= 5, "{}", mutants.len());
        let unnoticed = trial.unnoticed(mutants, |spec, frame, outer, [_, done]| is_outrage(spec, frame, outer, done));
        assert_eq!(unnoticed, Vec::<String>::new());
    }
}
