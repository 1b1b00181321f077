//! The shape of the tree against DDI 0487 D8.2 and what QEMU's SMMU was seen to walk.

use stage2::{Cacheability, Geometry, GeometryError, VmidSize, WalkerLimits};

fn choose(cpu: u8, smmus: &[u8]) -> Geometry {
    let mut walkers = vec![WalkerLimits::cpu("cpu0", cpu, true)];
    walkers.extend(smmus.iter().map(|&oas| WalkerLimits::smmu("/smmu", oas, true)));
    Geometry::choose(&walkers).unwrap()
}

/// IPA bits, PA bits, start level, root tables, T0SZ, SL0, PS.
fn shape(geometry: Geometry) -> (u8, u8, u8, usize, u64, u64, u64) {
    (
        geometry.ipa_bits(),
        geometry.pa_bits(),
        geometry.start_level(),
        geometry.root_tables(),
        geometry.t0sz(),
        geometry.sl0(),
        geometry.ps(),
    )
}

#[test]
fn each_physical_size_gives_the_start_level_and_encodings_of_the_manual() {
    // DDI 0487 D8.2.2 (start levels and concatenation for 4 KiB) and VTCR_EL2.{T0SZ,SL0,PS}.
    for (pa_range, expected) in [
        (32, (32, 32, 2, 4, 32, 0, 0)),
        (36, (36, 36, 1, 1, 28, 1, 1)),
        (40, (40, 40, 1, 2, 24, 1, 2)),
        (42, (42, 42, 1, 8, 22, 1, 3)),
        (44, (44, 44, 0, 1, 20, 2, 4)),
        (48, (48, 48, 0, 1, 16, 2, 5)),
        (52, (48, 48, 0, 1, 16, 2, 5)),
    ] {
        assert_eq!(
            shape(choose(pa_range, &[])),
            expected,
            "PARange of {pa_range} bits"
        );
    }
}

#[test]
fn the_shapes_that_were_seen_to_copy_data_on_qemu_are_chosen() {
    // platforms.md section 2: T0SZ, SL0 and number of root tables that QEMU's SMMUv3 walked.
    for (ipa, t0sz, sl0, tables) in [
        (39, 25, 1, 1),
        (40, 24, 1, 2),
        (42, 22, 1, 8),
        (43, 21, 1, 16),
        (44, 20, 2, 1),
        (33, 31, 0, 8),
        (34, 30, 0, 16),
    ] {
        let smmu = WalkerLimits {
            name: "/smmu",
            input_bits: ipa,
            output_bits: 44,
            granule_4k: true,
        };
        let geometry = Geometry::choose(&[WalkerLimits::cpu("cpu0", 52, true), smmu]).unwrap();
        assert_eq!(
            (geometry.t0sz(), geometry.sl0(), geometry.root_tables()),
            (t0sz, sl0, tables),
            "{ipa}-bit IPA"
        );
        assert_eq!(geometry.pa_bits(), 44);
        assert_eq!(geometry.root_size(), tables * 4096);
    }
}

#[test]
fn every_shape_is_legal() {
    // DDI 0487 AArch64.S2InconsistentSL and S2InvalidSL, for the 4 KiB granule.
    for cpu in 32..=52 {
        for smmu in 32..=52 {
            let geometry = choose(cpu, &[smmu]);
            let levels = 3 - geometry.start_level();
            let smallest = 12 + 9 * levels + 1;
            let largest = smallest + 8 + 4;
            assert!(
                (smallest..=largest).contains(&geometry.ipa_bits()),
                "{geometry:?}"
            );
            assert!(
                geometry.start_level() != 0 || geometry.pa_bits() >= 44,
                "{geometry:?}"
            );
            assert!(geometry.ipa_bits() <= geometry.pa_bits(), "{geometry:?}");
            assert!(geometry.pa_bits() <= cpu.min(smmu), "{geometry:?}");
            assert!(geometry.root_tables() <= 16, "{geometry:?}");
        }
    }
}

#[test]
fn the_narrowest_walker_decides() {
    // -cpu max and neoverse-n1 against QEMU's 44-bit SMMU; a53 is narrower than it.
    assert_eq!(shape(choose(52, &[44])), (44, 44, 0, 1, 20, 2, 4));
    assert_eq!(shape(choose(48, &[44, 36])), (36, 36, 1, 1, 28, 1, 1));
    assert_eq!(shape(choose(40, &[44])), (40, 40, 1, 2, 24, 1, 2));
    // No encoding for 41 bits: the next smaller one is used.
    assert_eq!(shape(choose(48, &[41])), (40, 40, 1, 2, 24, 1, 2));
}

#[test]
fn vtcr_is_the_value_of_the_manual() {
    // 44 bits: RES1 | VS | PS=4 | SH0=3 | ORGN0=IRGN0=1 | SL0=2 | T0SZ=20.
    assert_eq!(
        choose(44, &[]).vtcr(Cacheability::WriteBack, VmidSize::Sixteen),
        0x800c_3594
    );
    // 40 bits, walks not cached, 8-bit VMIDs: RES1 | PS=2 | SH0=2 | SL0=1 | T0SZ=24.
    assert_eq!(
        choose(40, &[]).vtcr(Cacheability::NonCacheable, VmidSize::Eight),
        0x8002_2058
    );
}

#[test]
fn a_refusal_names_the_culprit() {
    let cpu = WalkerLimits::cpu("cpu0", 48, true);
    assert_eq!(Geometry::choose(&[]), Err(GeometryError::NoWalkers));
    assert_eq!(
        Geometry::choose(&[cpu, WalkerLimits::smmu("/smmu@1", 44, false)]),
        Err(GeometryError::NoGranule { walker: "/smmu@1" })
    );
    assert_eq!(
        Geometry::choose(&[cpu, WalkerLimits::smmu("/smmu@2", 0, true)]),
        Err(GeometryError::TooNarrow {
            walker: "/smmu@2",
            bits: 0
        })
    );
}
