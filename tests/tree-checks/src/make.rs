//! Makes a tree of bytes: well-formed, with the properties that the bindings know, and with values of every kind.

use crate::blob::Writer;

/// No tree is made larger; the gate has limits of its own.
const MOST_NODES: u32 = 40;
const DEEPEST: u32 = 12;

const NAMES: [&str; 40] = [
    "compatible",
    "reg",
    "ranges",
    "#address-cells",
    "#size-cells",
    "status",
    "phandle",
    "linux,phandle",
    "#iommu-cells",
    "iommus",
    "iommu-map",
    "iommu-map-mask",
    "mmu-masters",
    "#stream-id-cells",
    "stream-match-mask",
    "msi-map",
    "msi-map-mask",
    "msi-parent",
    "msi-controller",
    "#msi-cells",
    "iommu-addresses",
    "memory-region",
    "device_type",
    "dma-coherent",
    "dma-noncoherent",
    "interrupts",
    "interrupts-extended",
    "interrupt-names",
    "interrupt-parent",
    "interrupt-controller",
    "#interrupt-cells",
    "interrupt-map",
    "interrupt-map-mask",
    "#global-interrupts",
    "bus-range",
    "linux,pci-domain",
    "enable-method",
    "cpu-release-addr",
    "dma-ranges",
    "no-map",
];
const TEXTS: [&str; 22] = [
    "arm,smmu-v3",
    "arm,smmu-v2",
    "arm,smmu-v1",
    "arm,mmu-500",
    "arm,mmu-401",
    "qcom,smmu-500",
    "cavium,smmu-v2",
    "arm,gic-v3",
    "arm,gic-400",
    "arm,gic-v3-its",
    "arm,pl011",
    "arm,psci-1.0",
    "pci-host-ecam-generic",
    "pci",
    "memory",
    "cpu",
    "okay",
    "disabled",
    "psci",
    "spin-table",
    "eventq",
    "combined",
];
const NODES: [&str; 8] = [
    "reserved-memory",
    "memory",
    "cpus",
    "psci",
    "chosen",
    "aliases",
    "bus",
    "pcie",
];
const EXTREMES: [u32; 8] = [
    0,
    1,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX - 1,
    u32::MAX,
];

/// A tree made of `bytes`. Any bytes make one.
pub fn make_tree(bytes: &[u8]) -> Vec<u8> {
    let mut maker = Maker {
        bytes,
        writer: Writer::default(),
        nodes: 0,
        smmus: Vec::new(),
    };
    maker.node("", 0);
    maker.writer.finish()
}

struct Maker<'b> {
    bytes: &'b [u8],
    writer: Writer,
    nodes: u32,
    /// Phandles of SMMUs.
    smmus: Vec<u32>,
}

