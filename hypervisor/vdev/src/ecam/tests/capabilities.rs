//! The capabilities that a guest sees, and what it can do with them.

use super::*;
use pci::{Capability, Msi, MsiX, id};

fn capability(id: u32, offset: u16, words: [u32; 6]) -> Capability {
    Capability { id, offset, words }
}

/// A function with one capability of each kind, and some that nobody may see.
pub(super) fn rich() -> Function {
    Function {
        vendor: 0x1af4,
        device: 0x1042,
        capabilities: vec![
            // Everything is set that a device can set.
            capability(id::POWER, 0x40, [0xffff_4801, 0xffff_ffff, 0, 0, 0, 0]),
            capability(id::MSI, 0x48, [0x018b_6005, 1, 2, 3, 4, 5]),
            capability(id::MSI_X, 0x60, [0xc003_7011, 0x2004, 0x3004, 0, 0, 0]),
            capability(
                id::PCI_EXPRESS,
                0x70,
                [0x0002_b010, 0xffff_ffff, 0xffff_ffff, 0, 0, 0],
            ),
            // Virtio: common, configuration access, notify; vital product data.
            capability(id::VENDOR, 0xb0, [0x0110_c009, 4, 0, 0x1000, 0, 0]),
            capability(id::VENDOR, 0xc0, [0x0514_d409, 0, 0, 0, 0, 0]),
            capability(0x03, 0xd4, [0xdead_dc03, 0, 0, 0, 0, 0]),
            capability(id::VENDOR, 0xdc, [0x0214_0009, 4, 0x3000, 0x1000, 4, 0]),
            capability(id::ATS, 0x100, [0; 6]),
        ],
        ..edu(bdf(2, 0))
    }
}

pub(super) fn shown(function: &Function, messages: Messages) -> Ecam {
    let mut ecam = Ecam::new(0);
    ecam.add(bdf(1, 0), function, messages).unwrap();
    ecam.set_present(bdf(1, 0), true);
    ecam
}

/// ID and place of each, as a guest walks them.
fn walk(ecam: &Ecam) -> Vec<(u32, u64)> {
    assert_eq!(ecam.read(AT + 6, 2), 0x10, "there is a list");
    let mut found = Vec::new();
    let mut at = u64::from(ecam.read(AT + 0x34, 1));
    while at != 0 {
        assert!(found.len() < 48, "a ring");
        found.push((ecam.read(AT + at, 1), at));
        at = u64::from(ecam.read(AT + at + 1, 1));
    }
    found
}

#[test]
fn only_what_is_known_is_shown() {
    let quiet = shown(&rich(), Messages::Hidden);
    assert_eq!(walk(&quiet), [(1, 0x40), (0x10, 0x70), (9, 0xb0), (9, 0xdc)]);
    let ecam = shown(&rich(), Messages::Shown);
    let all = [
        (1, 0x40),
        (5, 0x48),
        (0x11, 0x60),
        (0x10, 0x70),
        (9, 0xb0),
        (9, 0xdc),
    ];
    assert_eq!(walk(&ecam), all);
    for at in (0xc0..0xdc).chain(0x100..0x200).step_by(4) {
        assert_eq!(ecam.read(AT + at, 4), 0, "{at:#x}");
    }
    let read = |at: u64, words: u64| -> Vec<u32> {
        (0..words).map(|word| ecam.read(AT + at + 4 * word, 4)).collect()
    };
    assert_eq!(read(0x40, 2), [0x0007_4801, 8], "D0 and D3, no wake-up");
    assert_eq!(read(0x48, 6), [0x018a_6005, 0, 0, 0, 0, 0]);
    assert_eq!(read(0x60, 3), [0x0003_7011, 0x2004, 0x3004]);
    assert_eq!(
        read(0x70, 4),
        [0x0092_b010, 0x1000_8007, 0x70e0, 0],
        "an integrated endpoint without a link"
    );
    assert_eq!(read(0xb0, 4), [0x0110_dc09, 4, 0, 0x1000]);
    assert_eq!(read(0xdc, 5), [0x0214_0009, 4, 0x3000, 0x1000, 4]);
    // What is vendor-specific of another vendor is not known.
    let other = Function {
        vendor: 0x1234,
        ..rich()
    };
    assert_eq!(walk(&shown(&other, Messages::Hidden)), [(1, 0x40), (0x10, 0x70)]);
}

