//! How the machine is turned off: by firmware, or, where the tree promises none, by a device of the board.

use crate::arch::{cpu, mmu, psci, timer::Now};
use devicetree::{Conduit, Node, Tree};
use mmio::{Bus, Clock, Reg, Region};
use spin::Once;
use tock_registers::interfaces::{ReadWriteable, Writeable};
use tock_registers::register_bitfields;

/// The power manager of Broadcom's chips from the BCM2835 on, as Linux knows it (`drivers/watchdog/bcm2835_wdt.c`); there is
/// no manual of it.
const POWER_MANAGER: [&str; 1] = ["brcm,bcm2835-pm-wdt"];

register_bitfields! {u32,
    /// Every write has the password, or goes nowhere.
    RSTC [
        PASSWORD OFFSET(24) NUMBITS(8) [Password = 0x5a],
        /// What the watchdog does.
        WRCFG OFFSET(4) NUMBITS(2) [FullReset = 2]
    ],
    RSTS [
        PASSWORD OFFSET(24) NUMBITS(8) [Password = 0x5a],
        /// The partition to boot from, every other bit of these; the boot loader takes 63 for a wish to stay off.
        PARTITION OFFSET(0) NUMBITS(12) [Halt = 0x555]
    ],
    WDOG [
        PASSWORD OFFSET(24) NUMBITS(8) [Password = 0x5a],
        /// In units of 16 microseconds.
        TIME OFFSET(0) NUMBITS(20) []
    ]
}

type Control<'b, B> = Reg<'b, B, u32, RSTC::Register, 0x1c>;
type Status<'b, B> = Reg<'b, B, u32, RSTS::Register, 0x20>;
type Watchdog<'b, B> = Reg<'b, B, u32, WDOG::Register, 0x24>;

/// How long the power manager may take.
const RESET_US: u64 = 100_000;

/// Bytes of its registers up to the last one that is used.
const WINDOW: u64 = 0x28;

static MANAGER: Once<Region> = Once::new();

/// Finds out what can turn the machine off. Without a promise of firmware in the tree an SMC may hang the CPU.
pub fn find(tree: &Tree) {
    if let Ok(Some(psci)) = tree.psci()
        && psci.conduit == Conduit::Smc
        && psci.standard_ids
    {
        psci::set_available();
    }
    let manager = tree.compatible(&POWER_MANAGER).find(Node::is_enabled);
    let registers = manager.and_then(|node| node.reg(0).ok());
    if let Some(window) = registers.filter(|window| window.size() >= WINDOW)
        && let Ok(registers) = mmu::map_device(window.address(), window.size())
    {
        MANAGER.call_once(|| registers);
    }
}

/// Turns the machine off; where that is not possible, this CPU rests for good.
pub fn off() -> ! {
    psci::system_off();
    if let Some(manager) = MANAGER.get() {
        halt(manager);
        Now.pause(RESET_US);
    }
    cpu::park()
}

fn halt(manager: &impl Bus) {
    Status::at(manager).modify(RSTS::PASSWORD::Password + RSTS::PARTITION::Halt);
    Watchdog::at(manager).write(WDOG::PASSWORD::Password + WDOG::TIME.val(10));
    Control::at(manager).modify(RSTC::PASSWORD::Password + RSTC::WRCFG::FullReset);
}
