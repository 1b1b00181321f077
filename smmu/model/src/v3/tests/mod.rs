//! The model's own tests: a hand-written driver that does everything right, and what goes wrong when it does not.

mod commands;
mod entries;
mod events;
mod geometry;
mod invalidation;
mod properties;
mod registers;
mod rig;
