//! The memory's two views, and its checks.

use crate::{Memory, Rule};
use mmio::TableMemory;

#[test]
fn blocks_are_zero_and_aligned_exactly_as_asked_for() {
    let mut memory = Memory::coherent();
    for align in [8usize, 64, 0x1000, 0x10_0000] {
        let block = memory.allocate(0x100, align).unwrap();
        assert_eq!(block.address % align as u64, 0);
        assert_ne!(block.address % (align as u64 * 2), 0);
        assert_eq!(memory.read(block.address), 0);
    }
}

#[test]
fn a_write_is_seen_at_once_or_after_publish() {
    for (mut memory, early) in [(Memory::coherent(), 5), (Memory::non_coherent(), 0)] {
        let block = memory.allocate(0x100, 64).unwrap();
        memory.write(block.address, 5);
        assert_eq!(memory.read(block.address), 5);
        assert_eq!(memory.device_read(block.address), Some(early));
        assert_eq!(
            memory.first_unpublished(block.address, 0x100),
            Some(block.address)
        );
        memory.publish(block.address, 8);
        assert_eq!(memory.device_read(block.address), Some(5));
        assert_eq!(memory.first_unpublished(block.address, 0x100), None);
    }
}

#[test]
fn an_invalid_descriptor_in_place_of_another_makes_no_difference() {
    let mut memory = Memory::coherent();
    let block = memory.allocate(0x100, 64).unwrap();
    let (first, second) = (block.address, block.address + 8);
    memory.write(first, 0x1000);
    assert_eq!(memory.first_unpublished_descriptor(first, 0x100), None);
    memory.write(second, 0x1001);
    assert_eq!(memory.first_unpublished_descriptor(first, 0x100), Some(second));
    memory.publish(second, 8);
    memory.write(second, 0);
    assert_eq!(memory.first_unpublished_descriptor(first, 0x100), Some(second));
    memory.publish(second, 8);
    assert_eq!(memory.first_unpublished_descriptor(first, 0x100), None);
}

#[test]
fn publish_covers_its_range_in_words_or_in_lines() {
    for (mut memory, left) in [(Memory::coherent(), true), (Memory::non_coherent(), false)] {
        let block = memory.allocate(0x100, 64).unwrap();
        memory.write(block.address + 8, 1);
        memory.write(block.address + 64, 1);
        memory.publish(block.address, 8);
        assert_eq!(memory.first_unpublished(block.address, 64).is_some(), left);
        assert!(memory.first_unpublished(block.address + 64, 64).is_some());
    }
}

#[test]
fn what_hardware_wrote_is_read_after_receive() {
    for (mut memory, early) in [(Memory::coherent(), 5), (Memory::non_coherent(), 0)] {
        let block = memory.allocate(0x100, 64).unwrap();
        assert!(memory.device_write(block.address, 5));
        assert_eq!(memory.read(block.address), early);
        memory.violations().expect(Rule::Unreceived);
        memory.receive(block.address, 8);
        assert_eq!(memory.read(block.address), 5);
        assert!(memory.device_write(block.address, 6));
        memory.publish(block.address, 8);
        memory.read(block.address);
        memory.violations().expect(Rule::Unreceived);
    }
}

#[test]
fn stray_accesses_do_nothing_and_are_reported() {
    let mut memory = Memory::coherent();
    let block = memory.allocate(0x10, 8).unwrap();
    memory.write(block.address + 0x10, 1);
    memory.violations().expect(Rule::NotAllocated);
    assert_eq!(memory.read(block.address + 1), 0);
    memory.violations().expect(Rule::NotAllocated);
    memory.free(block);
    memory.free(block);
    memory.violations().expect(Rule::NotAllocated);
    assert_eq!(memory.read(block.address), 0);
    memory.violations().expect(Rule::NotAllocated);
}

#[test]
fn allocation_can_fail() {
    let mut memory = Memory::coherent();
    memory.set_budget(0x1000);
    assert!(memory.allocate(0x1001, 8).is_err());
    memory.fail_after(Some(1));
    let block = memory.allocate(0x1000, 8).unwrap();
    memory.free(block);
    assert!(memory.allocate(8, 8).is_err());
    memory.fail_after(None);
    assert!(memory.allocate(8, 8).is_ok());
    assert_eq!(memory.allocated().len(), 1);
}
