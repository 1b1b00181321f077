//! What firmware may have left switched on outside the command register.

use crate::config::{change_command, command, offset};
use crate::enumerate::answers;
use crate::{Bdf, Capability, ConfigSpace, id};

/// MSI, message control in the upper half: enabled (PCI 6.8.1.3).
const MSI_ENABLE: u32 = 1 << 16;
/// MSI-X, message control in the upper half: enabled (PCI 6.8.2.3).
const MSI_X_ENABLE: u32 = 1 << 31;
/// ATS control register, the upper half of the word: enabled (PCIe 10.5.1.3).
const ATS_CONTROL: u16 = 4;
const ATS_ENABLE: u32 = 1 << 31;
/// SR-IOV control register: VF Enable and VF Memory Space Enable (PCIe 9.3.3.3).
const SR_IOV_CONTROL: u16 = 8;
const SR_IOV_ENABLE: u32 = 1 << 0 | 1 << 3;

/// PCI Express capabilities register, the upper half of the first word: its version. From 2 on there is device control 2
/// with ARI Forwarding Enable (PCIe 7.5.3.2, 7.5.3.16).
const EXPRESS_VERSION: u32 = 0xf << 16;
const EXPRESS_WITH_CONTROL_2: u32 = 2 << 16;
const DEVICE_CONTROL_2: u16 = 0x28;
const ARI_FORWARDING: u32 = 1 << 5;

/// Switches off what a guest with this function's registers must not find on, and what would act without it:
/// - message signalled interrupts: with them on, INTx stays silent, and they go where firmware wanted them;
/// - ATS: transactions that claim to be translated already;
/// - ARI forwarding: functions above 7, which no walk finds. While they can still be reached, they are silenced;
/// - virtual functions: requester IDs and address ranges that no walk finds, because they answer no vendor ID;
/// - the expansion ROM: an address range that is no BAR, so that it might lie on somebody's.
pub(crate) fn quieten(
    config: &(impl ConfigSpace + ?Sized),
    bdf: Bdf,
    header_type: u8,
    capabilities: &[Capability],
) {
    let clear = |at: u16, bits: u32| {
        let value = config.read32(bdf, at);
        if value & bits != 0 {
            config.write32(bdf, at, value & !bits);
        }
    };
    for capability in capabilities {
        match capability.id {
            id::MSI => clear(capability.offset, MSI_ENABLE),
            id::MSI_X => clear(capability.offset, MSI_X_ENABLE),
            id::ATS => clear(capability.offset + ATS_CONTROL, ATS_ENABLE),
            id::PCI_EXPRESS => {
                let version = config.read32(bdf, capability.offset) & EXPRESS_VERSION;
                let at = capability.offset + DEVICE_CONTROL_2;
                let forwards = || config.read32(bdf, at) & ARI_FORWARDING != 0;
                if header_type == 1 && version >= EXPRESS_WITH_CONTROL_2 && forwards() {
                    silence_forwarded(config, bdf);
                    clear(at, ARI_FORWARDING);
                }
            }
            id::SR_IOV => clear(capability.offset + SR_IOV_CONTROL, SR_IOV_ENABLE),
            _ => {}
        }
    }
    match header_type {
        0 => config.write32(bdf, offset::ROM, 0),
        1 => config.write32(bdf, offset::BRIDGE_ROM, 0),
        _ => {}
    }
}

/// Takes bus mastering from the functions above 7 behind a port that forwards to them. They have the numbers of further
/// devices (PCIe 6.13).
fn silence_forwarded(config: &(impl ConfigSpace + ?Sized), port: Bdf) {
    let [_, secondary, ..] = config.read32(port, offset::BUSES).to_le_bytes();
    if secondary == 0 {
        return;
    }
    for device in 1..32 {
        for function in (0..8).filter_map(|function| Bdf::new(secondary, device, function)) {
            if answers(config, function) {
                change_command(config, function, command::BUS_MASTER, command::INTX_DISABLE);
            }
        }
    }
}
