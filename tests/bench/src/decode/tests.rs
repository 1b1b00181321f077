//! Words here are what an assembler made of the text beside them.

use super::*;

#[track_caller]
fn is(word: u32, load: bool, size: usize, register: u8) -> Instruction {
    let instruction = decode(word).unwrap();
    assert_eq!(
        (instruction.load, instruction.size, instruction.register),
        (load, size, register),
        "{instruction:?}"
    );
    instruction
}

#[test]
fn single_registers_are_decoded() {
    is(0xb940_0041, true, 4, 1); // ldr w1, [x2]
    is(0xf940_0483, true, 8, 3); // ldr x3, [x4, #8]
    is(0xb827_68c5, false, 4, 5); // str w5, [x6, x7]
    is(0xf900_001f, false, 8, 31); // str xzr, [x0]
    is(0xb840_3041, true, 4, 1); // ldur w1, [x2, #3]
    is(0xb800_0841, false, 4, 1); // sttr w1, [x2]
    let post = is(0x3800_1528, false, 1, 8); // strb w8, [x9], #1
    assert_eq!(post.writeback, Some((9, 1)));
    let pre = is(0x785f_ed6a, true, 2, 10); // ldrh w10, [x11, #-2]!
    assert_eq!(pre.writeback, Some((11, -2)));
}

#[test]
fn signs_are_extended_as_far_as_the_register_goes() {
    for (word, size, extension) in [
        (0xb980_05ac, 4, Extension::Sign64), // ldrsw x12, [x13, #4]
        (0x39c0_01ee, 1, Extension::Sign32), // ldrsb w14, [x15]
        (0x7980_0230, 2, Extension::Sign64), // ldrsh x16, [x17]
    ] {
        let instruction = decode(word).unwrap();
        assert_eq!((instruction.size, instruction.extension), (size, extension));
    }
}

#[test]
fn pairs_are_decoded() {
    let store = is(0xa900_4e92, false, 8, 18); // stp x18, x19, [x20]
    assert_eq!((store.second, store.writeback), (Some(19), None));
    let load = is(0x2941_5af5, true, 4, 21); // ldp w21, w22, [x23, #8]
    assert_eq!((load.second, load.writeback), (Some(22), None));
    let post = is(0xa8c1_6758, true, 8, 24); // ldp x24, x25, [x26], #16
    assert_eq!((post.second, post.writeback), (Some(25), Some((26, 16))));
    let pre = is(0x29bf_73bb, false, 4, 27); // stp w27, w28, [x29, #-8]!
    assert_eq!((pre.second, pre.writeback), (Some(28), Some((29, -8))));
    let signed = is(0x6940_0861, true, 4, 1); // ldpsw x1, x2, [x3]
    assert_eq!(signed.extension, Extension::Sign64);
}

#[test]
fn everything_else_is_refused() {
    for word in [
        0xf840_87e1, // ldr x1, [sp], #8
        0xf980_0000, // prfm pldl1keep, [x0]
        0x3dc0_0020, // ldr q0, [x1]
        0xad40_0440, // ldp q0, q1, [x2]
        0x88df_fc20, // ldar w0, [x1]
        0xb820_0041, // ldadd w0, w1, [x2]
        0x8b02_0020, // add x0, x1, x2
        0x6900_0440, // stgp x0, x1, [x2]
        0,
        u32::MAX,
    ] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}

#[test]
fn loads_fill_registers_and_move_the_base() {
    let mut registers = [0; 31];
    registers[26] = 0x1000;
    let pair = decode(0xa8c1_6758).unwrap(); // ldp x24, x25, [x26], #16
    let mut seen = Vec::new();
    pair.execute(&mut registers, |offset, size, value| {
        seen.push((offset, size, value));
        0xff00 + offset
    });
    assert_eq!(seen, [(0, 8, None), (8, 8, None)]);
    assert_eq!(registers[24..27], [0xff00, 0xff08, 0x1010]);

    let byte = decode(0x39c0_01ee).unwrap(); // ldrsb w14, [x15]
    byte.execute(&mut registers, |_, _, _| 0xffff_ff80);
    assert_eq!(registers[14], 0xffff_ff80);
}

#[test]
fn stores_pass_on_as_many_bytes_as_they_have() {
    let mut registers = [0x1122_3344_5566_7788; 31];
    let mut stored = Vec::new();
    let half = decode(0x3800_1528).unwrap(); // strb w8, [x9], #1
    half.execute(&mut registers, |_, _, value| {
        stored.extend(value);
        0
    });
    let zero = decode(0xf900_001f).unwrap(); // str xzr, [x0]
    zero.execute(&mut registers, |_, _, value| {
        stored.extend(value);
        0
    });
    assert_eq!(stored, [0x88, 0]);
}
