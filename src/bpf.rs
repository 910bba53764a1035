//! A minimal assembler for eBPF, the machine code the kernel runs for us.
//!
//! Knows encodings (RFC 9669) and nothing of fans: an [`Insn`] is one instruction of eight bytes and prints as the
//! kernel's verifier prints it; an [`Assembler`] strings instructions together and turns labels into distances.
//! Only what a packet filter of ours needs is here: 32-bit comparisons, loads and stores, helper calls, maps. The programs of a
//! fan, which choose the outer addresses, are in [`program`].

mod assembler;
mod disasm;
pub mod fast;
pub mod program;
#[cfg(test)]
mod tests;

pub use assembler::{Assembler, Code, Label};

/// A register: R0 holds results, R1 to R5 arguments (lost in a call), R6 to R9 survive calls, R10 is the top of
/// the stack and cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the numbers say it all")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

impl Register {
    fn number(self) -> u8 {
        self as u8
    }
}

/// How much memory a load or store touches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names are Rust's own")]
pub enum Size {
    U8,
    U16,
    U32,
    U64,
}

impl Size {
    fn bits(self) -> u8 {
        match self {
            Self::U32 => 0x00,
            Self::U16 => 0x08,
            Self::U8 => 0x10,
            Self::U64 => 0x18,
        }
    }
}

/// Which part of its registers an [`Operation`] works on. A 32-bit one clears the upper half of its target, a 64-bit
/// one extends the sign of an immediate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// The lower half, written `w1`.
    Bits32,
    /// All of it, written `r1`.
    Bits64,
}

/// What is done to the target register with the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// `+=`
    Add,
    /// `&=`
    And,
    /// `=`
    Move,
    /// `|=`
    Or,
    /// `>>=`, filling with zeros
    ShiftRight,
    /// `-=`
    Subtract,
    /// `^=`
    Xor,
    /// `%=`, of numbers without a sign
    Modulo,
}

impl Operation {
    fn bits(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::ShiftRight => 0x70,
            Self::Subtract => 0x10,
            Self::Xor => 0xa0,
            Self::Modulo => 0x90,
            Self::Move => 0xb0,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+=",
            Self::Or => "|=",
            Self::And => "&=",
            Self::ShiftRight => ">>=",
            Self::Subtract => "-=",
            Self::Xor => "^=",
            Self::Modulo => "%=",
            Self::Move => "=",
        }
    }
}

/// How a jump compares the lower halves of its operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`, of numbers without a sign
    Greater,
}

impl Comparison {
    fn bits(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::NotEqual => 0x50,
            Self::Greater => 0x20,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
        }
    }
}

/// A register, or a number inside the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the type says it all")]
pub enum Operand {
    Register(Register),
    Immediate(i32),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Immediate(number)
    }
}

impl From<u32> for Operand {
    fn from(bits: u32) -> Self {
        Self::Immediate(bits.cast_signed())
    }
}

/// A function of the kernel that programs may call (`enum bpf_func_id`, linux/bpf.h).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Helper {
    /// Its number, for ever.
    pub number: i32,
    /// Its name without `bpf_`.
    pub name: &'static str,
}

/// A map that a program refers to, by its place in the list that is [given](program::Program::encode_with) with the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapNumber(pub u8);

/// One instruction. Offsets of memory are in bytes, offsets of jumps in instructions after the jump itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Insn {
    /// `w1 &= 255`
    Alu { width: Width, operation: Operation, target: Register, source: Operand },
    /// `r1 = be32 r1`: the lower half from network byte order to the machine's, or back; the upper half is cleared.
    Be32(Register),
    /// `r1 = be16 r1`: the same with the lowest two bytes, and all else is cleared.
    Be16(Register),
    /// `r1 = *(u32 *)(r10 -4)`
    Load { size: Size, target: Register, base: Register, offset: i16 },
    /// `*(u32 *)(r10 -4) = r1`
    Store { size: Size, base: Register, offset: i16, value: Operand },
    /// `if w1 == 0x8 goto pc+5`
    Branch { left: Register, comparison: Comparison, right: Operand, offset: i16 },
    /// `if r0 == 0x0 goto pc+5`: all 64 bits, as the verifier wants it of a pointer.
    IfNull { pointer: Register, offset: i16 },
    /// `goto pc+5`
    Goto { offset: i16 },
    /// `r1 = map 0`: the first half of an instruction of sixteen bytes, followed by [`Insn::SecondHalf`].
    LoadMap { target: Register, map: MapNumber },
    /// The second half of an instruction of sixteen bytes.
    SecondHalf,
    /// `call bpf_skb_load_bytes#26`: arguments in R1 to R5, the result in R0.
    Call(Helper),
    /// `exit`: R0 is the program's answer.
    Exit,
}

