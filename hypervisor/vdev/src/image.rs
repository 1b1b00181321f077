//! The arm64 Image header (Linux, `Documentation/arch/arm64/booting.rst`): where a guest's image wants to lie.

/// A guest image whose header makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    bytes: &'a [u8],
    text_offset: u64,
    image_size: u64,
}

/// Why an image, or its place, is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is shorter than a header.
    #[error("the image has {0} bytes, less than the 64 of an arm64 Image header")]
    Short(usize),
    /// Not an arm64 Image.
    #[error("the image has no arm64 Image header: magic is {0:#x}, not 0x644d5241")]
    Magic(u32),
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
        "the image needs {needed:#x} bytes from the start of RAM, there are {available:#x} below the device tree"
    )]
    NoRoom {
        /// From the start of RAM to the end of the image.
        needed: u64,
        /// Up to the device tree.
        available: u64,
    },
    /// The device tree is larger than its place.
    #[error("the device tree has {0:#x} bytes, more than 2 MiB")]
    TreeTooLarge(u64),
}

/// Where things lie in a guest's first bank of memory, as offsets from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The image, which is also where the first vCPU begins.
    pub image: u64,
    /// The device tree.
    pub device_tree: u64,
}

const HEADER_SIZE: usize = 64;
const MAGIC: u32 = 0x644d_5241;
/// A device tree may take so much, and lies on a multiple of it.
const TREE_SIZE: u64 = 2 << 20;

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
        let [_, low, high, .., magic] = [word(0)?, word(8)?, word(16)?, word(24)?, word(HEADER_SIZE - 8)?];
        let magic = u32::try_from(magic & 0xffff_ffff).unwrap_or(0);
        if magic != MAGIC {
            return Err(Error::Magic(magic));
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
        })
    }

    /// The file's bytes. What the image needs beyond them is to be zero.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Finds places for the image and a device tree of `tree_size` bytes in a bank of `memory_size` bytes that begins
    /// on a multiple of 2 MiB. The tree goes to the last 2 MiB.
    ///
    /// # Errors
    /// They do not fit.
    pub fn place(&self, memory_size: u64, tree_size: u64) -> Result<Placement, Error> {
        if tree_size > TREE_SIZE {
            return Err(Error::TreeTooLarge(tree_size));
        }
        let needed = self.text_offset.saturating_add(self.image_size);
        let device_tree = memory_size.saturating_sub(TREE_SIZE) & !(TREE_SIZE - 1);
        if needed > device_tree {
            return Err(Error::NoRoom {
                needed,
                available: device_tree,
            });
        }
        Ok(Placement {
            image: self.text_offset,
            device_tree,
        })
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
    fn an_image_and_its_tree_find_their_places() {
        let file = file(0x8_0000, 0x2000, 0xa);
        let image = Image::new(&file).unwrap();
        assert_eq!(
            image.place(32 << 20, 0x1000),
            Ok(Placement {
                image: 0x8_0000,
                device_tree: 30 << 20
            })
        );
        assert_eq!(
            image.place((5 << 20) + 0x1000, 0x1000).unwrap().device_tree,
            2 << 20
        );
        assert_eq!(image.place(32 << 20, 3 << 20), Err(Error::TreeTooLarge(3 << 20)));
        assert_eq!(
            image.place(2 << 20, 16),
            Err(Error::NoRoom {
                needed: 0x8_2000,
                available: 0
            })
        );
        assert_eq!(
            image.place(0, 16),
            Err(Error::NoRoom {
                needed: 0x8_2000,
                available: 0
            })
        );
    }

    #[test]
    fn bad_headers_are_refused() {
        assert_eq!(Image::new(&[0; 10]), Err(Error::Short(10)));
        assert_eq!(Image::new(&[0; 63]), Err(Error::Short(63)));
        assert_eq!(Image::new(&[0; 64]), Err(Error::Magic(0)));
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
        fn places_lie_in_memory(offset: u64, size: u64, memory in 0u64..1 << 40, tree in 0u64..4 << 20) {
            let file = file(offset, size, 0);
            if let Ok(image) = Image::new(&file)
                && let Ok(place) = image.place(memory, tree)
            {
                prop_assert!(place.image + image.image_size <= place.device_tree);
                prop_assert!(place.device_tree + tree <= memory);
                prop_assert_eq!(place.device_tree % TREE_SIZE, 0);
            }
        }
    }
}
