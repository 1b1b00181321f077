//! Function-level reset: what one owner left in a function is gone before the next one has it.

use crate::config::{change_command, command, offset};
use crate::{Bdf, ConfigSpace, Fabric, Function, Space, acs, id, quiet};
use mmio::{Clock, wait_until};

/// Device capabilities of PCI Express, the second word: there is a function-level reset (PCIe 7.5.3.3).
const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
/// Device control in the lower half, device status in the upper one: reset now; requests are pending (PCIe 7.5.3.4).
const DEVICE_CONTROL: u16 = 8;
const DEVICE_CONTROL_2: u16 = 0x28;
const INITIATE_RESET: u32 = 1 << 15;
const TRANSACTIONS_PENDING: u32 = 1 << 21;
/// Power management control and status: the state in bits 1:0, D0 is zero (Power Management 1.2, 3.2.4).
const POWER_CONTROL: u16 = 4;
const POWER_STATE: u32 = 3;

/// How long a function may take to finish what it has sent, and how long it is left alone after that (PCIe 6.6.2).
const RESET_US: u64 = 100_000;
/// How long a function may take to answer after a reset (PCIe 6.6.1).
const ANSWER_US: u64 = 1_000_000;
/// How long it takes from D3hot to D0 (Power Management 1.2, table 5-6).
const WAKE_US: u64 = 10_000;

/// What was done to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// It was reset.
    Done,
    /// PCI has no reset for it. It is quiet: no bus mastering, no interrupts.
    Quiet,
}

/// A function did not come back from its reset as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// It is not there.
    #[error("it does not answer after its reset")]
    NoAnswer,
    /// A BAR does not hold the address that was written.
    #[error("its BAR {0} does not hold its address after the reset")]
    Bar(u8),
    /// It redirected traffic to peers, and does not any more.
    #[error("its access control services do not redirect after the reset what they did before")]
    Redirects,
}

impl Fabric {
    /// Resets `bdf`: bus mastering, interrupts and messages off, then PCI Express' function-level reset if it has one, then
    /// BARs, memory decoding and access control as they were. Waits are bounded.
    ///
    /// # Errors
    /// The function is not what it was, and nobody may have it.
    pub fn reset(
        &self,
        config: &(impl ConfigSpace + ?Sized),
        clock: &impl Clock,
        bdf: Bdf,
    ) -> Result<Reset, ResetError> {
        let function = self.get(bdf).ok_or(ResetError::NoAnswer)?;
        let before = config.read32(bdf, offset::COMMAND) & command::MEMORY;
        quieten(config, function);
        wake(config, clock, function);
        let done = reset_express(config, clock, function)?;
        restore(config, function, before)?;
        Ok(if done { Reset::Done } else { Reset::Quiet })
    }
}

fn quieten(config: &(impl ConfigSpace + ?Sized), function: &Function) {
    change_command(config, function.bdf, command::BUS_MASTER, command::INTX_DISABLE);
    quiet::quieten(config, function.bdf, 0, &function.capabilities);
}

/// Brings a function to D0, which it may leave without its registers; they are restored afterwards.
fn wake(config: &(impl ConfigSpace + ?Sized), clock: &impl Clock, function: &Function) {
    let Some(power) = function.capability(id::POWER) else {
        return;
    };
    let at = power.offset + POWER_CONTROL;
    let control = config.read32(function.bdf, at) & 0xffff;
    if control & POWER_STATE != 0 {
        config.write32(function.bdf, at, control & !POWER_STATE);
        clock.pause(WAKE_US);
    }
}

/// Whether there was a reset.
fn reset_express(
    config: &(impl ConfigSpace + ?Sized),
    clock: &impl Clock,
    function: &Function,
) -> Result<bool, ResetError> {
    let mut found = function.capabilities.iter();
    let able = found.find(|capability| {
        let [_, capabilities, ..] = capability.words;
        capability.id == id::PCI_EXPRESS && capabilities & FUNCTION_LEVEL_RESET != 0
    });
    let Some(express) = able else {
        return Ok(false);
    };
    let (bdf, at) = (function.bdf, express.offset + DEVICE_CONTROL);
    // It may have lost what it waits for; the reset is the way out.
    let _ = wait_until(clock, RESET_US, || {
        config.read32(bdf, at) & TRANSACTIONS_PENDING == 0
    });
    let control = config.read32(bdf, at) & 0xffff;
    // What firmware has agreed with the port above, sizes of payloads among it: a guest cannot set it.
    let version_2 = express
        .words
        .first()
        .is_some_and(|header| header >> 16 & 0xf >= 2);
    let control_2 = version_2.then(|| config.read32(bdf, express.offset + DEVICE_CONTROL_2) & 0xffff);
    config.write32(bdf, at, control | INITIATE_RESET);
    clock.pause(RESET_US);
    // One that needs longer may answer with another ID until it is ready (PCIe 2.3.2).
    let id = u32::from(function.device) << 16 | u32::from(function.vendor);
    let is_back = || config.read32(bdf, offset::ID) == id;
    wait_until(clock, ANSWER_US, is_back).map_err(|_| ResetError::NoAnswer)?;
    config.write32(bdf, at, control);
    if let Some(control_2) = control_2 {
        config.write32(bdf, express.offset + DEVICE_CONTROL_2, control_2);
    }
    Ok(true)
}

fn restore(config: &(impl ConfigSpace + ?Sized), function: &Function, memory: u32) -> Result<(), ResetError> {
    let bdf = function.bdf;
    quieten(config, function);
    if function.redirects && !acs::send_upwards(config, bdf, function.port, &function.capabilities) {
        return Err(ResetError::Redirects);
    }
    change_command(config, bdf, command::IO | command::MEMORY, 0);
    for bar in function
        .bars
        .iter()
        .filter(|bar| bar.space != Space::Io && bar.address != 0)
    {
        bar.write(config, bdf);
        if !bar.is_at_address(config, bdf) {
            return Err(ResetError::Bar(bar.index));
        }
    }
    change_command(config, bdf, 0, memory);
    Ok(())
}
