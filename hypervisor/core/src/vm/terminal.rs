//! A guest's console: its virtual UART, and the real one.

use super::Core;
use super::guest::{Devices, Guest};
use super::interrupts::Board;
use crate::console;
use vdev::layout::UART_INTERRUPT;
use vdev::pl011::Pl011;

impl Guest {
    /// The guest reads a register of its UART.
    pub(super) fn read_uart(&self, vcpu: usize, offset: u64, core: &dyn Core) -> u32 {
        let mut devices = self.devices.lock();
        self.access_uart(&mut devices, vcpu, core, |uart| uart.read(offset))
    }

    /// The guest writes a register of its UART.
    pub(super) fn write_uart(&self, vcpu: usize, offset: u64, value: u32, core: &dyn Core) {
        let has_console = console::owner() == Some(self.index);
        let mut devices = self.devices.lock();
        let byte = self.access_uart(&mut devices, vcpu, core, |uart| uart.write(offset, value));
        let line = byte
            .filter(|_| !has_console)
            .and_then(|byte| devices.output.push(byte));
        drop(devices);
        match byte {
            Some(byte) if has_console => console::write_raw(&[byte]),
            _ => line
                .iter()
                .for_each(|line| console::guest_line(self.name(), line)),
        }
    }

    /// Any access may make room for what is typed: reading it does, and so does turning the FIFO on.
    fn access_uart<T>(
        &self,
        devices: &mut Devices,
        vcpu: usize,
        core: &dyn Core,
        access: impl FnOnce(&mut Pl011) -> T,
    ) -> T {
        let had_room = devices.uart.has_room();
        let result = access(&mut devices.uart);
        self.settle_uart(devices, Some(vcpu));
        if devices.uart.has_room() && !had_room {
            core.input_read();
        }
        result
    }

    /// Whether its UART can receive another byte.
    pub fn has_input_room(&self) -> bool {
        self.devices.lock().uart.has_room()
    }

    /// Somebody typed this for it.
    pub fn receive(&self, byte: u8) {
        let mut devices = self.devices.lock();
        devices.uart.receive(byte);
        self.settle_uart(&mut devices, None);
    }

    /// Prints what it wrote of a line that is not complete, now that it has the console.
    pub fn show_unfinished_line(&self) {
        let unfinished = self.devices.lock().output.take();
        unfinished.iter().for_each(|line| console::write_raw(line));
    }

    /// Prints what it wrote of a line that it will not complete.
    pub(super) fn end_line(&self) {
        let unfinished = self.devices.lock().output.take();
        unfinished
            .iter()
            .for_each(|line| console::guest_line(self.name(), line));
    }

    /// Brings the UART's interrupt line up to date.
    fn settle_uart(&self, devices: &mut Devices, vcpu: Option<usize>) {
        let board = &mut Board { guest: self, vcpu };
        let level = devices.uart.interrupt();
        devices.gic.set_line(0, UART_INTERRUPT, level, board);
    }
}
