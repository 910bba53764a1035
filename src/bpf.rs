//! A minimal assembler for eBPF, the machine code the kernel runs for us.
//!
//! Knows encodings (RFC 9669) and nothing of fans: an [`Insn`] is one instruction of eight bytes and prints as the
//! kernel's verifier prints it; an [`Assembler`] strings instructions together and turns labels into distances.
//! Only what a packet filter of ours needs is here: 32-bit comparisons, loads and stores, helper calls.

use std::fmt;

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
}

impl Operation {
    fn bits(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::ShiftRight => 0x70,
            Self::Move => 0xb0,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+=",
            Self::Or => "|=",
            Self::And => "&=",
            Self::ShiftRight => ">>=",
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
}

impl Comparison {
    fn bits(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::NotEqual => 0x50,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
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

/// One instruction. Offsets of memory are in bytes, offsets of jumps in instructions after the jump itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Insn {
    /// `w1 &= 255`
    Alu {
        width: Width,
        operation: Operation,
        target: Register,
        source: Operand,
    },
    /// `r1 = be32 r1`: the lower half from network byte order to the machine's, or back; the upper half is cleared.
    Be32(Register),
    /// `r1 = *(u32 *)(r10 -4)`
    Load {
        size: Size,
        target: Register,
        base: Register,
        offset: i16,
    },
    /// `*(u32 *)(r10 -4) = r1`
    Store {
        size: Size,
        base: Register,
        offset: i16,
        value: Operand,
    },
    /// `if w1 == 0x8 goto pc+5`
    Branch {
        left: Register,
        comparison: Comparison,
        right: Operand,
        offset: i16,
    },
    /// `goto pc+5`
    Goto { offset: i16 },
    /// `call bpf_skb_load_bytes#26`: arguments in R1 to R5, the result in R0.
    Call(Helper),
    /// `exit`: R0 is the program's answer.
    Exit,
}

/// Instruction classes (RFC 9669, section 3).
mod class {
    pub const LDX: u8 = 0x01;
    pub const ST: u8 = 0x02;
    pub const STX: u8 = 0x03;
    pub const ALU: u8 = 0x04;
    pub const JMP: u8 = 0x05;
    pub const JMP32: u8 = 0x06;
    pub const ALU64: u8 = 0x07;
}

/// Memory mode: a plain load or store.
const MEM: u8 = 0x60;
/// The source is a register.
const X: u8 = 0x08;
/// Byte swaps: to or from big endian.
const TO_BE: u8 = 0xd8;
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
        Self {
            code,
            ..Self::default()
        }
    }

    fn with(self, operand: Operand) -> Self {
        match operand {
            Operand::Register(register) => Self {
                code: self.code | X,
                source: register.number(),
                ..self
            },
            Operand::Immediate(immediate) => Self { immediate, ..self },
        }
    }
}

impl Insn {
    fn fields(self) -> Fields {
        match self {
            Self::Alu {
                width,
                operation,
                target,
                source,
            } => {
                let class = match width {
                    Width::Bits32 => class::ALU,
                    Width::Bits64 => class::ALU64,
                };
                Fields {
                    target: target.number(),
                    ..Fields::new(class | operation.bits())
                }
                .with(source)
            }
            Self::Be32(register) => Fields {
                target: register.number(),
                immediate: 32,
                ..Fields::new(class::ALU | TO_BE)
            },
            Self::Load {
                size,
                target,
                base,
                offset,
            } => Fields {
                target: target.number(),
                source: base.number(),
                offset,
                ..Fields::new(class::LDX | MEM | size.bits())
            },
            Self::Store {
                size,
                base,
                offset,
                value,
            } => {
                // A store keeps its bit for "register" in the class.
                let (class, source, immediate) = match value {
                    Operand::Register(register) => (class::STX, register.number(), 0),
                    Operand::Immediate(immediate) => (class::ST, 0, immediate),
                };
                Fields {
                    target: base.number(),
                    source,
                    offset,
                    immediate,
                    ..Fields::new(class | MEM | size.bits())
                }
            }
            Self::Branch {
                left,
                comparison,
                right,
                offset,
            } => Fields {
                target: left.number(),
                offset,
                ..Fields::new(class::JMP32 | comparison.bits())
            }
            .with(right),
            Self::Goto { offset } => Fields {
                offset,
                ..Fields::new(class::JMP)
            },
            Self::Call(helper) => Fields {
                immediate: helper.number,
                ..Fields::new(class::JMP | CALL)
            },
            Self::Exit => Fields::new(class::JMP | EXIT),
        }
    }

    /// The eight bytes the kernel wants, in this machine's byte order (`struct bpf_insn`, linux/bpf.h).
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        let Fields {
            code,
            target,
            source,
            offset,
            immediate,
        } = self.fields();
        // Two bit fields in one byte: the order of the halves is the machine's too.
        let registers = if cfg!(target_endian = "little") {
            source << 4 | target
        } else {
            target << 4 | source
        };
        let [offset_0, offset_1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        [code, registers, offset_0, offset_1, i0, i1, i2, i3]
    }
}

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

