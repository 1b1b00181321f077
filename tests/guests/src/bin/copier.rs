//! copier: a guest with a DMA engine that nothing isolates. It does honest copies first, then reads and writes what is not
//! its own.
//!
//! Bootargs name the targets, physical addresses as `NAME=0x...`: `alice`, `core`, and `engine`, where the engine's registers
//! are if the guest does not have it.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// On the host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use core::fmt;
    use guests::dma::{Copied, DmaEngine};
    use guests::ram::{Page, pattern, secret};
    use guests::{Machine, hypervisor, println, probe_read32};

    guests::entry!(run);

    const PAGE: u64 = 4096;
    /// Offsets in RAM.
    const BLOCK: u64 = 0x20_0000;
    const SENT: u64 = 0x20_1000;
    const RECEIVED: u64 = 0x20_2000;
    /// Bytes of a forbidden copy.
    const SIZE: u32 = 64;
    const WORDS: usize = SIZE as usize / 8;
    /// Where in alice's page it is read: it is written at its start, which must not spoil the reading.
    const SECRET_OFFSET: u64 = 0x800;
    /// A reserved field of the arm64 image header.
    const HEADER_RESERVED: u64 = 0x20;

    fn run(machine: Machine) {
        let memory = &machine.memory;
        println!("copier: up, memory {:#x}-{:#x}", memory.start, memory.end - 1);
        match hypervisor::psci_versions() {
            [Some(hvc), Some(smc)] => println!("psci {hvc} by hvc, {smc} by smc"),
            _ => println!("psci: NO ANSWER"),
        }
        if let Err(missing) = work(&machine) {
            println!("copier: {missing}");
        }
    }

    fn work(machine: &Machine) -> Result<(), &'static str> {
        let page = |offset| machine.page(offset, PAGE).ok_or("its memory is too small");
        let target = |name| machine.argument(name).ok_or("bootargs lack a target");
        let (alice, core) = (target("alice")?, target("core")?);
        let Some(engine) = DmaEngine::open(machine, page(BLOCK)?) else {
            let registers = target("engine")?;
            println!("no DMA engine in the device tree");
            // Who reaches its registers can copy anything.
            let prey = probe_read32(registers);
            match prey {
                None => println!("cpu read of the engine's registers at {registers:#x}: abort"),
                Some(word) => println!("cpu read of the engine's registers: SUCCEEDED ({word:#x})"),
            }
            ["write-alice", "read-alice", "write-core", "read-core"]
                .iter()
                .for_each(|name| report(name, prey.map(Prey::Word)));
            return Ok(());
        };
        let copier = Copier {
            machine,
            engine,
            sent: page(SENT)?,
            received: page(RECEIVED)?,
        };
        copier.introduce();
        copier.own_copy();
        report("write-alice", copier.write(alice, 1));
        report("read-alice", copier.read(alice + SECRET_OFFSET));
        report("write-core", copier.write(core + HEADER_RESERVED, 2));
        report("read-core", copier.read(core));
        Ok(())
    }

    struct Copier<'m> {
        machine: &'m Machine,
        engine: DmaEngine,
        sent: Page,
        received: Page,
    }

    impl Copier<'_> {
        fn introduce(&self) {
            let memory = self.machine.memory.start;
            let (registers, line, bus) = self.engine.describe(memory);
            println!("DMA engine at {registers:#x}, interrupt {line}; it calls {memory:#x} {bus:#x}");
        }

        /// Copies a page of its own.
        fn own_copy(&self) {
            let value = |word| pattern(7, word);
            self.sent.fill(value);
            self.received.fill(|_| 0);
            let (from, to) = (self.sent.address(), self.received.address());
            let end = self.copy(from, to, 4096);
            match self.received.differs(self.received.words(), value) {
                None => println!("dma copy, {PAGE} bytes from {from:#x} to {to:#x}: equal"),
                Some(word) => println!("dma copy: DIFFERENT at offset {:#x}", word * 8),
            }
            match end {
                Copied::Interrupt => println!("dma completion by interrupt"),
                Copied::Quietly => println!("dma completion without interrupt"),
                Copied::Failed => println!("dma completion: none"),
            }
        }

        fn copy(&self, from: u64, to: u64, size: u32) -> Copied {
            self.engine.copy(&self.machine.interrupts, from, to, size)
        }

        /// Copies a pattern there and back.
        fn write(&self, target: u64, seed: u64) -> Option<Prey> {
            let value = |word| pattern(seed, word);
            self.sent.fill(value);
            self.received.fill(|_| 0);
            self.copy(self.sent.address(), target, 8);
            self.copy(target, self.received.address(), 8);
            (self.received.read(0) == value(0)).then_some(Prey::Written { address: target })
        }

        /// Copies what is there.
        fn read(&self, target: u64) -> Option<Prey> {
            self.received.fill(|_| 0);
            self.copy(target, self.received.address(), SIZE);
            if self.received.differs(WORDS, secret).is_none() {
                Some(Prey::Secret)
            } else if self.received.differs(WORDS, |_| 0).is_some() {
                Some(Prey::Word(self.received.read32()))
            } else {
                None
            }
        }
    }

    /// What an attack brought.
    #[derive(Clone, Copy)]
    enum Prey {
        Written { address: u64 },
        Secret,
        Word(u32),
    }

    impl fmt::Display for Prey {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Prey::Written { address } => write!(f, "{address:#x} holds what it wrote"),
                Prey::Secret => write!(f, "alice's secret came"),
                Prey::Word(word) => write!(f, "{word:#x} came"),
            }
        }
    }

    fn report(name: &str, prey: Option<Prey>) {
        match prey {
            None => println!("attack {name} after: blocked"),
            Some(prey) => println!("attack {name} after: SUCCEEDED ({prey})"),
        }
    }
}
