//! Memory and devices that a partition cannot have.

use super::*;

#[test]
fn memory_is_checked() {
    let memory = |values: &'static [u64]| move |raw: &mut Raw| raw.guests[1].memory = values.to_vec();
    refused(memory(&[]), &["memory", "at least one"]);
    refused(
        memory(&[0x4f00_0000, 16 << 20]),
        &["memory", "4 cells", "entries of 6"],
    );
    refused(
        memory(&[0x4f00_0800, 16 << 20, 0x4f00_0000]),
        &["memory = 0x4f000800", "0x1000", "align"],
    );
    refused(
        memory(&[0x4f00_0000, 0x20_0800, 0x4f00_0000]),
        &["memory = 0x200800", "align"],
    );
    refused(
        memory(&[0x4f00_0000, 16 << 20, 0x4f00_0001]),
        &["memory = 0x4f000001", "align"],
    );
    refused(
        memory(&[0x4f00_1000, 16 << 20, ANY_ADDRESS]),
        &["memory = 0x4f001000", "0x200000"],
    );
    refused(memory(&[0x4f00_0000, 0, 0x4f00_0000]), &["empty region"]);
    refused(
        memory(&[0x4f00_0000, 0x1000, 0x4f00_0000]),
        &["too small", "0x200000"],
    );
    refused(
        memory(&[IPA_END - 0x1000, 0x20_0000, 0x4f00_0000]),
        &["ends at or beyond 0x1000000000000"],
    );
    refused(memory(&[!0xfff, 0x20_0000, 0x4f00_0000]), &["ends at or beyond"]);
    refused(
        memory(&[0x4f00_0000, 0x20_0000, !0xfff & !(1 << 12)]),
        &["ends at or beyond"],
    );
    refused(
        memory(&[0x4f00_0000, !0xfff, 0x4f00_0000]),
        &["ends at or beyond"],
    );
    refused(
        memory(&[
            0x4f00_0000,
            0x20_0000,
            0x4f00_0000,
            0x4f1f_f000,
            0x1000,
            0x6000_0000,
        ]),
        &["IPA 0x4f1ff000", "overlaps 0x200000 bytes", "mallory"],
    );
    refused(
        memory(&[0x4f00_0000, 0x110_0000, 0x4f00_0000]),
        &["PA 0x4f000000", "overlaps", "PA 0x50000000 of alice"],
    );
    refused(
        memory(&[
            0x4f00_0000,
            0x20_0000,
            0x6000_0000,
            0x5f00_0000,
            0x20_0000,
            0x6010_0000,
        ]),
        &["PA 0x60100000", "overlaps", "of mallory"],
    );
    refused(
        |raw| raw.guests[1].memory = [0, 0x20_0000, 0].repeat(9),
        &["memory = 9", "more than 8"],
    );
}

#[test]
fn devices_are_checked() {
    let place = "/guest@1/device@0 (guest mallory)";
    let device = |change: fn(&mut RawDevice)| move |raw: &mut Raw| change(&mut raw.guests[1].devices[0]);
    refused(
        device(|device| device.pci = Some("00:02.0")),
        &[place, "pci = 00:02.0", "0000:00:01.0"],
    );
    refused(
        device(|device| device.pci = Some("0000:00:20.0")),
        &["pci = 0000:00:20.0"],
    );
    refused(
        device(|device| device.pci = Some("0000:00:01.8")),
        &["pci = 0000:00:01.8"],
    );
    refused(
        device(|device| device.pci = Some("0000:0:001.0")),
        &["pci = 0000:0:001.0"],
    );
    refused(
        device(|device| device.pci = Some("+000:00:01.0")),
        &["pci = +000:00:01.0"],
    );
    refused(device(|device| device.pci = None), &[place, "exactly one name"]);
    refused(
        device(|device| device.path = Some("/a")),
        &[place, "exactly one name"],
    );
    refused(
        device(|device| (device.pci, device.path) = (None, Some("soc/dma"))),
        &["path = soc/dma", "begins with /"],
    );
    for wait in ["device", "slot"] {
        let platform = move |raw: &mut Raw| {
            let device = &mut raw.guests[1].devices[0];
            (device.pci, device.path, device.wait) = (None, Some("/soc/dma@7e007000"), wait);
        };
        refused(
            platform,
            &["device = /soc/dma@7e007000", "cannot arrive", "wait = \"guest\""],
        );
    }
    refused(
        device(|device| device.wait = "maybe"),
        &["wait = maybe", "guest, device, slot and no"],
    );
    refused(
        device(|device| device.dma = "open"),
        &["dma = open", "isolated and trusted"],
    );
    refused(
        device(|device| device.on_fault = "panic"),
        &["on-fault = panic", "stop-guest"],
    );
    refused(
        device(|device| device.pci = Some("0000:00:01.0")),
        &["device = 0000:00:01.0", "given to alice"],
    );
    refused(
        |raw| raw.guests[0].devices = vec![EDU; 2],
        &["/guest@0", "device = 0000:00:01.0", "given to alice"],
    );
    refused(
        |raw| raw.guests[0].devices = vec![EDU; MAX_DEVICES + 1],
        &["devices = 17", "fewer"],
    );
}
