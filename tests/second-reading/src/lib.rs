//! A second reading of the SMMU bindings of a device tree, to compare the first one with.
//!
//! The first reading is the hypervisor's own: the crates `devicetree` and `topology`. This one shares nothing with it, neither
//! code nor author: it was written from a description of how the bindings behave, without a look at the other, and the blob
//! is parsed by the reference compiler. So where the two agree, it is not because they copied a mistake.
//!
//! 1. Whoever compares runs `dtc -I dtb -O dts -q FILE`, with `-f` if the tree is broken on purpose, and hands over what it
//!    prints.
//! 2. [`Tree::parse`] makes a [`Tree`] of that text: nodes, and the bytes of their properties.
//! 3. [`Facts::of`] says what the bindings in it say, entry by entry, with what is broken in them. Nothing is refused and
//!    nothing repaired here: that is policy, and it is the first reading's.
//! 4. [`Streams::of`] says what those facts come to: which stream IDs each master has, and how each bus maps its IDs.
//!
//! ```
//! # use second_reading::{Facts, Streams, Tree};
//! let printed_by_dtc = r#"
//! /dts-v1/;
//! / {
//!     iommu@9050000 { compatible = "arm,smmu-v3"; #iommu-cells = <0x01>; phandle = <0x02>; };
//!     dma@a000000 { iommus = <0x02 0x30>; };
//! };"#;
//! let streams = Streams::of(&Facts::of(&Tree::parse(printed_by_dtc)?));
//! assert_eq!(streams.masters["/dma@a000000"].first().map(|stream| stream.id), Some(0x30));
//! # Ok::<(), second_reading::TextError>(())
//! ```
#![forbid(unsafe_code)]

mod facts;
mod reading;
mod streams;
mod text;
mod tree;
mod value;

pub use facts::{
    BrokenEntry, BrokenMaster, BrokenTuple, Defect, EmptyIommuMap, EmptyIommus, EmptyMmuMasters, Facts,
    ForeignEntry, ForeignTuple, IommuMapTuple, IommusEntry, ListedMaster, MapTuple, MmuMastersEntry, Smmu,
    StreamEntry,
};
pub use streams::{Stream, Streams, Window};
pub use text::{Problem, TextError};
pub use tree::{NodeRef, Tree};