impl Maker<'_> {
    /// The next byte; zeros at the end.
    fn byte(&mut self) -> u32 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        u32::from(*first)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.byte() as usize % from.len()]
    }

    fn node(&mut self, name: &str, depth: u32) {
        self.nodes += 1;
        self.writer.begin(name);
        let mut used = [false; NAMES.len()];
        let kind = if depth == 0 { 3 } else { self.byte() % 8 };
        self.start(kind, &mut used);
        for _ in 0..self.byte() % 6 {
            let index = self.byte() as usize % NAMES.len();
            // Names are unique in a node: the gate would refuse the rest of the tree with it.
            if !std::mem::replace(&mut used[index], true) {
                let value = self.value(NAMES[index]);
                self.writer.property(NAMES[index], &value);
            }
        }
        if depth < DEEPEST {
            let children = self.byte() % 10;
            for child in 0..children {
                if self.nodes >= MOST_NODES || self.bytes.is_empty() {
                    break;
                }
                let base = self.pick(&NODES);
                let at = self.byte();
                let name = if at & 1 == 0 {
                    format!("{base}@{child}{at:x}")
                } else {
                    format!("{base}{child}")
                };
                let plain = depth == 0 && at & 6 == 6 && child == 0;
                self.node(if plain { base } else { &name }, depth + 1);
            }
        }
        self.writer.end();
    }

    /// What makes a node something that others can refer to, so that references mostly lead somewhere.
    fn start(&mut self, kind: u32, used: &mut [bool; NAMES.len()]) {
        let own = self.nodes;
        let mut put = |maker: &mut Self, name: &str, value: &[u8]| {
            if let Some(index) = NAMES.iter().position(|known| *known == name) {
                used[index] = true;
            }
            maker.writer.property(name, value);
        };
        let cell = |number: u32| number.to_be_bytes();
        let base = cell(own << 20);
        match kind {
            // An SMMU.
            0 | 1 => {
                let compatible = self.pick(&["arm,smmu-v3\0", "arm,mmu-500\0", "arm,mmu-401\0"]);
                let width = 1 + self.byte() % 2;
                put(self, "compatible", compatible.as_bytes());
                put(self, "reg", &[base, cell(0x2_0000)].concat());
                put(self, "#iommu-cells", &cell(width));
                put(self, "phandle", &cell(own));
                self.smmus.push(own);
            }
            // A host bridge.
            2 => put(self, "device_type", b"pci\0"),
            // A bus that hides nothing.
            3 => {
                put(self, "#address-cells", &cell(1));
                put(self, "#size-cells", &cell(1));
                put(self, "ranges", &[]);
            }
            // A master: to one of the nodes before it.
            4 | 5 => {
                let target = match self.byte() % 4 {
                    0 => 1 + self.byte() % own,
                    _ => self.smmu(),
                };
                let mut list = [cell(target), cell(self.byte() % 32)].concat();
                if self.byte().is_multiple_of(3) {
                    list.extend(cell(self.byte() % 4));
                }
                put(self, "iommus", &list);
                put(self, "phandle", &cell(own));
                put(self, "#stream-id-cells", &cell(1));
            }
            _ => {}
        }
    }

    fn value(&mut self, name: &str) -> Vec<u8> {
        match (name, self.byte() % 16) {
            // Mostly what the property is for, so that trees get beyond its first check.
            ("compatible" | "status" | "device_type" | "interrupt-names" | "enable-method", 1..) => {
                self.texts()
            }
            (
                "msi-controller" | "interrupt-controller" | "dma-coherent" | "dma-noncoherent" | "no-map",
                1..,
            ) => Vec::new(),
            // The gate refuses a whole tree for one of these that is no cell: bytes of fuzzers find that by themselves.
            ("phandle" | "linux,phandle", 0) => (self.byte() % 8).to_be_bytes().to_vec(),
            ("phandle" | "linux,phandle", _) => self.nodes.to_be_bytes().to_vec(),
            ("#address-cells" | "#size-cells" | "#interrupt-cells", _) => {
                (self.byte() % 4).to_be_bytes().to_vec()
            }
            (_, 1..) if name.starts_with('#') => (self.byte() % 4).to_be_bytes().to_vec(),
            ("interrupt-parent" | "iommu-map-mask" | "msi-map-mask" | "stream-match-mask", 2..) => {
                self.cell().to_be_bytes().to_vec()
            }
            (_, 0) => {
                let length = self.byte() % 40;
                (0..length).map(|_| self.byte().to_be_bytes()[3]).collect()
            }
            (_, 1) => self.texts(),
            _ => {
                let count = self.byte() % 32;
                (0..count).flat_map(|_| self.cell().to_be_bytes()).collect()
            }
        }
    }

    /// The phandle of some SMMU, if there is one.
    fn smmu(&mut self) -> u32 {
        let index = self.byte() as usize;
        self.smmus
            .get(index % self.smmus.len().max(1))
            .copied()
            .unwrap_or(1)
    }

    fn texts(&mut self) -> Vec<u8> {
        let count = 1 + self.byte() % 3;
        let texts = (0..count).map(|_| self.pick(&TEXTS));
        texts.flat_map(|text| [text.as_bytes(), &[0]].concat()).collect()
    }

    fn cell(&mut self) -> u32 {
        match self.byte() % 8 {
            0..=2 => self.byte() % 16,
            3 => self.byte() % (self.nodes + 3),
            4 => self.smmu(),
            5 => self.byte() << 8 | self.byte(),
            6 => self.pick(&EXTREMES),
            _ => self.byte() << 24 | self.byte() << 16 | self.byte() << 8 | self.byte(),
        }
    }
}
