//! Register rules: who may be written when, and what an access that may not be does.

use super::rig::*;
use crate::v3::{Config, Fault};
use crate::{Clock, Memory, Rule, v3::Smmu};
use mmio::Bus;

/// What `act` on an enabled SMMU violates.
fn rules(act: impl FnOnce(&Rig)) -> Vec<Rule> {
    rules_of(Rig::new(Config::qemu10()), act)
}

fn rules_of(rig: Rig, act: impl FnOnce(&Rig)) -> Vec<Rule> {
    rig.smmu.violations().assert_none();
    act(&rig);
    let mut found: Vec<Rule> = rig
        .smmu
        .violations()
        .take()
        .iter()
        .map(|violation| violation.rule)
        .collect();
    found.dedup();
    found
}

#[test]
fn id_registers_read_as_configured_and_are_read_only() {
    let rig = Rig::new(Config::qemu10());
    let read: Vec<u32> = (0..6).map(|index| rig.read(index * 4)).collect();
    assert_eq!(read, [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74]);
    assert_eq!((rig.read(0x18), rig.read(0x1c)), (0, 1));
    for offset in [0x00, 0x14, 0x1c, CR0ACK, 0x54, GERROR] {
        assert_eq!(rules(|rig| rig.write(offset, 0)), [Rule::ReadOnly], "{offset:#x}");
    }
}

#[test]
fn registers_that_do_not_exist_are_reported() {
    assert_eq!(
        rules(|rig| rig.write(0x8020, 1)),
        [Rule::NoSuchRegister],
        "secure"
    );
    assert_eq!(
        rules(|rig| rig.write(0x2_0000, 1)),
        [Rule::NoSuchRegister],
        "outside"
    );
    assert_eq!(
        rules(|rig| rig.write(0x22, 1)),
        [Rule::NoSuchRegister],
        "misaligned"
    );
    assert_eq!(
        rules(|rig| rig.smmu.write64(CR0, 0xd)),
        [Rule::NoSuchRegister],
        "two registers at once"
    );
    assert_eq!(
        rules(|rig| rig.write(0xac, 0)),
        [Rule::NoSuchRegister],
        "page 0's alias"
    );
    assert_eq!(
        rules(|rig| assert_eq!(rig.read(0x2_0000), u32::MAX)),
        [Rule::NoSuchRegister]
    );
}

#[test]
fn reserved_bits_are_reported() {
    assert_eq!(
        rules(|rig| rig.write(CR0, 0xf)),
        [Rule::Reserved],
        "PRIQEN without PRI"
    );
    assert_eq!(
        rules(|rig| rig.write(IRQ_CTRL, 7)),
        [Rule::Reserved],
        "PRIQ without PRI"
    );
    assert_eq!(
        rules(|rig| rig.write(CMDQ_PROD, 1 << 31)),
        [Rule::Reserved, Rule::QueueIndex]
    );
    assert_eq!(
        rules(|rig| rig.smmu.write64(0x68, 0x1000)),
        [Rule::Reserved],
        "message interrupts without MSI"
    );
    assert_eq!(rules(|rig| rig.smmu.write64(0x68, 0)), []);
    assert_eq!(
        rules(|rig| rig.write(GBPA, 1 << 31 | 1 << 20 | 1 << 25)),
        [Rule::Reserved]
    );
    let disabled = || Rig::disabled(Config::qemu10());
    assert_eq!(
        rules_of(disabled(), |rig| rig.write(CR1, 0x1000)),
        [Rule::Reserved]
    );
    assert_eq!(
        rules_of(disabled(), |rig| rig.write(CR1, 0x3)),
        [Rule::Reserved],
        "cacheability 3"
    );
    assert_eq!(
        rules_of(disabled(), |rig| rig.write(CR1, 0x10)),
        [Rule::Reserved],
        "shareability 1"
    );
    assert_eq!(
        rules_of(disabled(), |rig| rig.write(CR2, 1)),
        [Rule::Reserved],
        "E2H without HYP"
    );
    let linear = || Rig::disabled(Config::linear_only());
    assert_eq!(
        rules_of(linear(), |rig| rig.write(STRTAB_BASE_CFG, 1 << 16)),
        [Rule::Reserved],
        "FMT without 2 levels"
    );
}

