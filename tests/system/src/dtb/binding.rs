//! Describes the same machine by another binding.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::bench::PLATFORM;
use super::{Dtb, DtbError};

/// QEMU's names for the two nodes, and the name of the bench's SMMU.
const SMMU: &str = "smmuv3";
const BENCH_SMMU: &str = "iommu";
const HOST_BRIDGE: &str = "pcie";
const MAP: &str = "iommu-map";
const IOMMUS: &str = "iommus";
/// How far the map is moved to contradict the legacy binding.
const MOVED_BY: u32 = 0x100;

/// Which binding says what is behind the SMMU of QEMU's virt machine, or of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// `iommu-map` at the host bridge, as in QEMU's own tree, and `iommus` at the bench's platform device.
    #[default]
    Generic,
    /// `mmu-masters` at the SMMU, and nothing at the masters.
    Legacy,
    /// Both, and they say the same.
    Both,
    /// Both, and they say different things.
    Conflict,
    /// `mmu-masters` at every SMMU of the bench, and no `iommu-map`: each device is behind all of them.
    Everywhere,
}

/// A name that no binding has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no binding {0:?}: generic, legacy, both, conflict and everywhere are known")]
pub struct UnknownBinding(String);

impl Binding {
    const ALL: [(Binding, &str); 5] = [
        (Binding::Generic, "generic"),
        (Binding::Legacy, "legacy"),
        (Binding::Both, "both"),
        (Binding::Conflict, "conflict"),
        (Binding::Everywhere, "everywhere"),
    ];

    /// The tree of QEMU's virt machine or of the bench with an SMMU, rewritten.
    ///
    /// # Errors
    /// `blob` is no device tree, or has no SMMU, no host bridge or no `iommu-map` there.
    pub fn apply(self, blob: &[u8]) -> Result<Vec<u8>, DtbError> {
        let mut dtb = Dtb::parse(blob)?;
        let host = dtb.find(HOST_BRIDGE)?;
        // Without the map, `both` would be `legacy` under another name.
        let map = dtb.cells(host, MAP).ok_or(DtbError::NoProperty {
            node: HOST_BRIDGE,
            property: MAP,
        })?;
        // What the legacy binding needs. The stream ID that is listed says nothing: it is the requester ID.
        if self != Binding::Generic {
            dtb.set_cells(host, "#stream-id-cells", &[1]);
            let mut masters = vec![dtb.phandle(host), 0];
            masters.extend(platform_master(&mut dtb));
            let smmus = match self {
                Binding::Everywhere => dtb.find_all(BENCH_SMMU),
                _ => vec![smmu(&dtb)?],
            };
            // From behind, so that nodes that are still to come stay where they are.
            for smmu in smmus.into_iter().rev() {
                dtb.set_cells(smmu, "mmu-masters", &masters);
            }
        }
        let host = dtb.find(HOST_BRIDGE)?;
        match self {
            Binding::Generic | Binding::Both => {}
            Binding::Legacy | Binding::Everywhere => {
                dtb.unset(host, MAP);
                dtb.unset(host, "iommu-map-mask");
                if let Ok(platform) = dtb.find(PLATFORM) {
                    dtb.unset(platform, IOMMUS);
                }
            }
            Binding::Conflict => {
                let smmu = smmu(&dtb)?;
                let smmu_phandle = dtb.phandle(smmu);
                let host = dtb.find(HOST_BRIDGE)?;
                let requesters = map.get(3).copied().unwrap_or(0);
                dtb.set_cells(host, MAP, &[0, smmu_phandle, MOVED_BY, requesters]);
            }
        }
        Ok(dtb.emit())
    }
}

/// What `mmu-masters` says of the bench's platform device, if the tree has it: its phandle, and the stream in its `iommus`.
fn platform_master(dtb: &mut Dtb) -> Vec<u32> {
    let Ok(platform) = dtb.find(PLATFORM) else {
        return Vec::new();
    };
    let Some(&[_, stream]) = dtb.cells(platform, IOMMUS).as_deref() else {
        return Vec::new();
    };
    dtb.set_cells(platform, "#stream-id-cells", &[1]);
    vec![dtb.phandle(platform), stream]
}

