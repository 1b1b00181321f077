//! The register frame: layout, widths, aliases, reserved bits.

use mmio::{Bus, Clock as _};

use super::rig::*;
use crate::Rule;
use crate::v2::{Defect, Params};

#[test]
fn every_preset_boots_as_a_driver_does_it() {
    for params in [
        Params::mmu500(),
        Params::generic(),
        Params::mmu401(),
        Params::small(),
        Params::stream_indexing(),
        Params::extended_ids(),
        Params::secure_access(),
        Params::non_coherent(),
        Params::stage1_only(),
    ] {
        let rig = Rig::new(params);
        rig.settled();
        rig.smmu.violations().assert_none();
    }
}

#[test]
fn identification_reads_as_the_parameters_say_and_is_read_only() {
    let rig = Rig::new(Params::generic());
    for (index, value) in rig.params.idr.iter().enumerate() {
        assert_eq!(rig.read(IDR0 + 4 * index), *value);
    }
    rig.write(IDR0, 0);
    rig.smmu.violations().expect(Rule::ReadOnly);
    rig.write(TLBGSTATUS, 0);
    rig.smmu.violations().expect(Rule::ReadOnly);
    rig.write_bank(0, TLBSTATUS, 0);
    rig.smmu.violations().expect(Rule::ReadOnly);
}

#[test]
fn the_product_and_the_second_control_register_are_there() {
    let product = |params| [0xfe0, 0xfe4, 0xfe8].map(|offset| Rig::new(params).read(offset));
    assert_eq!(product(Params::mmu500()), [0x81, 0xb4, 0x1b]);
    assert_eq!(product(Params::generic()), [0, 0, 0]);
    let rig = Rig::new(Params::secure_access());
    rig.write(0x408, 0x12);
    assert_eq!((rig.read(0x408), rig.read(0x008)), (0x12, 0));
    rig.smmu.violations().assert_none();
    rig.write(0x408, 1 << 29 | 1 << 31);
    rig.smmu.violations().expect(Rule::Reserved);
    assert_eq!(rig.read(0x408), 0);
    rig.write(0xfe0, 0);
    rig.smmu.violations().expect(Rule::ReadOnly);
}

#[test]
fn after_reset_the_client_port_is_disabled() {
    let rig = Rig::after_reset(Params::generic());
    assert_eq!(rig.read(CR0) & CLIENTPD, 1);
    rig.smmu.forbid_bypass();
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn reserved_bits_and_encodings_of_cr0_are_refused() {
    let rig = Rig::new(Params::generic());
    for wrong in [1 << 3, 1 << 9, 1 << 28, 1 << 30, 1 << 31, 1 << 24, 1 << 26] {
        rig.write(CR0, SHUT | wrong);
        rig.smmu.violations().expect(Rule::Reserved);
    }
    rig.write(CR0, SHUT);
}

#[test]
fn smcfcfg_may_be_fixed_and_configuration_faults_absent() {
    let rig = Rig::new(Params::mmu500());
    rig.write(CR0, (SHUT | 1 << 4 | 1 << 5) & !(1 << 21));
    assert_eq!(rig.read(CR0), SHUT);
    rig.smmu.violations().assert_none();
    let generic = Rig::new(Params::generic());
    generic.write(CR0, SHUT | 1 << 4 | 1 << 5);
    assert_eq!(generic.read(CR0), SHUT | 1 << 4 | 1 << 5);
    generic.smmu.violations().assert_none();
}

#[test]
fn accesses_outside_of_registers_are_refused() {
    let rig = Rig::new(Params::generic());
    let banks = rig.bank(0, 0);
    for offset in [
        2,
        0x7c,
        0x1ffc,
        banks - 4,
        rig.bank(rig.banks(), 0),
        0x2_0000,
        usize::MAX - 3,
    ] {
        rig.read(offset);
        rig.smmu.violations().expect(Rule::NoSuchRegister);
        rig.write(offset, 0);
        rig.smmu.violations().expect(Rule::NoSuchRegister);
    }
    assert_eq!(rig.read(0x2_0000), u32::MAX);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
}

#[test]
fn only_64_bit_registers_are_accessed_with_64_bits() {
    let rig = Rig::new(Params::generic());
    rig.frame.write64(CR0, SHUT.into());
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.frame.read64(GFSR);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.frame.read64(GFAR + 4);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.write_bank64(0, TTBR0, 0x1_2345_6000);
    assert_eq!(rig.read_bank(0, TTBR0), 0x2345_6000);
    assert_eq!(rig.read_bank(0, TTBR0 + 4), 1);
    rig.write_bank(0, TTBR0 + 4, 2);
    assert_eq!(rig.frame.read64(rig.bank(0, TTBR0)), 0x2_2345_6000);
    rig.frame.write64(GFAR, 0x1_0000_0002);
    assert_eq!(rig.read(GFAR + 4), 1);
    rig.smmu.violations().assert_none();
}

#[test]
fn write_only_registers_cannot_be_read() {
    let rig = Rig::new(Params::generic());
    for offset in [
        TLBIVMID,
        TLBIALLNSNH,
        TLBGSYNC,
        GFSRRESTORE,
        rig.bank(0, RESUME),
        rig.bank(0, TLBIIPAS2),
    ] {
        assert_eq!(rig.read(offset), 0);
        rig.smmu.violations().expect(Rule::NoSuchRegister);
    }
}

#[test]
fn pages_of_64_kib_hold_registers_in_their_first_4_kib() {
    let params = Params::generic().with_idr(1, 31, 31, 1);
    let rig = Rig::new(params);
    let mut tree = rig.attach(0, STREAM, BANK, VMID);
    tree.map_page(IPA, PA, RW);
    assert_eq!(rig.reaches(IPA + 8), (PA + 8, false));
    rig.read(0x1000);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
}

#[test]
fn a_secure_access_finds_the_non_secure_registers_at_the_alias() {
    let rig = Rig::new(Params::secure_access());
    assert_eq!(rig.read(0x400 + CR0), SHUT);
    assert_eq!(rig.read(CR0) & CLIENTPD, 1);
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::SecureRegister);
    rig.write(GFSR, 1);
    rig.smmu.violations().expect(Rule::SecureRegister);
    assert!(rig.smmu.dma(0x99, 0x1000, true).is_err());
    assert_eq!(rig.read(0x400 + GFSR), 2);
    assert_eq!(rig.read(GFSR), 0);
    assert_eq!(rig.frame.read64(0x400 + GFAR), 0x1000);
    assert_eq!(rig.read(0x400 + GFSYNR1), 0x99);
    // What is not banked has no alias.
    rig.write(0x400 + TLBIALLNSNH, 0);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
}

