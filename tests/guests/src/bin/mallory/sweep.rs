//! Writing all over another guest's memory, for guests that cannot tell her where it hurts.

use crate::device::{Attacker, Buffers};
use core::ops::Range;
use guests::clock::Instant;
use guests::edu::{BUFFER_SIZE, Edu};
use guests::pci::Function;
use guests::{Machine, println};

/// The device that does it.
const DEVICE: Function = Function::new(3);
/// Bytes of one write: half of the device's buffer.
const SIZE: usize = BUFFER_SIZE / 2;

/// What she was told to write over: physical addresses, the way from one write to the next, and the time to begin.
pub(crate) struct Sweep {
    range: Range<u64>,
    step: u64,
    after_us: u64,
}

impl Sweep {
    /// From the boot arguments `sweep`, `sweep-end`, `sweep-step` in bytes, and `sweep-ms` since her start.
    pub(crate) fn from_bootargs(machine: &Machine) -> Option<Sweep> {
        Some(Sweep {
            range: machine.argument("sweep")?..machine.argument("sweep-end")?,
            step: machine.argument("sweep-step").filter(|step| *step != 0)?,
            after_us: machine.argument("sweep-ms")?.saturating_mul(1000),
        })
    }

    /// Writes, and says where.
    pub(crate) fn run(&self, machine: &Machine) -> Result<(), &'static str> {
        let start = Instant::now();
        let pci = machine.pci.ok_or("no PCI")?;
        let buffers = Buffers::new(machine).ok_or("her memory is too small")?;
        machine
            .interrupts
            .sleep_us(self.after_us.saturating_sub(start.elapsed_us()));
        let edu = Edu::open(&pci, DEVICE).ok_or("her device is absent")?;
        let mut attacker = Attacker::new(edu, &machine.interrupts, &buffers);
        println!(
            "sweep: begins, DMA {}",
            if attacker.moves_own_data() {
                "works"
            } else {
                "blocked"
            }
        );
        let mut target = self.range.start;
        let mut count = 0;
        while target < self.range.end {
            attacker.forbidden_write(target, SIZE, |_| WORD);
            count += 1;
            target = target.saturating_add(self.step);
        }
        println!(
            "sweep: {count} writes of {SIZE} bytes from {:#x} to {:#x}",
            self.range.start, self.range.end
        );
        Ok(())
    }
}

/// What she writes.
const WORD: u64 = u64::from_le_bytes(*b"MALLORY!");
