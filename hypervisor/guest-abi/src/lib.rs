//! What a guest may ask the hypervisor for, beyond PSCI: hypercall numbers and answers.
//!
//! Calls follow the SMC Calling Convention (Arm DEN 0028): function number in `x0` (its upper half zero), arguments
//! from `x1` on, answer in `x0`; `x4` to `x30` are kept. `HVC #0` and `SMC #0` mean the same. Our numbers
//! are fast calls, 64-bit, of the range owned by the vendor's hypervisor (DEN 0028 table 6-1: owner 6).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// Gives pages back, until the guest resets itself: `RELINQUISH(ipa, size) -> status`.
///
/// `ipa` and `size` are multiples of 4 KiB; the range lies in the caller's RAM and none of it was given back before.
/// On [`SUCCESS`] neither the caller's CPUs nor its devices reach the pages any more. On
/// [`INVALID_PARAMETER`] nothing changed.
pub const RELINQUISH: u32 = vendor_call(1);

/// How many other guests are still running: `PEERS_RUNNING() -> number`.
pub const PEERS_RUNNING: u32 = vendor_call(2);

/// DEN 0028 section 5.4: the call did what it says.
pub const SUCCESS: i64 = 0;
/// DEN 0028 section 5.4: there is no such function.
pub const NOT_SUPPORTED: i64 = -1;
/// DEN 0028 section 5.4: an argument is out of range.
pub const INVALID_PARAMETER: i64 = -3;

/// The number of the vendor hypervisor's function `number`.
const fn vendor_call(number: u32) -> u32 {
    const FAST: u32 = 1 << 31;
    const WIDE: u32 = 1 << 30;
    const VENDOR_HYPERVISOR: u32 = 6 << 24;
    FAST | WIDE | VENDOR_HYPERVISOR | number
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_numbers_lie_in_the_vendor_hypervisors_range() {
        assert_eq!(super::RELINQUISH, 0xc600_0001);
        assert_eq!(super::PEERS_RUNNING, 0xc600_0002);
    }
}
