//! What mallory makes her device do.

use guests::Machine;
use guests::edu::{BUFFER_SIZE, Completion, Direction, Edu, Place, Transfer};
use guests::interrupts::Interrupts;
use guests::println;
use guests::ram::{Page, pattern};

/// Halves of the words that stand for "nothing came": what is in a buffer before.
const EMPTY: u64 = 0xeeee_eeee_eeee_eeee;
const FILLER: u64 = 0xf1f1_f1f1_f1f1_f1f1;
/// The device's buffer has two halves: one only ever holds what goes out, one what comes in. So what comes in
/// is never an old write of hers, even if her device goes live between two transfers.
const OUT_WINDOW: u64 = 0;
const IN_WINDOW: u64 = BUFFER_SIZE as u64 / 2;
/// Bytes of a plain transfer.
pub(crate) const SIZE: usize = 64;
/// Bytes of her own memory that the straddling write ends in.
pub(crate) const STRADDLE: u64 = BUFFER_SIZE as u64 / 2;

const PAGE: u64 = 4096;

/// Pages of her memory.
pub(crate) struct Buffers {
    out: Page,
    filler: Page,
    back: Page,
    /// The page she gives back.
    pub(crate) given: Page,
    /// The end of her memory.
    pub(crate) tail: Page,
}

impl Buffers {
    /// `None` if her memory is too small for them.
    pub(crate) fn new(machine: &Machine) -> Option<Buffers> {
        let size = machine.memory.end - machine.memory.start;
        Some(Buffers {
            out: machine.page(0x20_0000, PAGE)?,
            filler: machine.page(0x20_1000, PAGE)?,
            back: machine.page(0x20_2000, PAGE)?,
            given: machine.page(0x40_0000, PAGE)?,
            tail: machine.page(size.checked_sub(STRADDLE)?, STRADDLE)?,
        })
    }
}

/// A device under her control.
pub(crate) struct Attacker<'a> {
    edu: Edu,
    interrupts: &'a Interrupts,
    pub(crate) buffers: &'a Buffers,
    /// Makes every pattern a new one.
    seed: u64,
}

impl<'a> Attacker<'a> {
    pub(crate) fn new(edu: Edu, interrupts: &'a Interrupts, buffers: &'a Buffers) -> Attacker<'a> {
        buffers.filler.fill(|_| FILLER);
        Attacker {
            edu,
            interrupts,
            buffers,
            seed: edu.base(),
        }
    }

    /// A pattern that was never used.
    pub(crate) fn new_pattern(&mut self) -> impl Fn(usize) -> u64 + Copy + use<> {
        self.seed += 1;
        let seed = self.seed;
        move |word| pattern(seed, word)
    }

    /// Whether her device can move data from her memory to her memory.
    pub(crate) fn moves_own_data(&mut self) -> bool {
        let value = self.new_pattern();
        self.buffers.back.fill(|_| EMPTY);
        self.write(self.buffers.back.address(), SIZE, value);
        self.buffers.back.differs(SIZE / 8, value).is_none()
    }

    /// Says whether a transfer within her memory raises the device's interrupt, if she knows that without PCI.
    pub(crate) fn try_interrupt(&self) {
        let place = self.edu.place();
        let Place::Platform { line, .. } = place else {
            return;
        };
        self.interrupts.enable(line);
        let transfer = Transfer {
            direction: Direction::FromMemory,
            memory: self.buffers.filler.address(),
            window: IN_WINDOW,
            size: SIZE as u64,
        };
        match self.edu.transfer_by_interrupt(self.interrupts, line, transfer) {
            Completion::Interrupt => println!("device {place}: interrupt {line} came"),
            _ => println!("device {place}: NO INTERRUPT {line}"),
        }
    }

    /// Says what the device does next where it must not: the run compares what the core reports with it.
    pub(crate) fn announce(&self, direction: Direction, address: u64) {
        let place = self.edu.place();
        match direction {
            Direction::FromMemory => println!("dma {place}: read at {address:#x}"),
            Direction::ToMemory => println!("dma {place}: write at {address:#x}"),
        }
    }

    /// A write that must be blocked.
    pub(crate) fn forbidden_write(&self, target: u64, size: usize, value: impl Fn(usize) -> u64) {
        self.announce(Direction::ToMemory, target);
        self.write(target, size, value);
    }

    /// A read that must be blocked.
    pub(crate) fn forbidden_read(&self, target: u64, size: usize) -> Brought<'a> {
        self.announce(Direction::FromMemory, target);
        self.read(target, size)
    }

    /// Lets the device write `size` bytes of `value` at `target`, through its outgoing window.
    pub(crate) fn write(&self, target: u64, size: usize, value: impl Fn(usize) -> u64) {
        self.buffers.out.fill(value);
        self.transfer(
            Direction::FromMemory,
            self.buffers.out.address(),
            OUT_WINDOW,
            size,
        );
        self.transfer(Direction::ToMemory, target, OUT_WINDOW, size);
    }

    /// Lets the device read `size` bytes at `target`, and fetches what it got.
    pub(crate) fn read(&self, target: u64, size: usize) -> Brought<'a> {
        self.buffers.back.fill(|_| EMPTY);
        self.transfer(
            Direction::FromMemory,
            self.buffers.filler.address(),
            IN_WINDOW,
            size,
        );
        self.transfer(Direction::FromMemory, target, IN_WINDOW, size);
        self.transfer(Direction::ToMemory, self.buffers.back.address(), IN_WINDOW, size);
        Brought {
            page: &self.buffers.back,
            halves: size / 4,
        }
    }

    fn transfer(&self, direction: Direction, memory: u64, window: u64, size: usize) {
        // A blocked transfer completes like any other: what it did shows in memory only.
        self.edu.transfer(
            self.interrupts,
            Transfer {
                direction,
                memory,
                window,
                size: size as u64,
            },
        );
    }
}

/// What a read brought, as 32-bit words.
pub(crate) struct Brought<'a> {
    page: &'a Page,
    halves: usize,
}

impl Brought<'_> {
    fn halves(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.halves).map(|number| half(self.page.read(number / 2), number))
    }

    /// The first word that is neither zero nor what was in the buffers before.
    pub(crate) fn anything(&self) -> Option<u32> {
        let nothing = [0, half(EMPTY, 0), half(FILLER, 0)];
        self.halves().find(|word| !nothing.contains(word))
    }

    /// Whether a word came that is the same as that of `expected` at its place.
    pub(crate) fn any_of(&self, expected: impl Fn(usize) -> u64) -> bool {
        self.halves()
            .enumerate()
            .any(|(number, word)| word == half(expected(number / 2), number))
    }
}

/// The 32-bit half of a word that has the given number: the even ones come first in memory.
#[expect(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
fn half(word: u64, number: usize) -> u32 {
    if number.is_multiple_of(2) {
        word as u32
    } else {
        (word >> 32) as u32
    }
}