fn smmu(dtb: &Dtb) -> Result<usize, DtbError> {
    dtb.find(BENCH_SMMU).or_else(|_| dtb.find(SMMU))
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Binding::ALL.iter().find(|(binding, _)| binding == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Binding {
    type Err = UnknownBinding;

    fn from_str(name: &str) -> Result<Self, UnknownBinding> {
        let known = Binding::ALL.iter().find(|(_, known)| *known == name);
        known
            .map(|(binding, _)| *binding)
            .ok_or_else(|| UnknownBinding(name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use vm_fdt::FdtWriter;

    use super::*;

    /// What QEMU says of its SMMU and its host bridge, in the order of its tree.
    fn blob() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        let host = fdt.begin_node("pcie@10000000").unwrap();
        fdt.property_array_u32("iommu-map", &[0, 0x8005, 0, 0x10000])
            .unwrap();
        fdt.property_u32("iommu-map-mask", 0xffff).unwrap();
        fdt.end_node(host).unwrap();
        let smmu = fdt.begin_node("smmuv3@9050000").unwrap();
        fdt.property_u32("phandle", 0x8005).unwrap();
        fdt.end_node(smmu).unwrap();
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    /// `mmu-masters` of the SMMU; phandle, `#stream-id-cells` and `iommu-map` of the host bridge.
    fn described(binding: Binding) -> [Option<Vec<u32>>; 4] {
        let dtb = Dtb::parse(&binding.apply(&blob()).unwrap()).unwrap();
        let (smmu, host) = (dtb.find(SMMU).unwrap(), dtb.find(HOST_BRIDGE).unwrap());
        [
            dtb.cells(smmu, "mmu-masters"),
            dtb.cells(host, "phandle"),
            dtb.cells(host, "#stream-id-cells"),
            dtb.cells(host, "iommu-map"),
        ]
    }

    #[test]
    fn each_binding_is_written_as_it_should_be() {
        let map = |output| Some(vec![0, 0x8005, output, 0x10000]);
        let legacy = || [Some(vec![0x8006, 0]), Some(vec![0x8006]), Some(vec![1])];
        let [masters, phandle, cells] = legacy();
        assert_eq!(described(Binding::Generic), [None, None, None, map(0)]);
        assert_eq!(described(Binding::Legacy), [masters, phandle, cells, None]);
        let [masters, phandle, cells] = legacy();
        assert_eq!(described(Binding::Both), [masters, phandle, cells, map(0)]);
        let [masters, phandle, cells] = legacy();
        assert_eq!(
            described(Binding::Conflict),
            [masters, phandle, cells, map(0x100)]
        );
    }

    #[test]
    fn the_legacy_binding_leaves_no_mask_behind() {
        let dtb = Dtb::parse(&Binding::Legacy.apply(&blob()).unwrap()).unwrap();
        assert_eq!(dtb.cells(dtb.find(HOST_BRIDGE).unwrap(), "iommu-map-mask"), None);
    }

    #[test]
    fn a_machine_without_smmu_has_no_binding() {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        let host = fdt.begin_node("pcie").unwrap();
        fdt.property_array_u32("iommu-map", &[0, 0x8005, 0, 0x10000])
            .unwrap();
        fdt.end_node(host).unwrap();
        fdt.end_node(root).unwrap();
        let blob = fdt.finish().unwrap();
        assert_eq!(Binding::Legacy.apply(&blob), Err(DtbError::NoNode("smmuv3")));
    }

    #[test]
    fn what_the_legacy_binding_describes_has_no_map_to_rewrite() {
        let legacy = Binding::Legacy.apply(&blob()).unwrap();
        let error = Binding::Both.apply(&legacy).unwrap_err();
        assert_eq!(error.to_string(), "node pcie of the device tree has no iommu-map");
    }

    #[test]
    fn what_was_rewritten_stays_as_it_is() {
        for binding in [Binding::Generic, Binding::Both, Binding::Conflict] {
            let once = binding.apply(&blob()).unwrap();
            assert_eq!(Dtb::parse(&binding.apply(&once).unwrap()), Dtb::parse(&once));
        }
    }

    #[test]
    fn names_are_read_back() {
        for (binding, name) in Binding::ALL {
            assert_eq!(name.parse(), Ok(binding));
            assert_eq!(binding.to_string(), name);
        }
        let error = "old".parse::<Binding>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("generic, legacy, both, conflict and everywhere"),
            "{error}"
        );
    }
}
