//! What firmware may have left switched on outside the command register.

use crate::config::offset;
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
/// - ARI forwarding: functions above 7, which no walk finds. One that firmware left mastering has the requester ID of a
///   device that is not there, which no SMMU lets through;
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
                if header_type == 1 && version >= EXPRESS_WITH_CONTROL_2 {
                    clear(capability.offset + DEVICE_CONTROL_2, ARI_FORWARDING);
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