/// The syntax of the verifier's log and of bpftool (`print_bpf_insn`, kernel/bpf/disasm.c at v6.12).
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu {
                width,
                operation,
                target,
                source,
            } => {
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
            Self::Load {
                size,
                target,
                base,
                offset,
            } => write!(f, "{target} = *({size} *)({base} {offset:+})"),
            Self::Store {
                size,
                base,
                offset,
                value,
            } => {
                write!(f, "*({size} *)({base} {offset:+}) = ")?;
                match value {
                    Operand::Register(register) => write!(f, "{register}"),
                    Operand::Immediate(immediate) => write!(f, "{immediate}"),
                }
            }
            Self::Branch {
                left,
                comparison,
                right,
                offset,
            } => {
                write!(f, "if w{} {} ", left.number(), comparison.symbol())?;
                match right {
                    Operand::Register(register) => write!(f, "w{}", register.number())?,
                    Operand::Immediate(immediate) => write!(f, "{immediate:#x}")?,
                }
                write!(f, " goto pc{offset:+}")
            }
            Self::Goto { offset } => write!(f, "goto pc{offset:+}"),
            Self::Call(helper) => write!(f, "call bpf_{}#{}", helper.name, helper.number),
            Self::Exit => f.write_str("exit"),
        }
    }
}

/// A place in the code that jumps can name before it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// Instructions in the making.
#[derive(Default)]
pub struct Assembler {
    code: Vec<Insn>,
    notes: Vec<(usize, String)>,
    /// Where each label stands, once it stands somewhere.
    places: Vec<Option<usize>>,
    /// The jumps, and where they go.
    jumps: Vec<(usize, Label)>,
}

/// Finished instructions, and the notes that belong to some of them by index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// The instructions.
    pub instructions: Vec<Insn>,
    /// What a reader should know of the instruction with this index; rising.
    pub notes: Vec<(usize, String)>,
}

