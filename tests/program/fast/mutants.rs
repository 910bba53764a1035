//! Programs of the fast path with one mistake each: the oracle must notice all of them.

use fanctl::bpf::program::Program;
use fanctl::bpf::{Comparison, Insn, Operand, Operation};

use super::machine::interpreter;
use super::oracle::Hook;
use super::packets::{Arrival, arrival};
use super::{announced, expected, program, put};
use crate::adversary::Random;
use crate::campaign::setting;

/// Packets to try a mistaken program on.
const TRIED: usize = 15_000;

/// What an instruction could be by one slip, and the slip's name.
fn slips(program: &Program, at: usize) -> Vec<(String, Insn)> {
    let instructions = &program.instructions;
    let follows_call = at > 0 && matches!(instructions[at - 1], Insn::Call(_));
    match instructions[at] {
        Insn::Branch { left, comparison, right, offset } => {
            let branch = |comparison, right| Insn::Branch { left, comparison, right, offset };
            let inverted = match comparison {
                Comparison::Equal => Comparison::NotEqual,
                Comparison::NotEqual => Comparison::Equal,
                Comparison::Greater => return greater(instructions[at]),
            };
            let mut slips =
                vec![("inverted".into(), branch(inverted, right)), ("always taken".into(), Insn::Goto { offset })];
            // A helper that fails leaves zeros, which are in no overlay.
            if !follows_call {
                slips.push(("never taken".into(), Insn::Goto { offset: 0 }));
            }
            if let Operand::Immediate(number) = right {
                // A byte has no more bits, and an address many that are seldom the only ones.
                let bits: &[u8] = if number.unsigned_abs() < 256 { &[0, 1, 2] } else { &[9, 14] };
                slips.extend(
                    bits.iter()
                        .map(|bit| (format!("bit {bit}"), branch(comparison, Operand::Immediate(number ^ 1 << bit)))),
                );
            }
            slips
        }
        Insn::Alu {
            width,
            operation: operation @ (Operation::Add | Operation::Subtract | Operation::ShiftRight | Operation::Modulo),
            target,
            source: Operand::Immediate(number),
        } => {
            let wrong = |by: i32| {
                let source = Operand::Immediate(number + by);
                (format!("{by:+}"), Insn::Alu { width, operation, target, source })
            };
            // Addresses on the stack are for the verifier.
            let is_pointer = operation == Operation::Add && number < -1 && width == fanctl::bpf::Width::Bits64;
            if is_pointer { Vec::new() } else { vec![wrong(1), wrong(-1)] }
        }
        Insn::Be32(_) | Insn::Be16(_) => vec![("left out".into(), Insn::Goto { offset: 0 })],
        _ => Vec::new(),
    }
}

fn greater(insn: Insn) -> Vec<(String, Insn)> {
    let Insn::Branch { left, comparison, right, offset } = insn else { return Vec::new() };
    let mut slips = vec![
        ("never taken".to_string(), Insn::Goto { offset: 0 }),
        ("always taken".to_string(), Insn::Goto { offset }),
    ];
    if let Operand::Immediate(number) = right {
        slips.extend([1, -1].map(|by| {
            (format!("{by:+}"), Insn::Branch { left, comparison, right: Operand::Immediate(number + by), offset })
        }));
    }
    slips
}

#[test]
fn a_slip_in_any_instruction_of_the_fast_path_is_noticed() {
    let spec = announced();
    let (stride, seed) = (setting("MUTANT_STRIDE", 8), setting("FANCTL_SEED", 0));
    let (stride, first) = (usize::try_from(stride).unwrap(), usize::try_from(seed % stride).unwrap());
    for hook in Hook::ALL {
        let random = &Random::new(3);
        let arrivals: Vec<Arrival> = (0..TRIED).map(|_| arrival(&spec, hook, random)).collect();
        let expected: Vec<_> = arrivals.iter().map(|arrival| expected(&spec, arrival)).collect();
        let program = program(&spec, hook);
        let all = (0..program.instructions.len())
            .flat_map(|at| slips(&program, at).into_iter().map(move |(slip, wrong)| (at, slip, wrong)));
        let mut unnoticed = Vec::new();
        let mut tried = 0;
        for (at, slip, wrong) in all.skip(first).step_by(stride) {
            let mut mutant = program.clone();
            mutant.instructions[at] = wrong;
            let code = mutant.encode();
            let code = interpreter(&code);
            let mut trials = arrivals.iter().zip(&expected);
            tried += 1;
            if trials.all(|(arrival, expected)| put(&code, arrival, None).as_ref() == Some(expected)) {
                unnoticed.push(format!("{hook:?} {at}: {}: {slip}", program.instructions[at]));
            }
        }
        assert!(tried * stride > 100, "{tried}");
        assert_eq!(unnoticed, Vec::<String>::new(), "\n{program}");
    }
}
