//! The machine itself: it must catch what the engine must not do.

use crate::hardware::machine;
use mmio::{Block, TableMemory};
use stage2::{Attributes, Invalidate};

const PAGE: u64 = 1 << 12;

#[test]
#[should_panic(expected = "became")]
fn a_valid_entry_may_not_be_overwritten() {
    let (mut memory, _, mut space) = machine(39);
    space.map(&mut memory, 0, 0, 1 << 30, Attributes::RAM).unwrap();
    memory.write(space.root(), 0x4000_07fd);
}

#[test]
#[should_panic(expected = "no break before make")]
fn breaking_without_invalidation_is_not_enough() {
    let (mut memory, _, mut space) = machine(39);
    space.map(&mut memory, 0, 0, 1 << 30, Attributes::RAM).unwrap();
    memory.write(space.root(), 0);
    memory.publish(space.root(), 8);
    memory.write(space.root(), 0x4000_07fd);
}

#[test]
#[should_panic(expected = "no break before make")]
fn invalidating_before_publishing_is_not_enough() {
    let (mut memory, _, mut space) = machine(39);
    space.map(&mut memory, 0, 0, 1 << 30, Attributes::RAM).unwrap();
    memory.write(space.root(), 0);
    memory.invalidate(7, 0, 1 << 30).unwrap();
    memory.write(space.root(), 0x4000_07fd);
}

#[test]
#[should_panic(expected = "no break before make")]
fn invalidating_less_than_the_block_is_not_enough() {
    let (mut memory, _, mut space) = machine(39);
    space.map(&mut memory, 0, 0, 1 << 30, Attributes::RAM).unwrap();
    memory.write(space.root(), 0);
    memory.publish(space.root(), 8);
    memory.invalidate(7, 0, PAGE).unwrap();
    memory.write(space.root(), 0x4000_07fd);
}

#[test]
#[should_panic(expected = "linked before it is published")]
fn a_table_is_published_before_it_is_linked() {
    let (mut memory, _, space) = machine(39);
    let table = memory.allocate(4096, 4096).unwrap();
    memory.write(table.address, 0x4000_07fd);
    memory.write(space.root(), table.address | 3);
}

#[test]
#[should_panic(expected = "freed while")]
fn a_table_that_is_cached_may_not_be_freed() {
    let (mut memory, _, space) = machine(39);
    let Block { address, size } = memory.allocate(4096, 4096).unwrap();
    memory.write(space.root(), address | 3);
    memory.publish(space.root(), 8);
    memory.write(space.root(), 0);
    memory.publish(space.root(), 8);
    memory.free(Block { address, size });
}
