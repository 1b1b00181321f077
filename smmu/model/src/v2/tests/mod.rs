//! The model's own tests: a hand-written driver that does everything right, and what goes wrong when it does not.

mod banks;
mod faults;
mod formats;
mod instances;
mod properties;
mod registers;
mod rig;
mod streams;
mod tlb;
