//! A guest's image: an arm64 Image, whose header says where it wants to lie (Linux,
//! `Documentation/arch/arm64/booting.rst`), or a flat binary, which lies where QEMU would put it.

/// A guest image whose header makes sense, or that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    bytes: &'a [u8],
    text_offset: u64,
    image_size: u64,
    /// It has no header: firmware such as U-Boot, which looks for its device tree at the start of RAM.
    flat: bool,
}

/// Why an image, or its place, is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is shorter than a header.
    #[error("the image has {0} bytes, less than the 64 of an arm64 Image header")]
    Short(usize),
    /// A file of another kind, which must not be taken for a flat binary.
    #[error("the image is {0}; give an uncompressed arm64 Image or a flat binary")]
    OtherFormat(&'static str),
    /// Big-endian kernels need firmware that we do not have.
    #[error("the image is big-endian")]
    BigEndian,
    /// The header says that the image is smaller than the file.
    #[error("image_size is {image_size:#x}, less than the {file:#x} bytes of the file")]
    Size {
        /// What the header says.
        image_size: u64,
        /// What the file has.
        file: u64,
    },
    /// It does not fit into memory.
    #[error(
        "image, RAM disk and device tree need {needed:#x} bytes of the guest's first bank of memory, which has {available:#x}"
    )]
    NoRoom {
        /// From the start of RAM.
        needed: u64,
        /// The bank's size.
        available: u64,
    },
}

/// Where things lie in a guest's first bank of memory, as offsets from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The image, which is also where the first vCPU begins.
    pub image: u64,
    /// The initial RAM disk, if there is one.
    pub initrd: u64,
    /// The device tree.
    pub device_tree: u64,
}