#[test]
fn what_is_enabled_is_guarded() {
    assert_eq!(rules(|rig| rig.write(CR1, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.write(CR2, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.smmu.write64(STRTAB_BASE, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.write(STRTAB_BASE + 4, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.write(STRTAB_BASE_CFG, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.smmu.write64(CMDQ_BASE, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.write(CMDQ_CONS, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.smmu.write64(EVENTQ_BASE, 0)), [Rule::Guarded]);
    assert_eq!(rules(|rig| rig.write(EVENTQ_PROD, 0)), [Rule::Guarded]);
}

#[test]
fn what_is_being_disabled_is_still_guarded() {
    assert_eq!(
        rules(|rig| {
            rig.write(CR0, 0xc);
            rig.write(CR2, 0);
        }),
        [Rule::Guarded]
    );
}

#[test]
fn cr0_waits_for_its_acknowledgement() {
    assert_eq!(
        rules(|rig| {
            rig.write(CR0, 0xc);
            rig.write(CR0, 0x8);
        }),
        [Rule::AckOutstanding]
    );
    assert_eq!(
        rules(|rig| {
            rig.write(IRQ_CTRL, 1);
            rig.write(IRQ_CTRL, 0);
        }),
        [Rule::AckOutstanding]
    );
}

#[test]
fn gbpa_follows_its_protocol() {
    let shut = 1 << 31 | 1 << 20;
    assert_eq!(
        rules(|rig| rig.write(GBPA, 1 << 20)),
        [Rule::GbpaProtocol],
        "without UPDATE"
    );
    assert_eq!(
        rules(|rig| {
            rig.write(GBPA, shut);
            rig.write(GBPA, shut);
        }),
        [Rule::GbpaProtocol],
        "while UPDATE is set"
    );
    assert_eq!(
        rules(|rig| {
            rig.write(GBPA, shut);
            rig.write(CR0, 0xc);
        }),
        [Rule::GbpaProtocol],
        "nobody waited"
    );
    let rig = Rig::disabled(Config::qemu10());
    rig.write(GBPA, 1 << 20);
    assert!(
        !rig.dma(0, false).is_aborted(),
        "a write without UPDATE is ignored"
    );
    rig.smmu.violations().take();
}

#[test]
fn gerrorn_acknowledges_active_errors_only() {
    assert_eq!(rules(|rig| rig.write(GERRORN, 1)), [Rule::GerrorProtocol]);
    let rig = Rig::new(Config::qemu10());
    rig.smmu.inject(Fault::GlobalError(1 << 8));
    assert_eq!(rig.read(GERROR) ^ rig.read(GERRORN), 1 << 8);
    rig.write(GERRORN, rig.read(GERROR));
    assert_eq!(rig.read(GERROR) ^ rig.read(GERRORN), 0);
    rig.smmu.inject(Fault::GlobalError(1 << 8));
    assert_eq!(rig.read(GERROR), 0, "active is: differs from GERRORN");
    assert_eq!(rig.read(GERROR) ^ rig.read(GERRORN), 1 << 8);
}

#[test]
fn nothing_that_is_unknown_after_reset_may_be_enabled() {
    let (memory, clock) = (Memory::coherent(), Clock::new());
    let smmu = Smmu::new(Config::qemu10(), &memory, &clock);
    assert_ne!(smmu.read32(CMDQ_PROD), 0, "noise");
    smmu.write32(CR0, 8);
    assert!(smmu.violations().rules().contains(&Rule::Unknown));
    smmu.violations().take();
    assert_eq!(
        rules_of(Rig::disabled(Config::qemu10()), |rig| {
            rig.enable_queues();
            rig.set_cr0(0xd);
        }),
        [Rule::Unknown],
        "caches that nobody invalidated"
    );
}

#[test]
fn tables_and_queues_must_fit_and_be_aligned() {
    let start = |change: fn(&Rig)| {
        rules_of(Rig::disabled(Config::qemu10()), |rig| {
            change(rig);
            rig.write(CR0, 8);
        })
    };
    assert_eq!(
        start(|rig| rig.smmu.write64(CMDQ_BASE, (rig.command_queue.address + 32) | 6)),
        [Rule::Misaligned, Rule::NotAllocated]
    );
    assert_eq!(
        start(|rig| rig.smmu.write64(CMDQ_BASE, rig.command_queue.address | 20)),
        [Rule::TooLarge]
    );
    assert_eq!(start(|rig| rig.write(CMDQ_PROD, 0x80)), [Rule::QueueIndex]);
    let open = |change: fn(&Rig)| {
        let rig = Rig::disabled(Config::qemu10());
        rig.shut();
        rig.enable_queues();
        rig.commands(&[CFGI_ALL, TLBI_ALL]);
        rules_of(rig, |rig| {
            change(rig);
            rig.write(CR0, 0xd);
        })
    };
    assert_eq!(open(|_| {}), []);
    assert_eq!(
        open(|rig| rig.write(STRTAB_BASE_CFG, 1 << 16 | 8 << 6 | 17))[0],
        Rule::TooLarge,
        "SIDSIZE is 16"
    );
    assert_eq!(
        open(|rig| rig.write(STRTAB_BASE_CFG, 1 << 16 | 7 << 6 | 10))[0],
        Rule::TooLarge,
        "SPLIT 7"
    );
    assert_eq!(
        open(|rig| rig.write(STRTAB_BASE_CFG, 10))[0],
        Rule::Misaligned,
        "linear, aligned for 2 levels"
    );
}

#[test]
fn a_misaligned_level_2_table_is_reported() {
    let rig = Rig::new(Config::qemu10());
    rig.store(rig.table.address + 8, (rig.level2.unwrap().address + 64) | 9);
    assert!(rig.smmu.violations().rules().contains(&Rule::IllegalL1));
    rig.smmu.violations().take();
}

#[test]
fn bypass_is_found_at_every_moment() {
    assert_eq!(rules(|rig| rig.store(rig.entry(3), BYPASS[0])), [Rule::Bypass]);
    let rig = Rig::disabled(Config::qemu10());
    rig.smmu.forbid_bypass();
    assert_eq!(rig.smmu.violations().rules(), [Rule::Bypass], "open after reset");
    rig.smmu.violations().take();
    rig.shut();
    // Still open until UPDATE cleared.
    rig.smmu.violations().expect(Rule::Bypass);
    rig.write(GBPA, 1 << 31);
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn a_bypass_entry_that_becomes_reachable_is_found() {
    let rig = Rig::disabled(Config::qemu10());
    rig.shut();
    rig.smmu.forbid_bypass();
    rig.overwrite_entry(5, BYPASS);
    rig.enable_queues();
    rig.commands(&[CFGI_ALL, TLBI_ALL]);
    rig.smmu.violations().assert_none();
    rig.set_cr0(0xd);
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn hardware_can_be_stuck() {
    let rig = Rig::disabled(Config::qemu10());
    rig.smmu.inject(Fault::GbpaStuck);
    rig.write(GBPA, 1 << 31 | 1 << 20);
    rig.clock.advance(1000);
    assert_eq!(rig.read(GBPA) >> 31, 1);
    rig.smmu.repair();
    rig.clock.advance(5);
    assert_eq!(rig.read(GBPA) >> 31, 0);
    rig.smmu.inject(Fault::Cr0AckStuck);
    rig.write(CR0, 8);
    rig.clock.advance(1000);
    assert_eq!(rig.read(CR0ACK), 0);
}

#[test]
fn a_dropped_machine_with_violations_fails_its_test() {
    let dropped = std::panic::catch_unwind(|| {
        let rig = Rig::disabled(Config::qemu10());
        rig.write(0, 0);
    });
    assert!(dropped.is_err());
}
