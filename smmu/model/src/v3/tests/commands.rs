//! The command queue: consumption, errors, what is refused.

use super::rig::*;
use crate::Rule;
use crate::v3::{Config, Fault, Line};
use mmio::TableMemory;

fn refused(config: Config, command: [u64; 2]) -> bool {
    let rig = Rig::new(config);
    rig.command(command);
    rig.clock.advance(10);
    let cons = rig.read(CMDQ_CONS);
    let error = cons >> 24;
    if error != 0 {
        rig.smmu.violations().expect(Rule::IllegalCommand);
        assert_eq!((error, rig.read(GERROR)), (1, 1));
        assert!(rig.smmu.take_irq(Line::GlobalError));
    }
    error != 0
}

#[test]
fn commands_that_are_not_offered_are_illegal() {
    let qemu = Config::qemu10();
    for command in [
        [0xfe, 0],
        [0x00, 0],
        [0x20, 0],                                   // EL2_ALL without HYP
        [0x40, 0],                                   // ATC_INV without ATS
        [0x41, 0],                                   // PRI_RESP without PRI
        [0x44, 0],                                   // RESUME without stalls
        [0x45, 0],                                   // STALL_TERM
        [0x46 | 3 << 12, 0],                         // CS = 3
        [0x03 | 1 << 10, 0],                         // SSec
        [0x46, 0x1000],                              // MSIAddress without MSI
        [0x30, 1],                                   // reserved bit
        [0x2a | 1 << 12, 0x1000],                    // NUM without TG
        [0x2a, 0x1000 | 3 << 8],                     // TTL without TG
        [0x2a, 0x1000 | 1 << 10],                    // NUM, SCALE, TTL all zero with TG
        [0x2a | 1 << 12, 0x1000 | 1 << 10 | 2 << 8], // not aligned to TTL
        [0x2a | 40 << 20, 1 << 10],                  // SCALE 40
        [0x2a, 1 << 44],                             // beyond IAS
        [0x2a, 1 << 52],                             // reserved address bits
        [0x04 | 1 << 32, 3],                         // range not aligned
    ] {
        assert!(refused(qemu, command), "{command:x?}");
    }
    assert!(refused(
        Config::no_range_invalidation(),
        tlbi_range(VMID, 0, 1, 0, 3)
    ));
    assert!(refused(Config::stage1_only(), tlbi_vmid(1)));
    assert!(refused(Config::stage2_only(), [0x10, 0]));
    assert!(refused(Config::small(), tlbi_vmid(0x100)), "VMID16");
}

#[test]
fn commands_that_are_offered_are_consumed() {
    for command in [
        CFGI_ALL,
        TLBI_ALL,
        SYNC,
        [0x46 | 1 << 12, 0],
        [0x46 | 2 << 12, 0],
        cfgi_ste(3, true),
        [0x04, 3],
        tlbi_vmid(3),
        tlbi_ipa(3, 0x4000_0000),
        tlbi_range(3, 0x4000_0000, 31, 39, 1),
        [0x10, 0],
        [0x01 | 5 << 32, 0],
    ] {
        assert!(!refused(Config::qemu10(), command), "{command:x?}");
    }
    assert!(
        !refused(Config::qemu10().with_idr(0, 9, 9, 1), [0x20, 0]),
        "EL2_ALL with HYP"
    );
}

#[test]
fn a_bad_command_halts_the_queue_until_it_is_replaced_and_acknowledged() {
    let rig = Rig::new(Config::qemu10());
    let slot = rig.command_queue.address + u64::from(rig.read(CMDQ_PROD) & 0x3f) * 16;
    let at = rig.read(CMDQ_PROD);
    rig.command([0xfe, 0]);
    rig.command(SYNC);
    rig.clock.advance(50);
    assert_eq!(rig.read(CMDQ_CONS), 1 << 24 | at);
    assert_eq!(rig.read(GERROR), 1);
    rig.smmu.violations().expect(Rule::IllegalCommand);
    rig.store(slot, SYNC[0]);
    rig.clock.advance(50);
    assert_eq!(rig.read(CMDQ_CONS), 1 << 24 | at, "nothing moves before GERRORN");
    rig.write(GERRORN, 1);
    rig.drain();
    assert_eq!(rig.read(CMDQ_CONS) & 0xf_ffff, at + 2);
    rig.settled();
}

#[test]
fn injected_errors_happen_once_where_asked_for() {
    for (fault, code) in [
        (Fault::CommandIllegal { after: 1 }, 1),
        (Fault::CommandAbort { after: 1 }, 2),
    ] {
        let rig = Rig::new(Config::qemu10());
        let before = rig.smmu.consumed().len();
        rig.smmu.inject(fault);
        for command in [tlbi_vmid(1), tlbi_vmid(2), SYNC] {
            rig.command(command);
        }
        rig.clock.advance(50);
        assert_eq!(rig.smmu.consumed()[before..], [tlbi_vmid(1)]);
        assert_eq!(rig.read(CMDQ_CONS) >> 24, code);
        // Tried again after the acknowledgement.
        rig.write(GERRORN, 1);
        rig.drain();
        assert_eq!(rig.smmu.consumed()[before..], [tlbi_vmid(1), tlbi_vmid(2), SYNC]);
    }
}