const HEADER_SIZE: usize = 64;
const MAGIC: u32 = 0x644d_5241;
/// A device tree may take so much, and lies on a multiple of it.
pub const TREE_SIZE: u64 = 2 << 20;
/// What a RAM disk begins on a multiple of.
const PAGE: u64 = 4096;
/// How files begin that are no flat binaries.
const OTHER_FORMATS: [(&[u8], &str); 5] = [
    (b"\x7fELF", "an ELF file"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\xfd7zXZ", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"MZ", "an EFI application without an arm64 Image header"),
];

impl<'a> Image<'a> {
    /// Reads the header of `bytes`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(bytes: &'a [u8]) -> Result<Image<'a>, Error> {
        let file = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let word = |at: usize| -> Result<u64, Error> {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
            word.map(u64::from_le_bytes).ok_or(Error::Short(bytes.len()))
        };
        let [_, low, high, .., magic] = [
            word(0)?,
            word(8)?,
            word(16)?,
            word(24)?,
            word(HEADER_SIZE - 8)? & 0xffff_ffff,
        ];
        if magic != u64::from(MAGIC) {
            return Image::flat(bytes, file);
        }
        if word(24)? & 1 != 0 {
            return Err(Error::BigEndian);
        }
        // An image size of zero is that of an old kernel, which does not know its bss.
        let image_size = if high == 0 { file } else { high };
        if image_size < file {
            return Err(Error::Size { image_size, file });
        }
        Ok(Image {
            bytes,
            text_offset: low,
            image_size,
            flat: false,
        })
    }

    fn flat(bytes: &'a [u8], file: u64) -> Result<Image<'a>, Error> {
        match OTHER_FORMATS.iter().find(|(start, _)| bytes.starts_with(start)) {
            Some((_, name)) => Err(Error::OtherFormat(name)),
            None => Ok(Image {
                bytes,
                text_offset: TREE_SIZE,
                image_size: file,
                flat: true,
            }),
        }
    }

    /// The file's bytes. What the image needs beyond them is to be zero.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Finds places for the image, a RAM disk of `initrd_size` bytes and a device tree of at most [`TREE_SIZE`] in a bank
    /// of `memory_size` bytes that begins on a multiple of 2 MiB. The tree goes to the last 2 MiB, or to the first for a
    /// flat binary, and the RAM disk as high as it can lie, so that an image may grow behind its end.
    ///
    /// # Errors
    /// They do not fit.
    pub fn place(&self, memory_size: u64, initrd_size: u64) -> Result<Placement, Error> {
        let (device_tree, end) = if self.flat {
            (0, memory_size)
        } else {
            let at = memory_size.saturating_sub(TREE_SIZE) & !(TREE_SIZE - 1);
            (at, at)
        };
        let image_end = self.text_offset.saturating_add(self.image_size);
        let initrd = end.checked_sub(initrd_size).map(|start| start & !(PAGE - 1));
        match initrd.filter(|initrd| image_end <= *initrd) {
            Some(initrd) => Ok(Placement {
                image: self.text_offset,
                initrd,
                device_tree,
            }),
            None => Err(Error::NoRoom {
                needed: image_end
                    .saturating_add(initrd_size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))
                    .saturating_add(if self.flat { 0 } else { TREE_SIZE }),
                available: memory_size,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        file[8..16].copy_from_slice(&text_offset.to_le_bytes());
        file[16..24].copy_from_slice(&image_size.to_le_bytes());
        file[24..32].copy_from_slice(&flags.to_le_bytes());
        file[56..60].copy_from_slice(b"ARM\x64");
        file
    }

    #[test]
    fn an_image_its_disk_and_its_tree_find_their_places() {
        let file = file(0x8_0000, 0x2000, 0xa);
        let image = Image::new(&file).unwrap();
        assert_eq!(
            image.place(32 << 20, 0x1001),
            Ok(Placement {
                image: 0x8_0000,
                initrd: (30 << 20) - 0x2000,
                device_tree: 30 << 20
            })
        );
        assert_eq!(image.place((5 << 20) + 0x1000, 0).unwrap().device_tree, 2 << 20);
        let needed = 0x8_2000 + TREE_SIZE;
        for available in [2 << 20, 0] {
            assert_eq!(
                image.place(available, 0),
                Err(Error::NoRoom { needed, available })
            );
        }
        assert!(image.place(32 << 20, 30 << 20).is_err());
        assert!(image.place(32 << 20, u64::MAX - PAGE).is_err());
    }

    #[test]
    fn a_flat_binary_lies_behind_its_tree() {
        let image = Image::new(&[0x14; 0x1000]).unwrap();
        let place = Placement {
            image: TREE_SIZE,
            initrd: (8 << 20) - 0x1000,
            device_tree: 0,
        };
        assert_eq!(image.place(8 << 20, 1), Ok(place));
        assert!(image.place(TREE_SIZE, 0).is_err());
    }

    #[test]
    fn bad_headers_are_refused() {
        assert_eq!(Image::new(&[0; 10]), Err(Error::Short(10)));
        assert_eq!(Image::new(&[0; 63]), Err(Error::Short(63)));
        for (start, name) in OTHER_FORMATS {
            let mut file = vec![0; 0x1000];
            file[..start.len()].copy_from_slice(start);
            assert_eq!(Image::new(&file), Err(Error::OtherFormat(name)));
        }
        assert_eq!(Image::new(&file(0, 0x2000, 1)), Err(Error::BigEndian));
        assert_eq!(
            Image::new(&file(0, 0xfff, 0)),
            Err(Error::Size {
                image_size: 0xfff,
                file: 0x1000
            })
        );
        assert!(Image::new(&file(0, 0, 0)).is_ok());
    }

    proptest! {
        /// Whatever the header says, what is placed lies in memory and apart.
        #[test]
        fn places_lie_in_memory(offset: u64, size: u64, flat: bool, memory in 0u64..1 << 40, initrd in 0u64..4 << 20) {
            let mut file = file(offset, size, 0);
            if flat {
                file[56] = 0;
            }
            if let Ok(image) = Image::new(&file)
                && let Ok(place) = image.place(memory, initrd)
            {
                let mut pieces = [
                    (place.image, image.image_size),
                    (place.initrd, initrd),
                    (place.device_tree, TREE_SIZE),
                ];
                pieces.sort_unstable();
                prop_assert!(pieces.is_sorted_by(|before, after| before.0 + before.1 <= after.0));
                prop_assert!(pieces[2].0 + pieces[2].1 <= memory);
                prop_assert_eq!(place.device_tree % TREE_SIZE, 0);
                prop_assert_eq!(place.initrd % PAGE, 0);
            }
        }
    }
}
