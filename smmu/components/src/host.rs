//! The core's services, called through their C pointers.
#![expect(unsafe_code, reason = "calling the core's functions is what this file is for")]

use core::fmt::{self, Write};
use driver_abi::{ABI_VERSION, FaultRecord, HostServices, Instance, LogLevel, MappedMemory, Status};
use mmio::{Clock, Region};
use spin::Once;

/// The longest line that a component prints, in bytes; longer ones are cut.
const LINE_SIZE: usize = 160;

static HOST: Once<Host> = Once::new();

/// The core, as a component sees it.
#[derive(Debug)]
pub struct Host {
    services: HostServices,
}

impl Host {
    /// Remembers the core's services, if they are of our ABI version. The first call decides.
    pub(crate) fn remember(services: &HostServices) -> Result<&'static Host, Status> {
        if services.abi_version != ABI_VERSION || services.size as usize != size_of::<HostServices>() {
            return Err(Status::UNSUPPORTED);
        }
        Ok(HOST.call_once(|| Host { services: *services }))
    }

    /// The core; `None` before the entry point was called.
    pub fn get() -> Option<&'static Host> {
        HOST.get()
    }

    /// The services themselves, for components that misuse them on purpose.
    pub fn services(&self) -> &HostServices {
        &self.services
    }

    /// Zeroed memory that is mapped for us and that an SMMU may be told of.
    pub(crate) fn allocate(&self, size: u64, align: u64) -> Result<MappedMemory, Status> {
        let mut memory = MappedMemory { address: 0, size: 0 };
        // SAFETY: the pointer is to a local variable, and is used during the call only.
        let status = unsafe { (self.services.allocate)(self.services.context, size, align, &raw mut memory) };
        check(status).map(|()| memory)
    }

    /// Gives memory back.
    pub(crate) fn free(&self, address: u64) -> Result<(), Status> {
        // SAFETY: no pointers; the core checks the address.
        check(unsafe { (self.services.free)(self.services.context, address) })
    }

    /// Makes writes visible to walkers that are not coherent.
    pub(crate) fn clean(&self, address: u64, size: u64) -> Result<(), Status> {
        // SAFETY: no pointers; the core checks the range.
        check(unsafe { (self.services.clean)(self.services.context, address, size) })
    }

    /// The registers of the SMMU that is being probed.
    pub fn map_registers(&self, address: u64, size: u64) -> Result<Region, Status> {
        let mut mapped = 0;
        // SAFETY: the pointer is to a local variable, and is used during the call only.
        check(unsafe { (self.services.map_mmio)(self.services.context, address, size, &raw mut mapped) })?;
        let (base, size) = (usize::try_from(mapped), usize::try_from(size));
        let (Ok(base), Ok(size)) = (base, size) else {
            return Err(Status::INVALID);
        };
        // SAFETY: the core has mapped these pages as device memory, for as long as the component is loaded, and
        // maps nothing else there.
        Ok(unsafe { Region::new(base, size) })
    }

    /// Microseconds since the core started.
    pub(crate) fn now_us(&self) -> u64 {
        // SAFETY: no pointers.
        unsafe { (self.services.now_us)(self.services.context) }
    }

    /// Prints a line.
    pub fn log(&self, level: LogLevel, text: fmt::Arguments<'_>) {
        let line = Line::new(text);
        let text = line.bytes();
        // SAFETY: pointer and length are those of a live slice.
        let status =
            unsafe { (self.services.log)(self.services.context, level, text.as_ptr(), text.len() as u64) };
        // A line that the core did not take is lost; there is nobody else to tell.
        let _ = status;
    }

    /// Reports a fault.
    pub(crate) fn report_fault(&self, instance: Instance, fault: &FaultRecord) {
        // SAFETY: the pointer is to a live record, and is used during the call only.
        let status = unsafe { (self.services.report_fault)(self.services.context, instance, fault) };
        // The core counts what it refuses.
        let _ = status;
    }

    /// Ends the component.
    pub(crate) fn panic(&self, text: fmt::Arguments<'_>) -> ! {
        let line = Line::new(text);
        let text = line.bytes();
        // SAFETY: pointer and length are those of a live slice.
        unsafe { (self.services.panic)(self.services.context, text.as_ptr(), text.len() as u64) }
    }
}

/// The core's clock.
#[derive(Debug, Clone, Copy)]
pub struct HostClock(pub(crate) &'static Host);

impl Clock for HostClock {
    fn now_us(&self) -> u64 {
        self.0.now_us()
    }
}

/// Turns a status into a result.
fn check(status: Status) -> Result<(), Status> {
    if status.is_ok() { Ok(()) } else { Err(status) }
}

/// A line of text on the stack.
struct Line {
    text: arrayvec::ArrayString<LINE_SIZE>,
}

impl Line {
    fn new(text: fmt::Arguments<'_>) -> Self {
        let mut line = Line {
            text: arrayvec::ArrayString::new(),
        };
        // It fails when the line is full; what fits is printed.
        let _ = line.write_fmt(text);
        line
    }

    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|character| self.text.try_push(character).map_err(|_| fmt::Error))
    }
}
