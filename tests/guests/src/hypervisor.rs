//! Calls to the hypervisor.

use guest_abi::{PEERS_RUNNING, RELINQUISH, SUCCESS};
use smccc::psci::Version;
use smccc::{Hvc, Smc, hvc64, psci};

fn call(function: u32, first: u64, second: u64) -> i64 {
    let mut arguments = [0; 17];
    let [x1, x2, ..] = &mut arguments;
    *x1 = first;
    *x2 = second;
    let [answer, ..] = hvc64(function, arguments);
    answer.cast_signed()
}

/// Gives `[ipa, ipa + size)` back; what the hypervisor answered if it refused.
pub fn relinquish(ipa: u64, size: u64) -> Result<(), i64> {
    match call(RELINQUISH, ipa, size) {
        SUCCESS => Ok(()),
        refused => Err(refused),
    }
}

/// How many other guests are running; 0 if the hypervisor does not say.
pub fn peers_running() -> u64 {
    u64::try_from(call(PEERS_RUNNING, 0, 0)).unwrap_or(0)
}

/// The version of PSCI, asked for by HVC and by SMC; nothing where no version came.
pub fn psci_versions() -> [Option<Version>; 2] {
    [psci::version::<Hvc>(), psci::version::<Smc>()].map(Result::ok)
}

/// Starts the guest anew. It returns only if that was refused.
pub fn reset() {
    let _ = psci::system_reset::<Hvc>();
}

/// Turns the guest off.
pub fn power_off() -> ! {
    // An answer means that it was refused; there is nothing else to do then.
    let _ = psci::system_off::<Hvc>();
    loop {
        aarch64_cpu::asm::wfi();
    }
}