/// Instruction classes (RFC 9669, section 3).
mod class {
    pub(crate) const LD: u8 = 0x00;
    pub(crate) const LDX: u8 = 0x01;
    pub(crate) const ST: u8 = 0x02;
    pub(crate) const STX: u8 = 0x03;
    pub(crate) const ALU: u8 = 0x04;
    pub(crate) const JMP: u8 = 0x05;
    pub(crate) const JMP32: u8 = 0x06;
    pub(crate) const ALU64: u8 = 0x07;
}

/// Memory mode: a plain load or store.
const MEM: u8 = 0x60;
/// The source is a register.
const X: u8 = 0x08;
/// Byte swaps: to or from big endian.
const TO_BE: u8 = 0xd8;
/// An immediate of eight bytes, and what it is: the descriptor of a map.
const IMM64: u8 = 0x18;
const PSEUDO_MAP_FD: u8 = 1;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;

/// The fields of an encoded instruction.
#[derive(Default)]
struct Fields {
    code: u8,
    target: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

impl Fields {
    fn new(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    fn with(self, operand: Operand) -> Self {
        match operand {
            Operand::Register(register) => Self { code: self.code | X, source: register.number(), ..self },
            Operand::Immediate(immediate) => Self { immediate, ..self },
        }
    }
}

impl Insn {
    fn fields(self) -> Fields {
        match self {
            Self::Alu { width, operation, target, source } => {
                let class = match width {
                    Width::Bits32 => class::ALU,
                    Width::Bits64 => class::ALU64,
                };
                Fields { target: target.number(), ..Fields::new(class | operation.bits()) }.with(source)
            }
            Self::Be32(register) => {
                Fields { target: register.number(), immediate: 32, ..Fields::new(class::ALU | TO_BE) }
            }
            Self::Be16(register) => {
                Fields { target: register.number(), immediate: 16, ..Fields::new(class::ALU | TO_BE) }
            }
            Self::Load { size, target, base, offset } => Fields {
                target: target.number(),
                source: base.number(),
                offset,
                ..Fields::new(class::LDX | MEM | size.bits())
            },
            Self::Store { size, base, offset, value } => {
                // A store keeps its bit for "register" in the class.
                let (class, source, immediate) = match value {
                    Operand::Register(register) => (class::STX, register.number(), 0),
                    Operand::Immediate(immediate) => (class::ST, 0, immediate),
                };
                Fields { target: base.number(), source, offset, immediate, ..Fields::new(class | MEM | size.bits()) }
            }
            Self::Branch { left, comparison, right, offset } => {
                Fields { target: left.number(), offset, ..Fields::new(class::JMP32 | comparison.bits()) }.with(right)
            }
            Self::IfNull { pointer, offset } => {
                Fields { target: pointer.number(), offset, ..Fields::new(class::JMP | Comparison::Equal.bits()) }
            }
            Self::Goto { offset } => Fields { offset, ..Fields::new(class::JMP) },
            Self::LoadMap { target, map } => Fields {
                target: target.number(),
                source: PSEUDO_MAP_FD,
                immediate: map.0.into(),
                ..Fields::new(class::LD | IMM64)
            },
            Self::SecondHalf => Fields::default(),
            Self::Call(helper) => Fields { immediate: helper.number, ..Fields::new(class::JMP | CALL) },
            Self::Exit => Fields::new(class::JMP | EXIT),
        }
    }

    /// The eight bytes the kernel wants, in this machine's byte order (`struct bpf_insn`, linux/bpf.h). A map is its number.
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        self.fields().encode()
    }

    /// The same, with a map as its descriptor, of these.
    ///
    /// # Panics
    /// If there are fewer maps than the instruction asks for: a mistake of the program that loads.
    #[must_use]
    pub(crate) fn encode_with(self, maps: &[i32]) -> [u8; 8] {
        let mut fields = self.fields();
        if let Self::LoadMap { map, .. } = self {
            fields.immediate = maps[usize::from(map.0)];
        }
        fields.encode()
    }
}

impl Fields {
    fn encode(self) -> [u8; 8] {
        let Self { code, target, source, offset, immediate } = self;
        // Two bit fields in one byte: the order of the halves is the machine's too.
        let registers = if cfg!(target_endian = "little") { source << 4 | target } else { target << 4 | source };
        let [offset_0, offset_1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        [code, registers, offset_0, offset_1, i0, i1, i2, i3]
    }
}
