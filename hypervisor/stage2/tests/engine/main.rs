//! Tests of the stage-2 engine on a strict machine.
//!
//! `cfg(test)` tells clippy that helpers are tests too (clippy.toml).

#[cfg(test)]
mod changes;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod geometry;
#[cfg(test)]
mod hardware;
#[cfg(test)]
mod model;
#[cfg(test)]
mod strictness;