impl Assembler {
    /// A label that does not stand anywhere yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Lets a label stand before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    /// Attaches a note to the next instruction.
    pub fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.notes.push((self.code.len(), text.into()));
        self
    }

    fn push(&mut self, instruction: Insn) -> &mut Self {
        self.code.push(instruction);
        self
    }

    /// A 32-bit operation.
    pub fn alu32(&mut self, operation: Operation, target: Register, source: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Alu {
            width: Width::Bits32,
            operation,
            target,
            source: source.into(),
        })
    }

    /// A 64-bit operation.
    pub fn alu64(&mut self, operation: Operation, target: Register, source: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Alu {
            width: Width::Bits64,
            operation,
            target,
            source: source.into(),
        })
    }

    /// Turns the lower half of a register from network byte order to the machine's.
    pub fn be32(&mut self, register: Register) -> &mut Self {
        self.push(Insn::Be32(register))
    }

    /// Reads memory at `base + offset`.
    pub fn load(&mut self, size: Size, target: Register, (base, offset): (Register, i16)) -> &mut Self {
        self.push(Insn::Load {
            size,
            target,
            base,
            offset,
        })
    }

    /// Writes memory at `base + offset`.
    pub fn store(&mut self, size: Size, (base, offset): (Register, i16), value: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Store {
            size,
            base,
            offset,
            value: value.into(),
        })
    }

    /// Jumps if two 32-bit numbers are equal.
    pub fn if_equal(&mut self, left: Register, right: impl Into<Operand>, to: Label) -> &mut Self {
        self.branch(left, Comparison::Equal, right.into(), to)
    }

    /// Jumps if two 32-bit numbers differ.
    pub fn if_not_equal(&mut self, left: Register, right: impl Into<Operand>, to: Label) -> &mut Self {
        self.branch(left, Comparison::NotEqual, right.into(), to)
    }

    fn branch(&mut self, left: Register, comparison: Comparison, right: Operand, to: Label) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.push(Insn::Branch {
            left,
            comparison,
            right,
            offset: 0,
        })
    }

    /// Jumps.
    pub fn goto(&mut self, to: Label) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.push(Insn::Goto { offset: 0 })
    }

    /// Calls a function of the kernel.
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.push(Insn::Call(helper))
    }

    /// Ends the program.
    pub fn exit(&mut self) -> &mut Self {
        self.push(Insn::Exit)
    }

    /// The code, with every jump's distance filled in.
    ///
    /// # Panics
    /// If a jump names a label that was never placed, or one more than 32767 instructions away: a mistake in the
    /// program that assembles, whatever its input.
    #[must_use]
    pub fn finish(mut self) -> Code {
        for (from, label) in self.jumps {
            let to = self.places[label.0].expect("a label that is jumped to is placed");
            let distance = to.cast_signed() - from.cast_signed() - 1;
            let distance = i16::try_from(distance).expect("a program is shorter than 32768 instructions");
            if let Insn::Branch { offset, .. } | Insn::Goto { offset } = &mut self.code[from] {
                *offset = distance;
            }
        }
        Code {
            instructions: self.code,
            notes: self.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Operation::{Add, And, Move, Or, ShiftRight};
    use super::Register::{R0, R1, R2, R3, R6, R8, R10};
    use super::*;

    /// Every form of instruction, its bytes on a little-endian machine (from RFC 9669) and its text.
    fn every_form() -> Vec<(Insn, u64, &'static str)> {
        let mut asm = Assembler::default();
        let (back, ahead) = (asm.label(), asm.label());
        asm.place(back);
        asm.alu64(Move, R6, R1)
            .alu64(Add, R3, -28)
            .alu64(ShiftRight, R1, 16)
            .alu32(Move, R0, -1)
            .alu32(Move, R1, R8)
            .alu32(And, R1, 0xff00_0000_u32)
            .alu32(Or, R8, 0xac1e_0000_u32)
            .alu32(ShiftRight, R8, 8)
            .be32(R8)
            .load(Size::U32, R2, (R10, -24))
            .load(Size::U8, R2, (R6, 0))
            .load(Size::U16, R2, (R6, 2))
            .load(Size::U64, R2, (R6, 16))
            .store(Size::U32, (R10, -68), R8)
            .store(Size::U64, (R10, -64), 0)
            .store(Size::U8, (R10, -52), R1)
            .store(Size::U16, (R10, -52), -2)
            .if_equal(R1, R8, ahead)
            .if_not_equal(R1, 0xfa00_0000_u32, ahead)
            .goto(back)
            .call(Helper {
                number: 68,
                name: "skb_load_bytes_relative",
            });
        asm.place(ahead);
        asm.exit();
        let expected = [
            (0xbf16_0000_0000_0000, "r6 = r1"),
            (0x0703_0000_e4ff_ffff, "r3 += -28"),
            (0x7701_0000_1000_0000, "r1 >>= 16"),
            (0xb400_0000_ffff_ffff, "w0 = -1"),
            (0xbc81_0000_0000_0000, "w1 = w8"),
            (0x5401_0000_0000_00ff, "w1 &= -16777216"),
            (0x4408_0000_0000_1eac, "w8 |= -1407320064"),
            (0x7408_0000_0800_0000, "w8 >>= 8"),
            (0xdc08_0000_2000_0000, "r8 = be32 r8"),
            (0x61a2_e8ff_0000_0000, "r2 = *(u32 *)(r10 -24)"),
            (0x7162_0000_0000_0000, "r2 = *(u8 *)(r6 +0)"),
            (0x6962_0200_0000_0000, "r2 = *(u16 *)(r6 +2)"),
            (0x7962_1000_0000_0000, "r2 = *(u64 *)(r6 +16)"),
            (0x638a_bcff_0000_0000, "*(u32 *)(r10 -68) = r8"),
            (0x7a0a_c0ff_0000_0000, "*(u64 *)(r10 -64) = 0"),
            (0x731a_ccff_0000_0000, "*(u8 *)(r10 -52) = r1"),
            (0x6a0a_ccff_feff_ffff, "*(u16 *)(r10 -52) = -2"),
            (0x1e81_0300_0000_0000, "if w1 == w8 goto pc+3"),
            (0x5601_0200_0000_00fa, "if w1 != 0xfa000000 goto pc+2"),
            (0x0500_ecff_0000_0000, "goto pc-20"),
            (0x8500_0000_4400_0000, "call bpf_skb_load_bytes_relative#68"),
            (0x9500_0000_0000_0000, "exit"),
        ];
        let code = asm.finish().instructions;
        assert_eq!(code.len(), expected.len());
        let forms = code.into_iter().zip(expected);
        forms.map(|(insn, (bytes, text))| (insn, bytes, text)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_encode_as_the_standard_says() {
        for (insn, bytes, text) in every_form() {
            assert_eq!(insn.encode(), bytes.to_be_bytes(), "{text}");
        }
    }

    #[test]
    fn instructions_print_as_the_verifier_prints_them() {
        for (insn, _, text) in every_form() {
            assert_eq!(insn.to_string(), text);
        }
    }

    #[test]
    fn notes_belong_to_the_instruction_that_follows() {
        let mut asm = Assembler::default();
        asm.alu32(Move, R0, 2).note("the end").exit();
        assert_eq!(asm.finish().notes, [(1, "the end".to_string())]);
    }

    #[test]
    #[should_panic(expected = "is placed")]
    fn a_jump_to_nowhere_is_a_mistake_of_ours() {
        let mut asm = Assembler::default();
        let nowhere = asm.label();
        asm.goto(nowhere);
        let _ = asm.finish();
    }
}