#[test]
fn a_replaced_invalidation_counts_after_the_restart() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.smmu.inject(Fault::CommandIllegal { after: 0 });
    rig.store(rig.entry(STREAM), 0);
    let slot = rig.command_queue.address + u64::from(rig.read(CMDQ_PROD) & 0x3f) * 16;
    rig.command(tlbi_vmid(1));
    rig.command(SYNC);
    rig.clock.advance(20);
    let [word0, word1] = cfgi_ste(STREAM, true);
    rig.store(slot, word0);
    rig.store(slot + 8, word1);
    rig.write(GERRORN, 1);
    rig.drain();
    rig.blocked(0, false, crate::v3::Event::C_BAD_STE);
    rig.settled();
}

#[test]
fn a_discarded_invalidation_leaves_nothing_behind() {
    let rig = Rig::new(Config::qemu10());
    rig.store(rig.entry(STREAM), 1);
    rig.store(rig.table.address + 8, 0x40);
    rig.smmu.inject(Fault::CommandIllegal { after: 0 });
    let slot = rig.command_queue.address + u64::from(rig.read(CMDQ_PROD) & 0x3f) * 16;
    rig.command(cfgi_ste(0x100, false));
    rig.command(SYNC);
    rig.clock.advance(20);
    rig.store(slot, SYNC[0]);
    rig.write(GERRORN, 1);
    rig.drain();
    assert_eq!(rig.smmu.unsettled().len(), 2, "{:?}", rig.smmu.unsettled());
    rig.commands(&[cfgi_ste(STREAM, true), cfgi_ste(0x100, false)]);
    rig.settled();
}

#[test]
fn a_stuck_queue_never_moves() {
    for fault in [Fault::CommandsStuck, Fault::SyncStuck] {
        let rig = Rig::new(Config::qemu10());
        rig.smmu.inject(fault);
        rig.command(SYNC);
        rig.clock.advance(10_000);
        assert_ne!(rig.read(CMDQ_CONS), rig.read(CMDQ_PROD));
        rig.smmu.repair();
        rig.drain();
    }
}

#[test]
fn nothing_is_consumed_without_time() {
    let rig = Rig::new(Config::qemu10());
    let cons = rig.read(CMDQ_CONS);
    rig.command(SYNC);
    for _ in 0..1000 {
        assert_eq!(rig.read(CMDQ_CONS), cons);
    }
    rig.drain();
}

#[test]
fn commands_take_the_time_they_are_given() {
    let mut config = Config::qemu10();
    (config.delays.command, config.delays.sync) = (7, 30);
    let rig = Rig::new(config);
    let (cons, start) = (rig.read(CMDQ_CONS), rig.clock.peek_us());
    rig.command(tlbi_vmid(1));
    rig.command(SYNC);
    rig.clock.advance(6);
    assert_eq!(rig.read(CMDQ_CONS), cons);
    rig.clock.advance(1);
    assert_eq!(rig.read(CMDQ_CONS), cons + 1);
    rig.drain();
    assert_eq!(rig.clock.peek_us() - start, 37);
}

#[test]
fn a_command_that_was_there_before_the_queue_was_enabled_counts() {
    let rig = Rig::disabled(Config::qemu10());
    rig.memory.clone().write(rig.command_queue.address, SYNC[0]);
    rig.write(CMDQ_PROD, 1);
    rig.write(CR0, 8);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn a_command_that_was_not_published_is_reported() {
    let rig = Rig::new(Config::qemu10());
    let prod = rig.read(CMDQ_PROD);
    let mut memory = rig.memory.clone();
    memory.write(rig.command_queue.address + u64::from(prod) * 16, SYNC[0]);
    rig.write(CMDQ_PROD, prod + 1);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn a_command_overwritten_before_it_was_consumed_is_reported() {
    let rig = Rig::new(Config::qemu10());
    let slot = rig.command_queue.address + u64::from(rig.read(CMDQ_PROD)) * 16;
    rig.command(tlbi_vmid(1));
    rig.store(slot, SYNC[0]);
    rig.smmu.violations().expect(Rule::QueueIndex);
}

#[test]
fn more_commands_than_slots_are_reported() {
    let rig = Rig::new(Config::small());
    let prod = rig.read(CMDQ_PROD);
    rig.smmu.inject(Fault::CommandsStuck);
    for _ in 0..8 {
        rig.command(TLBI_ALL);
    }
    rig.write(CMDQ_PROD, (prod + 9) & 0xf);
    rig.smmu.violations().expect(Rule::QueueIndex);
    rig.write(CMDQ_PROD, (prod + 7) & 0xf);
    rig.smmu.violations().expect(Rule::QueueIndex);
}

#[test]
fn a_wire_tells_of_a_sync_that_asked_for_it() {
    let rig = Rig::new(Config::qemu10());
    rig.sync();
    assert!(!rig.smmu.take_irq(Line::CommandSync));
    rig.command([0x46 | 1 << 12, 0]);
    rig.drain();
    assert!(rig.smmu.take_irq(Line::CommandSync));
}
