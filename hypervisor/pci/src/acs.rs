//! Access control services: ports and functions are told to send to the root complex what they might hand to a peer,
//! because only there is an SMMU in its way.

use crate::{Bdf, Capability, ConfigSpace, Port, id};

/// The word that holds the capability register in its lower half and the control register in its upper half. What a
/// bit enables, the same bit of the other half says is there (PCIe 7.7.8.2, 7.7.8.3).
const REGISTERS: u16 = 4;
const CONTROL: u32 = 16;

const SOURCE_VALIDATION: u32 = 1 << 0;
const REQUEST_REDIRECT: u32 = 1 << 2;
const COMPLETION_REDIRECT: u32 = 1 << 3;
const UPSTREAM_FORWARDING: u32 = 1 << 4;
const EGRESS_CONTROL: u32 = 1 << 5;
const DIRECT_TRANSLATED: u32 = 1 << 6;

/// What sends requests and completions between peers to the root complex, whatever their address and requester ID.
const UPWARDS: u32 = SOURCE_VALIDATION | REDIRECT | UPSTREAM_FORWARDING;
const REDIRECT: u32 = REQUEST_REDIRECT | COMPLETION_REDIRECT;
/// What makes exceptions from redirection: a vector of peers, and the claim to be translated (PCIe 6.12.3).
const EXCEPTIONS: u32 = EGRESS_CONTROL | DIRECT_TRANSLATED;

/// Switches on what `bdf` has to send traffic between peers upwards, switches off the exceptions, and returns whether
/// that holds now. Only what is read back counts; all ones, which is nobody's answer, holds exceptions.
pub(crate) fn send_upwards(
    config: &(impl ConfigSpace + ?Sized),
    bdf: Bdf,
    port: Port,
    capabilities: &[Capability],
) -> bool {
    let mut access_control = capabilities
        .iter()
        .filter(|capability| capability.id == id::ACCESS_CONTROL);
    let Some(at) = access_control.next().map(|found| found.offset + REGISTERS) else {
        return false;
    };
    let found = config.read32(bdf, at);
    let wanted = found & !(EXCEPTIONS << CONTROL) | (found & UPWARDS) << CONTROL;
    config.write32(bdf, at, wanted);

    let now = config.read32(bdf, at);
    let (able, on) = (now, now >> CONTROL);
    if on & EXCEPTIONS != 0 {
        return false;
    }
    match port {
        // A root port may leave out what its root complex does anyway; we take its word only for what it shows.
        Port::Root | Port::Downstream => able & on & UPWARDS == UPWARDS,
        // Of the functions of one device, those that can reach each other must have both (PCIe 6.12.1.2). One that
        // has access control services without them says by that that it reaches no other function.
        Port::Endpoint | Port::Upstream => {
            let able = able & REDIRECT;
            (able == 0 || able == REDIRECT) && on & REDIRECT == able
        }
        // Never applicable to bridges to PCI and event collectors (PCIe 6.12), nor to what is not PCI Express.
        Port::ToPci | Port::FromPci | Port::Conventional | Port::Other(_) => false,
    }
}
