//! Writes trees: the machine around a shape, and the nodes that all shapes are made of.

use vm_fdt::{Error, FdtWriter};

/// Path of the PCI host bridge, in trees that have one.
pub(crate) const HOST: &str = "/pcie";

/// The first phandle of each sort of node; the others of the sort follow.
pub(crate) const GIC: u32 = 0x1_0000;
pub(crate) const NEXUS: u32 = 0x2_0000;
pub(crate) const SMMU: u32 = 0x3_0000;
pub(crate) const MASTER: u32 = 0x4_0000;
pub(crate) const MSI: u32 = 0x5_0000;
pub(crate) const REGION: u32 = 0x6_0000;
pub(crate) const BRIDGE: u32 = 0x7_0000;

pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// A tree while it is written.
pub(crate) struct Writer(FdtWriter);

/// A blob: a root with one cell for addresses and one for sizes, a GIC, and what `body` writes.
pub(crate) fn machine(body: impl FnOnce(&mut Writer) -> Result) -> Result<Vec<u8>> {
    machine_with_gic(&["arm,gic-400".to_string()], body)
}

/// The same, with a GIC whose `compatible` is given.
pub(crate) fn machine_with_gic(
    compatible: &[String],
    body: impl FnOnce(&mut Writer) -> Result,
) -> Result<Vec<u8>> {
    let mut writer = Writer(FdtWriter::new()?);
    writer.node("", |w| {
        w.cells("#address-cells", &[1])?;
        w.cells("#size-cells", &[1])?;
        w.cells("interrupt-parent", &[GIC])?;
        w.node("interrupt-controller", |w| {
            w.0.property_string_list("compatible", compatible.to_vec())?;
            w.cells("phandle", &[GIC])?;
            w.cells("#interrupt-cells", &[3])?;
            w.cells("#address-cells", &[0])?;
            w.flag("interrupt-controller")
        })?;
        body(w)
    })?;
    writer.0.finish()
}

impl Writer {
    pub(crate) fn node(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Result) -> Result {
        let node = self.0.begin_node(name)?;
        body(self)?;
        self.0.end_node(node)
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> Result {
        self.0.property_array_u32(name, cells)
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) -> Result {
        self.0.property_string(name, text)
    }

    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result {
        self.0.property(name, bytes)
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result {
        self.0.property_null(name)
    }

    /// A bus that passes on the addresses of its children, with what `body` writes.
    pub(crate) fn bus(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Result) -> Result {
        self.node(name, |w| {
            w.cells("#address-cells", &[1])?;
            w.cells("#size-cells", &[1])?;
            w.flag("ranges")?;
            body(w)
        })
    }

    /// An SMMUv2 whose specifiers have `cells` cells.
    pub(crate) fn smmu(&mut self, index: u32, cells: u32, body: impl FnOnce(&mut Self) -> Result) -> Result {
        self.node(&format!("iommu@{index:x}"), |w| {
            w.text("compatible", "arm,mmu-500")?;
            w.cells("reg", &[index << 12, 0x1000])?;
            w.cells("phandle", &[SMMU + index])?;
            w.cells("#iommu-cells", &[cells])?;
            w.cells("#global-interrupts", &[1])?;
            body(w)
        })
    }

    /// A plain SMMU with two interrupts at the GIC.
    pub(crate) fn plain_smmu(&mut self, index: u32, cells: u32) -> Result {
        self.smmu(index, cells, |w| {
            w.cells("interrupts", &[0, index % 900, 4, 0, 1 + index % 900, 4])
        })
    }

    /// A controller of messages that tells devices apart.
    pub(crate) fn msi_controller(&mut self, index: u32) -> Result {
        self.node(&format!("msi@{index:x}"), |w| {
            w.cells("phandle", &[MSI + index])?;
            w.cells("#msi-cells", &[1])?;
            w.flag("msi-controller")
        })
    }

    /// A device with a phandle.
    pub(crate) fn device(&mut self, index: u32, body: impl FnOnce(&mut Self) -> Result) -> Result {
        self.node(&format!("dev@{index:x}"), |w| {
            w.cells("reg", &[index, 1])?;
            w.cells("phandle", &[MASTER + index])?;
            body(w)
        })
    }

    /// A device whose `iommus` is given.
    pub(crate) fn master(&mut self, index: u32, iommus: &[u32]) -> Result {
        self.device(index, |w| w.cells("iommus", iommus))
    }
}
