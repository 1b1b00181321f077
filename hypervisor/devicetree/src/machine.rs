//! The machine: memory, reservations, CPUs, firmware interface, and what the boot loader chose (DTSpec 3).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::address::AddressRange;
use crate::error::{Problem, ReadError};
use crate::node::{Node, NodeId};
use crate::tree::Tree;

/// A child of `/reserved-memory` with a fixed place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedRegion {
    /// The node.
    pub node: NodeId,
    /// Where it is.
    pub regions: Vec<AddressRange>,
    /// Whether nobody but its owner may map it.
    pub no_map: bool,
}

/// How a CPU is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnableMethod {
    /// By PSCI CPU_ON.
    Psci,
    /// It polls this address for an entry point.
    SpinTable {
        /// `cpu-release-addr`.
        release_address: u64,
    },
    /// Some other way.
    Other(String),
    /// Nothing is said: only the boot CPU can do without.
    Unknown,
}

/// A CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// The node.
    pub node: NodeId,
    /// The affinity fields of its MPIDR_EL1.
    pub mpidr: u64,
    /// How it is started.
    pub enable_method: EnableMethod,
    /// Whether its status lets it be used.
    pub enabled: bool,
}

/// The instruction that calls PSCI firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// SMC.
    Smc,
    /// HVC.
    Hvc,
}

/// The PSCI firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Psci {
    /// The node.
    pub node: NodeId,
    /// How to call it.
    pub conduit: Conduit,
    /// Whether it is version 0.2 or newer, which has standard function IDs.
    pub standard_ids: bool,
}

/// What the boot loader chose: the `/chosen` node, if there is one.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'t> {
    tree: &'t Tree,
    node: Option<Node<'t>>,
}

impl<'t> Chosen<'t> {
    /// The node itself.
    pub fn node(&self) -> Option<Node<'t>> {
        self.node
    }

    /// The command line.
    ///
    /// # Errors
    /// It is no printable text.
    pub fn bootargs(&self) -> Result<Option<&'t str>, ReadError> {
        self.node.map_or(Ok(None), |node| node.text("bootargs"))
    }

    /// Where the boot loader put the initrd, which is the bundle for us.
    ///
    /// # Errors
    /// Only one of the two addresses is there, or they are malformed or the wrong way round.
    pub fn initrd(&self) -> Result<Option<AddressRange>, ReadError> {
        const START: &str = "linux,initrd-start";
        const END: &str = "linux,initrd-end";
        let Some(node) = self.node.filter(|node| node.has(START) || node.has(END)) else {
            return Ok(None);
        };
        let start = node.required(START)?.number()?;
        let end = node.required(END)?.number()?;
        let size = end.checked_sub(start);
        let range = size.and_then(|size| AddressRange::new(start, size));
        let backwards = || Problem::OutOfRange {
            value: end,
            meaning: "before linux,initrd-start",
        };
        range.map(Some).ok_or_else(|| node.error(END, backwards()))
    }

    /// The console: its node, and the options behind the colon of `stdout-path`.
    pub fn stdout(&self) -> Option<(Node<'t>, Option<&'t str>)> {
        let path = self.node?.text("stdout-path").ok()??;
        let (path, options) = match path.split_once(':') {
            Some((path, options)) => (path, Some(options)),
            None => (path, None),
        };
        Some((self.tree.find(path)?, options))
    }
}

impl Tree {
    /// All memory, from every enabled node whose `device_type` is "memory".
    ///
    /// # Errors
    /// There is no such node, or one has no readable `reg`.
    pub fn memory_ranges(&self) -> Result<Vec<AddressRange>, ReadError> {
        let mut ranges = Vec::new();
        for node in self.root().children() {
            if matches!(node.text("device_type"), Ok(Some("memory"))) && node.is_enabled() {
                ranges.extend(node.regs()?.into_iter().filter(|range| !range.is_empty()));
            }
        }
        if ranges.is_empty() {
            let problem = Problem::NoSuchNode {
                wanted: "device_type = \"memory\" and a region in `reg`",
            };
            return Err(self.root().error("memory", problem));
        }
        Ok(ranges)
    }

    /// The enabled children of `/reserved-memory` that have a fixed place. Those with only a `size` are left to
    /// whoever allocates them.
    ///
    /// # Errors
    /// A child's `reg` is malformed: not knowing what is reserved, nothing around it is safe to use.
    pub fn reserved_memory(&self) -> Result<Vec<ReservedRegion>, ReadError> {
        let mut found = Vec::new();
        let Some(parent) = self.find("/reserved-memory") else {
            return Ok(found);
        };
        for node in parent
            .children()
            .filter(|node| node.has("reg") && node.is_enabled())
        {
            // `ranges` must be there and empty, but is often forgotten; the addresses are the CPU's either way.
            let regions = if parent.has("ranges") {
                node.regs()?
            } else {
                node.local_regs()?
            };
            found.push(ReservedRegion {
                node: node.id(),
                regions,
                no_map: node.has("no-map"),
            });
        }
        Ok(found)
    }

    /// What the boot loader chose.
    pub fn chosen(&self) -> Chosen<'_> {
        Chosen {
            tree: self,
            node: self.find("/chosen"),
        }
    }

    /// The CPUs in the order of the tree, enabled or not.
    ///
    /// # Errors
    /// A CPU has no readable `reg`, or a spin table without address.
    pub fn cpus(&self) -> Result<Vec<Cpu>, ReadError> {
        let Some(parent) = self.find("/cpus") else {
            return Ok(Vec::new());
        };
        let is_cpu = |node: &Node<'_>| matches!(node.text("device_type"), Ok(Some("cpu")));
        parent.children().filter(is_cpu).map(cpu).collect()
    }

    /// The PSCI firmware, if the tree describes one.
    ///
    /// # Errors
    /// Its `method` is missing or unknown.
    pub fn psci(&self) -> Result<Option<Psci>, ReadError> {
        const STANDARD: [&str; 2] = ["arm,psci-1.0", "arm,psci-0.2"];
        let all = [STANDARD[0], STANDARD[1], "arm,psci"];
        let Some(node) = self.compatible(&all).find(Node::is_enabled) else {
            return Ok(None);
        };
        let method = node.required("method")?;
        let conduit = match method.text()? {
            "smc" => Conduit::Smc,
            "hvc" => Conduit::Hvc,
            other => {
                let meaning = "no way to call PSCI (smc or hvc)";
                return Err(method.error(Problem::UnknownText {
                    value: other.to_string(),
                    meaning,
                }));
            }
        };
        Ok(Some(Psci {
            node: node.id(),
            conduit,
            standard_ids: node.is_compatible(&STANDARD),
        }))
    }
}

fn cpu(node: Node<'_>) -> Result<Cpu, ReadError> {
    let reg = node.required("reg")?;
    let mpidr = reg.number()?;
    let enable_method = match node.text("enable-method")? {
        None => EnableMethod::Unknown,
        Some("psci") => EnableMethod::Psci,
        Some("spin-table") => EnableMethod::SpinTable {
            release_address: node.required("cpu-release-addr")?.number()?,
        },
        Some(other) => EnableMethod::Other(other.to_string()),
    };
    Ok(Cpu {
        node: node.id(),
        mpidr,
        enable_method,
        enabled: node.is_enabled(),
    })
}
