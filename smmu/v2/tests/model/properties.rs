//! Any sequence of operations on any kind of SMMU.

use crate::machine::{Kind, Sabotage, kinds};
use crate::operations::{Operation, operation};
use crate::world::World;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Sequences, unless `PROPTEST_CASES` says otherwise, and operations in each at most.
const CASES: u32 = 400;
const LENGTH: usize = 600;

/// Widths of input addresses that are tried, as far as the SMMU has them.
const WIDTHS: [u8; 5] = [36, 39, 40, 42, 48];

/// What was done in a run.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) operations: Cell<u64>,
    pub(crate) accesses: Cell<u64>,
}

/// Does all of `operations` on a new SMMU, up to what is wrong; in the end it has to be shut again.
pub(crate) fn run(
    kind: Kind,
    width: u8,
    sabotage: Sabotage,
    operations: &[Operation],
    done: &Done,
) -> Result<(), String> {
    let mut world = World::new(kind, width);
    world.verdict()?;
    world.sabotage(sabotage);
    for &operation in operations {
        done.operations.set(done.operations.get() + 1);
        let result = world.apply(operation);
        result.map_err(|what| format!("{operation:x?}: {what}"))?;
    }
    // What the end would notice is not what operations led to.
    world.sabotage(Sabotage::None);
    done.accesses
        .set(done.accesses.get() + world.spec.borrow().accesses);
    world.end()
}

fn seed() -> u64 {
    let given = std::env::var("SMMU_V2_SEED").ok();
    given.map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap())
}

pub(crate) fn runner(cases: u32, seed: u64) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Config::default()
    };
    // All zero is no seed. Without optimization another generator would take most of the time.
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes))
}

pub(crate) fn case() -> impl Strategy<Value = (usize, u8, Vec<Operation>)> {
    let kind = 0..kinds().len();
    let width = prop::sample::select(WIDTHS.to_vec());
    (kind, width, prop::collection::vec(operation(), 1..LENGTH))
}

/// Every access of every stream ends where the specification says, between any two changes too; every fault is told
/// as it happened; no rule is ever broken.
#[test]
fn who_reaches_what_is_what_the_specification_says() {
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.map_or(CASES, |cases| cases.parse().unwrap());
    let (seed, done, start) = (seed(), Done::default(), Instant::now());
    println!("SMMU_V2_SEED={seed}");
    let result = runner(cases, seed).run(&case(), |(kind, width, operations)| {
        run(kinds()[kind], width, Sabotage::None, &operations, &done).map_err(TestCaseError::fail)
    });
    let seconds = start.elapsed().as_secs();
    println!("{done:?} in {seconds} s");
    if let Err(TestError::Fail(why, input)) = result {
        panic!("SMMU_V2_SEED={seed}: {why}\n{input:#x?}");
    }
    result.unwrap();
}
