//! alice: a guest that does honest DMA, keeps a secret, and watches whether anybody touches her memory.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// On the host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use core::fmt;
    use guests::clock::Instant;
    use guests::edu::{Completion, Direction, Edu, Transfer};
    use guests::messages::{self, Messages};
    use guests::ram::{Page, pattern, secret};
    use guests::{Machine, bars, hypervisor, println};

    guests::entry!(run);

    const PAGE: u64 = 4096;
    /// Offsets in RAM of the pages that hold the secret.
    const SECRETS: [u64; 2] = [0, 0x10_0000];
    /// Offsets in RAM of the DMA buffers.
    const SENT: u64 = 0x20_0000;
    const RECEIVED: u64 = 0x20_1000;
    /// Between two rounds.
    const PAUSE_US: u64 = 100_000;
    /// How long she stays at least when asked to: for what is to happen while some guest runs.
    const STAY_US: u64 = 2_000_000;
    /// Between two reports.
    const REPORT_US: u64 = 1_000_000;

    fn run(machine: Machine) {
        println!(
            "alice: up, memory {:#x}-{:#x}",
            machine.memory.start,
            machine.memory.end - 1
        );
        let Some(mut alice) = Alice::new(&machine) else {
            println!("alice: her memory is too small");
            return;
        };
        alice.secrets.iter().for_each(|page| page.fill(secret));
        alice.find_device();
        alice.ring();
        let stays = machine.bootargs.split(' ').any(|word| word == "stay");
        let begin = Instant::now();
        let mut reported = None;
        loop {
            alice.round();
            if reported.is_none_or(|last: Instant| last.elapsed_us() >= REPORT_US) {
                println!("canary: {}", alice.canary());
                reported = Some(Instant::now());
            }
            let may_leave = !stays || begin.elapsed_us() >= STAY_US;
            if may_leave && hypervisor::peers_running() == 0 {
                break;
            }
            machine.interrupts.sleep_us(PAUSE_US);
        }
        println!("canary: {}", alice.canary());
        println!(
            "memory {}",
            if alice.canary() == Canary::Intact {
                "unchanged"
            } else {
                "CHANGED"
            }
        );
    }

    struct Alice<'m> {
        machine: &'m Machine,
        secrets: [Page; 2],
        sent: Page,
        received: Page,
        /// Her device and its interrupt.
        device: Option<(Edu, u32)>,
        /// Who takes its messages, if it sends some.
        messages: Option<Messages>,
        rounds: u64,
        /// What the last round's DMA brought was equal.
        dma_is_good: bool,
    }

    impl<'m> Alice<'m> {
        fn new(machine: &'m Machine) -> Option<Alice<'m>> {
            let [first, second] = SECRETS;
            Some(Alice {
                machine,
                secrets: [machine.page(first, PAGE)?, machine.page(second, PAGE)?],
                sent: machine.page(SENT, PAGE)?,
                received: machine.page(RECEIVED, PAGE)?,
                device: None,
                messages: None,
                rounds: 0,
                dma_is_good: true,
            })
        }

        fn find_device(&mut self) {
            if self.machine.bootargs.split(' ').any(|word| word == "victim-only") {
                return;
            }
            let Some(pci) = self.machine.pci else {
                println!("alice: no PCI");
                return;
            };
            let open = |function| Some((function, Edu::open(&pci, function)?));
            let Some((function, edu)) = pci.functions().find_map(open) else {
                println!("alice: no edu device");
                return;
            };
            if let Some(other) = self.machine.argument("move-bar-to") {
                bars::try_places(&pci, function, &edu, other, self.sent.address());
            }
            if self.machine.bootargs.split(' ').any(|word| word == "messages") {
                match Messages::of(self.machine, function) {
                    Ok(messages) => {
                        self.device = Some((edu, messages::LPI));
                        self.messages = Some(messages);
                    }
                    Err(what) => println!("alice: no messages: {what}"),
                }
                return;
            }
            let Some(line) = self.machine.interrupt_of(function) else {
                println!("alice: no interrupt for {function}");
                return;
            };
            self.machine.interrupts.enable(line);
            self.device = Some((edu, line));
        }

        /// Writes to the doorbell herself, and has her device write there as to memory. What comes of that is up to the
        /// device ID that the machine gives such writes: it must be none that is mapped.
        fn ring(&self) {
            let (Some(messages), Some((edu, _))) = (&self.messages, &self.device) else {
                return;
            };
            let interrupts = &self.machine.interrupts;
            println!(
                "doorbell, written by the CPU: {}",
                Came(messages.ring(interrupts))
            );
            self.sent.fill(|_| 0);
            let event = Transfer {
                direction: Direction::FromMemory,
                memory: self.sent.address(),
                window: 0,
                size: 4,
            };
            let ring = Transfer {
                direction: Direction::ToMemory,
                memory: messages.doorbell(),
                ..event
            };
            edu.transfer(interrupts, event);
            edu.transfer_quietly(ring);
            println!("doorbell, written by DMA: {}", Came(messages::came(interrupts)));
        }

        /// Sends a page to the device and gets it back elsewhere. The first result is printed, and any that differs
        /// from the one before.
        fn round(&mut self) {
            let Some((edu, line)) = self.device else { return };
            self.rounds += 1;
            let value = |word| pattern(self.rounds, word);
            self.sent.fill(value);
            self.received.fill(|_| 0);
            let out = Transfer {
                direction: Direction::FromMemory,
                memory: self.sent.address(),
                window: 0,
                size: PAGE,
            };
            let back = Transfer {
                direction: Direction::ToMemory,
                memory: self.received.address(),
                ..out
            };
            let ends = [out, back].map(|way| edu.transfer_by_interrupt(&self.machine.interrupts, line, way));
            let difference = self.received.differs(self.received.words(), value);
            let good = difference.is_none();
            if self.rounds == 1 || good != self.dma_is_good {
                let at = self.sent.address();
                match difference {
                    None => println!("dma out and back, {PAGE} bytes at {at:#x}: equal"),
                    Some(word) => {
                        println!(
                            "dma out and back, {PAGE} bytes at {at:#x}: DIFFERENT at offset {:#x}",
                            word * 8
                        );
                    }
                }
                match ends {
                    [Completion::Interrupt, Completion::Interrupt] => {
                        println!("dma completion by interrupt {line}")
                    }
                    [_, Completion::None] | [Completion::None, _] => println!("dma completion: none"),
                    _ => println!("dma completion by polling, no interrupt {line}"),
                }
            }
            self.dma_is_good = good;
        }

        fn canary(&self) -> Canary {
            let changed = self.secrets.iter().find_map(|page| {
                let word = page.differs(page.words(), secret)?;
                Some(page.address() + word as u64 * 8)
            });
            changed.map_or(Canary::Intact, |address| Canary::Changed { address })
        }
    }

    /// An interrupt that came, if any.
    struct Came(Option<u32>);

    impl fmt::Display for Came {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Some(id) => write!(f, "INTERRUPT {id}"),
                None => write!(f, "nothing comes"),
            }
        }
    }

    /// What became of the secret pages.
    #[derive(PartialEq, Eq)]
    enum Canary {
        Intact,
        Changed { address: u64 },
    }

    impl fmt::Display for Canary {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Canary::Intact => write!(f, "intact"),
                Canary::Changed { address } => write!(f, "CHANGED at {address:#x}"),
            }
        }
    }
}