#[test]
fn without_secure_access_there_is_no_alias() {
    let rig = Rig::new(Params::generic());
    rig.write(0x400 + CR0, SHUT);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.read(0x400 + GFSR);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
}

#[test]
fn the_mmu500_ignores_actlr_while_the_cache_is_locked() {
    let rig = Rig::after_reset(Params::mmu500());
    assert_eq!(rig.read_bank(0, ACTLR), 3);
    rig.write_bank(0, ACTLR, 1);
    rig.smmu.violations().expect(Rule::Guarded);
    assert_eq!(rig.read_bank(0, ACTLR), 3);
    rig.write(ACR, rig.read(ACR) & !(1 << 26));
    rig.write_bank(0, ACTLR, 1);
    assert_eq!(rig.read_bank(0, ACTLR), 1);
    // Before r2p0 there is no lock.
    let old = Rig::after_reset(Params::mmu500().with_idr(7, 7, 0, 0x10));
    old.write_bank(0, ACTLR, 1);
    assert_eq!(old.read_bank(0, ACTLR), 1);
    old.smmu.violations().assert_none();
}

#[test]
fn the_prefetcher_of_the_mmu500_must_be_off() {
    let rig = Rig::new(Params::mmu500());
    rig.write_bank(BANK, ACTLR, 3);
    rig.attach(0, STREAM, BANK, VMID);
    rig.smmu.violations().expect(Rule::Erratum);
}

#[test]
fn implementation_defined_registers_of_unknown_implementations_are_left_alone() {
    let rig = Rig::new(Params::generic());
    rig.write(ACR, 1);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank(0, ACTLR, 1);
    rig.smmu.violations().expect(Rule::Reserved);
}

#[test]
fn a_synchronisation_takes_time_and_a_second_one_starts_it_again() {
    let rig = Rig::new(Params::generic());
    rig.write(TLBGSYNC, 0);
    assert_eq!(rig.read(TLBGSTATUS), 1);
    rig.clock.now_us();
    rig.write(TLBGSYNC, u32::MAX);
    rig.clock.advance(2);
    assert_eq!(rig.read(TLBGSTATUS), 1);
    rig.clock.now_us();
    assert_eq!(rig.read(TLBGSTATUS), 0);
    rig.smmu.violations().assert_none();
}

#[test]
fn a_stuck_synchronisation_goes_on_after_repair() {
    let rig = Rig::new(Params::generic());
    rig.smmu.inject(Defect::SyncStuck);
    rig.write(TLBGSYNC, 0);
    rig.write_bank(0, TLBSYNC, 0);
    rig.clock.advance(1000);
    assert_eq!(rig.read(TLBGSTATUS), 1);
    assert_eq!(rig.read_bank(0, TLBSTATUS), 1);
    assert_eq!(rig.smmu.unsettled().len(), 2);
    rig.smmu.repair();
    rig.clock.advance(3);
    rig.settled();
}
