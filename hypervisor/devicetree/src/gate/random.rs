//! The gate and the reader behind it, on thousands of damaged blobs and on trees made at random.
#![expect(
    clippy::cast_possible_truncation,
    reason = "random numbers are cut to what is needed"
)]

use std::format;
use std::vec::Vec;

use proptest::prelude::*;

use crate::blob::Writer;
use crate::tests::describe;
use crate::{Blob, Node, Tree};

const NOP: u32 = 4;

/// A blob like that of QEMU's virt machine.
fn virt() -> Vec<u8> {
    let source = include_str!("../../../../tests/dts/view/virt.dts");
    crate::source::compile(source).unwrap()
}

/// A number from a sequence that is always the same (xorshift64).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// Damages one place: a header field, a token, one bit, or one byte of the structure.
fn damage(bytes: &mut [u8], state: &mut u64) {
    let words = bytes.len() / 4;
    let (at, value) = (next(state), next(state));
    match next(state) % 4 {
        0 => bytes[at % 40] = value as u8,
        1 => {
            let token = [1u32, 2, 3, 4, 9, 0, u32::MAX][value % 7];
            bytes.as_chunks_mut::<4>().0[at % words] = token.to_be_bytes();
        }
        2 => bytes[at % bytes.len()] ^= 1 << (value % 8),
        _ => bytes[at % bytes.len()] = value as u8,
    }
}

#[test]
fn whatever_the_gate_accepts_can_be_read() {
    let original = virt();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut accepted = 0;
    let mut changed = 0;
    let plain = describe(&Tree::new(Blob::new(&original).unwrap()).unwrap());
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        (0..1 + next(&mut state) % 3).for_each(|_| damage(&mut bytes, &mut state));
        if let Ok(blob) = Blob::new(&bytes) {
            accepted += 1;
            let tree = Tree::new(blob).unwrap();
            changed += usize::from(describe(&tree) != plain);
        }
    }
    // The damage must reach both sides of the gate, and what is read.
    assert!(
        (2_000..18_000).contains(&accepted),
        "{accepted} of 20000 accepted"
    );
    assert!(changed > 500, "{changed} of {accepted} read differently");
}

/// A tree to be written and read back.
#[derive(Debug, Clone)]
struct Model {
    properties: Vec<Vec<u8>>,
    children: Vec<Model>,
}

fn model() -> impl Strategy<Value = Model> {
    let properties = || prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4);
    let leaf = properties().prop_map(|properties| Model {
        properties,
        children: Vec::new(),
    });
    leaf.prop_recursive(6, 64, 5, move |inner| {
        (properties(), prop::collection::vec(inner, 0..5))
            .prop_map(|(properties, children)| Model { properties, children })
    })
}

fn write(model: &Model, name: &str, nops: &mut u64, writer: &mut Writer) {
    let mut pad = |writer: &mut Writer| (0..next(nops) % 3).for_each(|_| _ = writer.word(NOP));
    pad(writer);
    writer.begin(name);
    for (index, value) in model.properties.iter().enumerate() {
        pad(writer);
        writer.property(&format!("p{index}"), value);
    }
    for (index, child) in model.children.iter().enumerate() {
        write(child, &format!("n{index}"), nops, writer);
    }
    (0..next(nops) % 3).for_each(|_| _ = writer.word(NOP));
    writer.end();
}

fn same(node: Node<'_>, model: &Model) -> bool {
    let properties: Vec<_> = node
        .properties()
        .map(|property| property.bytes().to_vec())
        .collect();
    let children: Vec<_> = node.children().collect();
    properties == model.properties
        && children.len() == model.children.len()
        && children
            .iter()
            .enumerate()
            .all(|(index, child)| child.name() == format!("n{index}"))
        && children.iter().all(|child| child.parent() == Some(node))
        && children
            .iter()
            .all(|child| node.tree().find(&child.path()) == Some(*child))
        && children
            .into_iter()
            .zip(&model.children)
            .all(|(child, model)| same(child, model))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_written_is_read_back(model in model(), nops in 1u64..) {
        let mut writer = Writer::default();
        let mut nops = nops;
        write(&model, "", &mut nops, &mut writer);
        let tree = Tree::new(Blob::new(&writer.finish()).unwrap()).unwrap();
        prop_assert!(same(tree.root(), &model));
    }
}
