//! Instructions as text, in the syntax of the verifier's log and of bpftool (`print_bpf_insn`, kernel/bpf/disasm.c at v6.12).

use std::fmt;

use super::{Insn, Operand, Register, Size, Width};

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        })
    }
}

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu { width, operation, target, source } => {
                let letter = match width {
                    Width::Bits32 => 'w',
                    Width::Bits64 => 'r',
                };
                write!(f, "{letter}{} {} ", target.number(), operation.symbol())?;
                match source {
                    Operand::Register(register) => write!(f, "{letter}{}", register.number()),
                    Operand::Immediate(immediate) => write!(f, "{immediate}"),
                }
            }
            Self::Be32(register) => write!(f, "{register} = be32 {register}"),
            Self::Be16(register) => write!(f, "{register} = be16 {register}"),
            Self::Load { size, target, base, offset } => write!(f, "{target} = *({size} *)({base} {offset:+})"),
            Self::Store { size, base, offset, value } => {
                write!(f, "*({size} *)({base} {offset:+}) = ")?;
                match value {
                    Operand::Register(register) => write!(f, "{register}"),
                    Operand::Immediate(immediate) => write!(f, "{immediate}"),
                }
            }
            Self::Branch { left, comparison, right, offset } => {
                write!(f, "if w{} {} ", left.number(), comparison.symbol())?;
                match right {
                    Operand::Register(register) => write!(f, "w{}", register.number())?,
                    Operand::Immediate(immediate) => write!(f, "{immediate:#x}")?,
                }
                write!(f, " goto pc{offset:+}")
            }
            Self::IfNull { pointer, offset } => write!(f, "if {pointer} == 0x0 goto pc{offset:+}"),
            Self::LoadMap { target, map } => write!(f, "{target} = map {}", map.0),
            Self::SecondHalf => Ok(()),
            Self::Goto { offset } => write!(f, "goto pc{offset:+}"),
            Self::Call(helper) => write!(f, "call bpf_{}#{}", helper.name, helper.number),
            Self::Exit => f.write_str("exit"),
        }
    }
}
