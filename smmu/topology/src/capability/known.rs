//! Devices that are known to do DMA, by `compatible`: one table of data.
//!
//! Only devices are listed of which that is sure, with the most general text that their kind has in the bindings. What
//! is missing here is not taken for harmless: nobody says of it that it does DMA, or that it does none.

const COPIES: &str = "copies between any addresses";
const VIDEOCORE: &str = "asks the VideoCore, which reaches all memory";
const USB: &str = "a USB controller, which moves packets to and from memory";
const SD: &str = "an SD and MMC controller, which moves blocks to and from memory";
const DISK: &str = "a disk controller, which moves blocks to and from memory";
const NETWORK: &str = "a network controller, which moves frames to and from memory";
const VIRTIO: &str = "a virtual device, which takes its queues from memory";
const CONFIG: &str = "QEMU's configuration, which it also copies to memory and from there";
const GPU: &str = "a GPU, which reads and writes memory through tables that its driver chooses";
const SCANOUT: &str = "scans pictures out of memory";
const WRITEBACK: &str = "writes the picture on the screen to memory";
const CAMERA: &str = "writes pictures of a camera to memory";
const VIDEO: &str = "reads and writes pictures in memory";
const CRYPTO: &str = "encrypts from memory to memory";

/// Each `compatible` and what such a device does with memory, sorted.
static KNOWN: [(&str, &str); 119] = [
    ("allwinner,sun50i-a64-crypto", CRYPTO),
    ("allwinner,sun50i-a64-csi", CAMERA),
    ("allwinner,sun50i-a64-emac", NETWORK),
    ("allwinner,sun50i-a64-emmc", SD),
    ("allwinner,sun50i-a64-mmc", SD),
    ("allwinner,sun8i-h3-emac", NETWORK),
    ("amd,xgbe-seattle-v1a", NETWORK),
    ("amlogic,meson-axg-mmc", SD),
    ("amlogic,meson-g12a-vpu", SCANOUT),
    ("amlogic,meson-gx-mmc", SD),
    ("arasan,sdhci-4.9a", SD),
    ("arasan,sdhci-5.1", SD),
    ("arasan,sdhci-8.9a", SD),
    ("arm,cryptocell-712-ree", CRYPTO),
    ("arm,hdlcd", SCANOUT),
    ("arm,mali-400", GPU),
    ("arm,mali-450", GPU),
    ("arm,mali-bifrost", GPU),
    ("arm,mali-dp500", SCANOUT),
    ("arm,mali-dp650", SCANOUT),
    ("arm,mali-t860", GPU),
    ("arm,mali-valhall-csf", GPU),
    ("arm,pl330", COPIES),
    ("brcm,2711-v3d", GPU),
    ("brcm,2712-v3d", GPU),
    ("brcm,bcm2708-usb", USB),
    ("brcm,bcm2711-dma", COPIES),
    ("brcm,bcm2711-emmc2", SD),
    ("brcm,bcm2711-genet-v5", NETWORK),
    ("brcm,bcm2711-hevc-dec", VIDEO),
    ("brcm,bcm2711-hvs", SCANOUT),
    ("brcm,bcm2711-vchiq", VIDEOCORE),
    ("brcm,bcm2712-dma", COPIES),
    ("brcm,bcm2712-hevc-dec", VIDEO),
    ("brcm,bcm2712-hvs", SCANOUT),
    ("brcm,bcm2712-mop", WRITEBACK),
    ("brcm,bcm2712-moplet", WRITEBACK),
    ("brcm,bcm2712-sdhci", SD),
    ("brcm,bcm2835-dma", COPIES),
    ("brcm,bcm2835-hvs", SCANOUT),
    ("brcm,bcm2835-mbox", VIDEOCORE),
    ("brcm,bcm2835-txp", WRITEBACK),
    ("brcm,bcm2835-unicam", CAMERA),
    ("brcm,bcm2835-usb", USB),
    ("brcm,bcm2835-v3d", GPU),
    ("brcm,bcm2835-vchiq", VIDEOCORE),
    ("brcm,bcm2836-vchiq", VIDEOCORE),
    ("brcm,genet-v5", NETWORK),
    ("brcm,sdhci-brcmstb", SD),
    ("brcm,vc4-v3d", GPU),
    ("brcm,xhci-brcm-v2", USB),
    ("cdns,gem", NETWORK),
    ("cdns,macb", NETWORK),
    ("cdns,usb3", USB),
    ("ceva,ahci-1v84", DISK),
    ("chipidea,usb2", USB),
    ("fsl,imx27-usb", USB),
    ("fsl,imx6sx-fec", NETWORK),
    ("fsl,imx6sx-lcdif", SCANOUT),
    ("fsl,imx7-csi", CAMERA),
    ("fsl,imx7d-usdhc", SD),
    ("fsl,imx8mm-usdhc", SD),
    ("fsl,imx8mp-isp", CAMERA),
    ("fsl,imx8mp-lcdif", SCANOUT),
    ("fsl,lx2160a-ahci", DISK),
    ("fsl,sec-v4.0", CRYPTO),
    ("generic-ahci", DISK),
    ("generic-ehci", USB),
    ("generic-ohci", USB),
    ("generic-xhci", USB),
    ("inside-secure,safexcel-eip197b", CRYPTO),
    ("jedec,ufs-2.0", DISK),
    ("marvell,armada-3700-neta", NETWORK),
    ("marvell,armada-7k-pp22", NETWORK),
    ("marvell,armada-cp110-sdhci", SD),
    ("mediatek,mt8183-mmc", SD),
    ("mediatek,mtk-xhci", USB),
    ("nxp,imx8mm-vpu-g1", VIDEO),
    ("nxp,imx8mq-dcss", SCANOUT),
    ("nxp,imx8mq-vpu-g1", VIDEO),
    ("nxp,imx8mq-vpu-g2", VIDEO),
    ("qcom,adreno", GPU),
    ("qcom,sdhci-msm-v4", SD),
    ("qcom,sdhci-msm-v5", SD),
    ("qcom,ufshc", DISK),
    ("qemu,fw-cfg-mmio", CONFIG),
    ("raspberrypi,hevc-dec", VIDEO),
    ("raspberrypi,pispbe", CAMERA),
    ("raspberrypi,rp1-cfe", CAMERA),
    ("raspberrypi,rp1-gem", NETWORK),
    ("renesas,etheravb-rcar-gen3", NETWORK),
    ("renesas,rcar-gen3-sdhi", SD),
    ("rockchip,rk3288-dw-mshc", SD),
    ("rockchip,rk3328-gmac", NETWORK),
    ("rockchip,rk3399-cif-isp", CAMERA),
    ("rockchip,rk3399-crypto", CRYPTO),
    ("rockchip,rk3399-gmac", NETWORK),
    ("rockchip,rk3399-rga", VIDEO),
    ("rockchip,rk3399-vdec", VIDEO),
    ("rockchip,rk3399-vop-big", SCANOUT),
    ("rockchip,rk3399-vop-lit", SCANOUT),
    ("rockchip,rk3399-vpu", VIDEO),
    ("rockchip,rk3568-vop", SCANOUT),
    ("rockchip,rk3588-av1-vpu", VIDEO),
    ("snps,dwc-ahci", DISK),
    ("snps,dwc2", USB),
    ("snps,dwc3", USB),
    ("snps,dwcmshc-sdhci", SD),
    ("snps,dwmac", NETWORK),
    ("snps,dwmac-4.20a", NETWORK),
    ("snps,dwmac-5.10a", NETWORK),
    ("ti,am62-sdhci", SD),
    ("ti,am654-sdhci-5.1", SD),
    ("virtio,mmio", VIRTIO),
    ("vivante,gc", GPU),
    ("xlnx,zynqmp-8.9a", SD),
    ("xlnx,zynqmp-dma-1.0", COPIES),
    ("xlnx,zynqmp-dpdma", SCANOUT),
    ("xlnx,zynqmp-gem", NETWORK),
];

/// The entry for a `compatible`, if there is one.
pub(super) fn find(compatible: &str) -> Option<(&'static str, &'static str)> {
    let found = KNOWN.binary_search_by_key(&compatible, |(name, _)| name);
    KNOWN.get(found.ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_stands_once() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, does) in KNOWN {
            assert_eq!(find(name), Some((name, does)));
        }
        // No such device does DMA by itself.
        for name in ["arm,pl011", "brcm,bcm2835-sdhci", "brcm,bcm2835", ""] {
            assert_eq!(find(name), None);
        }
    }
}
