//! BARs: sized, moved, and where they are decoded.

use super::*;

const ASSIGNED: [u32; 6] = [0x1010_0000, 0, 0xc, 0x80, 0, 0];
const AT_FIRST: [(u8, u64); 2] = [(0, 0x1010_0000), (2, 0x80_0000_0000)];

fn registers(ecam: &Ecam) -> [u32; 6] {
    [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map(|at| ecam.read(AT + at, 4))
}

/// What the guest decodes, if that may have changed.
fn moved(ecam: &mut Ecam) -> Option<Vec<(u8, u64)>> {
    let decoded = ecam.take_decoded()?;
    assert!(decoded.iter().all(|decoded| decoded.at == bdf(1, 0)));
    Some(
        decoded
            .iter()
            .map(|decoded| (decoded.index, decoded.address))
            .collect(),
    )
}

#[test]
fn bars_are_sized_and_come_back() {
    let mut ecam = ecam();
    ecam.set_present(bdf(1, 0), true);
    assert_eq!(registers(&ecam), ASSIGNED);
    for at in [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30] {
        ecam.write(AT + at, 4, u32::MAX);
    }
    assert_eq!(registers(&ecam), [0xfff0_0000, 0, 0xc, 0xffff_fffe, 0, 0]);
    assert_eq!(ecam.read(AT + 0x30, 4), 0, "no expansion ROM");
    for (at, value) in [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].into_iter().zip(ASSIGNED) {
        ecam.write(AT + at, 4, value);
    }
    assert_eq!(registers(&ecam), ASSIGNED);
}

#[test]
fn a_bar_is_where_the_guest_puts_it_while_it_decodes() {
    let mut ecam = ecam();
    assert_eq!(moved(&mut ecam), Some(vec![]));
    assert_eq!(moved(&mut ecam), None);
    ecam.set_present(bdf(1, 0), true);
    assert_eq!(moved(&mut ecam), Some(vec![]), "it does not decode yet");
    ecam.write(AT + 4, 2, 2);
    assert_eq!(moved(&mut ecam), Some(AT_FIRST.to_vec()));
    // Moved with decoding on, by halves, and with what is no address bit set.
    ecam.write(AT + 0x12, 2, 0x2345);
    assert_eq!(
        moved(&mut ecam),
        Some(vec![(0, 0x2340_0000), (2, 0x80_0000_0000)])
    );
    ecam.write(AT + 4, 2, 0);
    ecam.write(AT + 0x18, 4, 0xffff_ffff);
    ecam.write(AT + 0x1c, 4, 0x92);
    assert_eq!(moved(&mut ecam), Some(vec![]));
    ecam.write(AT + 4, 1, 2);
    assert_eq!(
        moved(&mut ecam),
        Some(vec![(0, 0x2340_0000), (2, 0x92_0000_0000)])
    );
    ecam.read(AT + 0x10, 4);
    ecam.write(AT + 0x3c, 1, 9);
    assert_eq!(moved(&mut ecam), None, "nothing that moves a BAR");
    ecam.set_present(bdf(1, 0), false);
    assert_eq!(moved(&mut ecam), Some(vec![]));
    ecam.set_present(bdf(1, 0), true);
    ecam.write(AT + 4, 2, 2);
    assert_eq!(moved(&mut ecam), Some(AT_FIRST.to_vec()), "starts anew");
}

#[test]
fn a_bar_is_a_page_at_least() {
    let mut function = edu(bdf(2, 0));
    function.bars = vec![Bar {
        index: 1,
        space: Space::Memory32,
        prefetchable: false,
        size: 0x100,
        address: 0x1000_3000,
    }];
    let mut ecam = Ecam::new(0);
    ecam.add(bdf(1, 0), &function, Messages::Hidden).unwrap();
    ecam.set_present(bdf(1, 0), true);
    ecam.write(AT + 0x14, 4, u32::MAX);
    assert_eq!(ecam.read(AT + 0x14, 4), 0xffff_f000);
}
