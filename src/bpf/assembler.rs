//! Instructions strung together, with labels that become distances.

use super::{Comparison, Helper, Insn, MapNumber, Operand, Operation, Register, Size, Width};

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
    pub(crate) notes: Vec<(usize, String)>,
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

    /// Whether anything jumps to a label yet.
    #[must_use]
    pub(crate) fn is_jumped_to(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| *to == label)
    }

    /// Attaches a note to the next instruction.
    pub(crate) fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.notes.push((self.code.len(), text.into()));
        self
    }

    fn push(&mut self, instruction: Insn) -> &mut Self {
        self.code.push(instruction);
        self
    }

    /// A 32-bit operation.
    pub fn alu32(&mut self, operation: Operation, target: Register, source: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Alu { width: Width::Bits32, operation, target, source: source.into() })
    }

    /// A 64-bit operation.
    pub fn alu64(&mut self, operation: Operation, target: Register, source: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Alu { width: Width::Bits64, operation, target, source: source.into() })
    }

    /// Turns the lower half of a register from network byte order to the machine's.
    pub(crate) fn be32(&mut self, register: Register) -> &mut Self {
        self.push(Insn::Be32(register))
    }

    /// Turns the lowest two bytes of a register from network byte order to the machine's, or back.
    pub(crate) fn be16(&mut self, register: Register) -> &mut Self {
        self.push(Insn::Be16(register))
    }

    /// Reads memory at `base + offset`.
    pub fn load(&mut self, size: Size, target: Register, (base, offset): (Register, i16)) -> &mut Self {
        self.push(Insn::Load { size, target, base, offset })
    }

    /// Writes memory at `base + offset`.
    pub fn store(&mut self, size: Size, (base, offset): (Register, i16), value: impl Into<Operand>) -> &mut Self {
        self.push(Insn::Store { size, base, offset, value: value.into() })
    }

    /// Jumps if two 32-bit numbers are equal.
    pub fn if_equal(&mut self, left: Register, right: impl Into<Operand>, to: Label) -> &mut Self {
        self.branch(left, Comparison::Equal, right.into(), to)
    }

    /// Jumps if two 32-bit numbers differ.
    pub fn if_not_equal(&mut self, left: Register, right: impl Into<Operand>, to: Label) -> &mut Self {
        self.branch(left, Comparison::NotEqual, right.into(), to)
    }

    /// Jumps if a 32-bit number without a sign is greater than another.
    pub(crate) fn if_greater(&mut self, left: Register, right: impl Into<Operand>, to: Label) -> &mut Self {
        self.branch(left, Comparison::Greater, right.into(), to)
    }

    /// Jumps if a pointer is null.
    pub(crate) fn if_null(&mut self, pointer: Register, to: Label) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.push(Insn::IfNull { pointer, offset: 0 })
    }

    /// Lets a register point to a map, for a helper.
    pub(crate) fn map(&mut self, target: Register, map: MapNumber) -> &mut Self {
        self.push(Insn::LoadMap { target, map }).push(Insn::SecondHalf)
    }

    fn branch(&mut self, left: Register, comparison: Comparison, right: Operand, to: Label) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.push(Insn::Branch { left, comparison, right, offset: 0 })
    }

    /// Jumps.
    pub(crate) fn goto(&mut self, to: Label) -> &mut Self {
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
            if let Insn::Branch { offset, .. } | Insn::IfNull { offset, .. } | Insn::Goto { offset } =
                &mut self.code[from]
            {
                *offset = distance;
            }
        }
        Code { instructions: self.code, notes: self.notes }
    }
}
