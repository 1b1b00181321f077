//! A panic ends the component, not the core.

use crate::host::Host;
use core::panic::PanicInfo;

/// Tells the core and never comes back. Before there is a core to tell, the watchdog ends the call.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let Some(host) = Host::get() else {
        loop {
            core::hint::spin_loop();
        }
    };
    match info.location() {
        Some(place) => host.panic(format_args!(
            "{} at {}:{}",
            info.message(),
            place.file(),
            place.line()
        )),
        None => host.panic(format_args!("{}", info.message())),
    }
}
