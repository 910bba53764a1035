//! Every form of instruction, against the standard and the verifier.

use super::Operation::{Add, And, Move, Or, ShiftRight, Subtract, Xor};
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
        .be16(R1)
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
        .alu64(Subtract, R6, R1)
        .alu32(Xor, R1, 0xffff)
        .if_greater(R1, 8, ahead)
        .if_null(R0, ahead)
        .map(R1, MapNumber(1))
        .goto(back)
        .call(Helper { number: 68, name: "skb_load_bytes_relative" });
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
        (0xdc01_0000_1000_0000, "r1 = be16 r1"),
        (0x61a2_e8ff_0000_0000, "r2 = *(u32 *)(r10 -24)"),
        (0x7162_0000_0000_0000, "r2 = *(u8 *)(r6 +0)"),
        (0x6962_0200_0000_0000, "r2 = *(u16 *)(r6 +2)"),
        (0x7962_1000_0000_0000, "r2 = *(u64 *)(r6 +16)"),
        (0x638a_bcff_0000_0000, "*(u32 *)(r10 -68) = r8"),
        (0x7a0a_c0ff_0000_0000, "*(u64 *)(r10 -64) = 0"),
        (0x731a_ccff_0000_0000, "*(u8 *)(r10 -52) = r1"),
        (0x6a0a_ccff_feff_ffff, "*(u16 *)(r10 -52) = -2"),
        (0x1e81_0900_0000_0000, "if w1 == w8 goto pc+9"),
        (0x5601_0800_0000_00fa, "if w1 != 0xfa000000 goto pc+8"),
        (0x1f16_0000_0000_0000, "r6 -= r1"),
        (0xa401_0000_ffff_0000, "w1 ^= 65535"),
        (0x2601_0500_0800_0000, "if w1 > 0x8 goto pc+5"),
        (0x1500_0400_0000_0000, "if r0 == 0x0 goto pc+4"),
        (0x1811_0000_0100_0000, "r1 = map 1"),
        (0x0000_0000_0000_0000, ""),
        (0x0500_e5ff_0000_0000, "goto pc-27"),
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