#[test]
fn capabilities_that_overlap_or_stick_out_are_left_out() {
    let mut function = rich();
    function.capabilities = vec![
        capability(id::MSI, 0xf0, [0x0180_0005, 0, 0, 0, 0, 0]),
        capability(id::VENDOR, 0x50, [0x0110_0009, 0, 0, 0, 0, 0]),
        capability(id::MSI_X, 0x58, [0x0003_0011, 0, 0, 0, 0, 0]),
        capability(id::POWER, 0x60, [1, 0, 0, 0, 0, 0]),
        capability(id::POWER, 0x70, [1, 0, 0, 0, 0, 0]),
        capability(id::VENDOR, 0x50, [0x0110_0009, 0, 0, 0, 0, 0]),
    ];
    assert_eq!(walk(&shown(&function, Messages::Shown)), [(9, 0x50), (1, 0x60)]);
}

#[test]
fn messages_are_forwarded_as_the_guest_sets_them() {
    let mut ecam = shown(&rich(), Messages::Shown);
    let off = Switches {
        intx: true,
        msi: Some(Msi::default()),
        msi_x: Some(MsiX::default()),
        ..Switches::default()
    };
    let last = |action: Option<Action>| action.map(|action| (action.physical, action.switches, action.reset));
    ecam.write(AT + 0x4c, 4, 0x0809_0043);
    ecam.write(AT + 0x50, 4, 1);
    ecam.write(AT + 0x54, 2, 0x31);
    ecam.write(AT + 0x58, 4, 0x10);
    let msi = Msi {
        enable: true,
        vectors: 2,
        address: 0x1_0809_0040,
        data: 0x31,
        mask: 0x10,
    };
    let on = Switches {
        msi: Some(msi),
        ..off
    };
    assert_eq!(
        last(ecam.write(AT + 0x4a, 2, 0x0021)),
        Some((bdf(2, 0), on, false))
    );
    assert_eq!(ecam.write(AT + 0x4a, 2, 0x0021), None, "nothing new");
    assert_eq!(
        ecam.write(AT + 0x5c, 4, u32::MAX),
        None,
        "pending bits are not written"
    );
    let both = Switches {
        msi_x: Some(MsiX {
            enable: true,
            mask: true,
        }),
        ..on
    };
    assert_eq!(
        last(ecam.write(AT + 0x62, 2, 0xffff)),
        Some((bdf(2, 0), both, false))
    );
    assert_eq!(ecam.read(AT + 0x60, 4), 0xc003_7011);
    for at in [0x64, 0x68] {
        assert_eq!(
            ecam.write(AT + at, 4, u32::MAX),
            None,
            "the table stays where it is"
        );
    }
    assert_eq!(
        (ecam.read(AT + 0x64, 4), ecam.read(AT + 0x68, 4)),
        (0x2004, 0x3004)
    );
    // Taken away: nothing is on any more.
    let gone = Switches { intx: false, ..off };
    assert_eq!(
        last(ecam.set_present(bdf(1, 0), false)),
        Some((bdf(2, 0), gone, false))
    );
    assert_eq!(
        last(ecam.set_present(bdf(1, 0), true)),
        Some((bdf(2, 0), off, false))
    );
    // Without an ITS there is nothing to forward.
    let mut hidden = shown(&rich(), Messages::Hidden);
    for at in (0x40..0x70).step_by(4) {
        assert_eq!(hidden.write(AT + at, 4, u32::MAX), None);
    }
}

#[test]
fn a_function_is_reset_when_the_guest_says_so() {
    let mut ecam = shown(&rich(), Messages::Hidden);
    ecam.allow_dma(bdf(1, 0), true);
    assert!(ecam.write(AT + 4, 2, 6).unwrap().switches.bus_master);
    ecam.write(AT + 0x10, 4, 0x2000_0000);
    assert_eq!(
        ecam.write(AT + 0x78, 2, 0x7fff),
        None,
        "only one bit does something"
    );
    assert_eq!(ecam.read(AT + 0x78, 2), 0x70e0);
    let action = ecam.write(AT + 0x79, 1, 0x80).unwrap();
    assert!(action.reset);
    assert_eq!((action.at, action.physical), (bdf(1, 0), bdf(2, 0)));
    assert_eq!(action.switches, Switches::default());
    // Meanwhile nobody is there.
    assert_eq!(ecam.read(AT, 4), u32::MAX);
    assert_eq!(ecam.write(AT + 4, 2, 6), None);
    assert_eq!(ecam.take_decoded(), Some(vec![]));
    assert!(ecam.finish_reset(bdf(1, 0)).unwrap().switches.intx);
    assert_eq!(ecam.read(AT + 4, 2), 0);
    assert_eq!(ecam.read(AT + 0x10, 4), 0x1010_0000);
    assert!(ecam.write(AT + 4, 2, 6).unwrap().switches.bus_master);

    // One that cannot be reset is not.
    let mut function = rich();
    function.capabilities[3].words[1] = 0;
    let mut ecam = shown(&function, Messages::Hidden);
    assert_eq!(ecam.write(AT + 0x78, 2, 0x8000), None);
}
