//! What a driver did wrong, written down for the test.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

/// The rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A read-only register was written.
    ReadOnly,
    /// A reserved bit is not zero, or a reserved encoding is used.
    Reserved,
    /// There is no such register, or it was accessed with the wrong width.
    NoSuchRegister,
    /// A register was written while what it configures is enabled.
    Guarded,
    /// A control register was changed before its last change was acknowledged.
    AckOutstanding,
    /// GBPA was written without UPDATE, or while UPDATE was set.
    GbpaProtocol,
    /// GERRORN acknowledges an error that is not active.
    GerrorProtocol,
    /// An address is not aligned as its structure needs.
    Misaligned,
    /// A size or an address is larger than the ID registers allow.
    TooLarge,
    /// Something was enabled that depends on a register or a cache whose reset state is UNKNOWN.
    Unknown,
    /// A queue index moved where it must not.
    QueueIndex,
    /// Hardware was told of memory whose writes were not published.
    Unpublished,
    /// The CPU read what hardware wrote, without [`receive`](mmio::TableMemory::receive) before.
    Unreceived,
    /// Hardware may still use memory that was given back, or was never allocated.
    NotAllocated,
    /// A stream table entry is not legal.
    IllegalSte,
    /// A stream table descriptor is not legal.
    IllegalL1,
    /// A mixture of an old and a new stream table entry was visible.
    HalfWritten,
    /// A command is not legal.
    IllegalCommand,
    /// A range invalidation's TG or TTL does not fit the entries it covers.
    RangeHint,
    /// A translation table descriptor is not legal.
    IllegalDescriptor,
    /// Two translations of one address can be cached at once.
    BreakBeforeMake,
    /// A VMID is used for two address spaces.
    VmidReuse,
    /// A stream may be in bypass.
    Bypass,
    /// SMMUv2: a stream ID can match several stream mappings.
    StreamMatchConflict,
    /// SMMUv2: a stream mapping names a context bank that does not exist.
    IllegalStreamMapping,
    /// SMMUv2: a context bank's registers do not fit each other, its kind, or what the SMMU offers.
    IllegalContextBank,
    /// SMMUv2: a secure register was written where its non-secure copy was meant.
    SecureRegister,
    /// SMMUv2: a transaction was resumed that is not stalled.
    StallProtocol,
    /// SMMUv2: two instances that are one SMMU hold different things.
    InstancesDiffer,
    /// SMMUv2: what an erratum of the implementation forbids.
    Erratum,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?}: {subject} = {value:#x}: {detail} [{section}]")]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Register, field, structure or address.
    pub subject: String,
    /// The offending value.
    pub value: u64,
    /// What is wrong with it.
    pub detail: String,
    /// Where the manual says so.
    pub section: &'static str,
}

#[derive(Default)]
struct Log(RefCell<Vec<Violation>>);

/// The violations of one simulated machine. A handle: clones share the list.
///
/// When the last handle is dropped with violations that nobody took, the test fails (with the feature `std`).
#[derive(Clone, Default)]
pub struct Violations(Rc<Log>);

impl Violations {
    /// Removes and returns what was recorded so far.
    pub fn take(&self) -> Vec<Violation> {
        self.0.0.take()
    }

    /// The rules that were broken so far, in order; the list stays.
    pub fn rules(&self) -> Vec<Rule> {
        self.0.0.borrow().iter().map(|violation| violation.rule).collect()
    }

    /// Removes the violations, which must all be of `rule`, and at least one.
    ///
    /// # Panics
    /// When there is none, or one of another rule.
    #[track_caller]
    pub fn expect(&self, rule: Rule) {
        let found = self.take();
        assert!(
            !found.is_empty() && found.iter().all(|violation| violation.rule == rule),
            "expected {rule:?}, found {}",
            listed(&found)
        );
    }

    /// Checks that no rule was broken.
    ///
    /// # Panics
    /// With the list of violations when there are any.
    #[track_caller]
    pub fn assert_none(&self) {
        let found = self.take();
        assert!(found.is_empty(), "{}", listed(&found));
    }

    /// Writes a violation down, once.
    #[cfg(feature = "std")]
    pub(crate) fn record(
        &self,
        rule: Rule,
        subject: impl Into<String>,
        value: u64,
        section: &'static str,
        detail: impl Into<String>,
    ) {
        self.push(Violation {
            rule,
            subject: subject.into(),
            value,
            detail: detail.into(),
            section,
        });
    }

    /// Writes a violation down, once.
    pub fn push(&self, violation: Violation) {
        let mut list = self.0.0.borrow_mut();
        if !list.contains(&violation) {
            list.push(violation);
        }
    }
}

impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listed(&self.0.0.borrow()))
    }
}

#[cfg(feature = "std")]
impl Drop for Log {
    fn drop(&mut self) {
        let left = self.0.borrow();
        // A test that already fails keeps its own message.
        if !std::thread::panicking() {
            assert!(left.is_empty(), "{}", listed(&left));
        }
    }
}

fn listed(violations: &[Violation]) -> String {
    let lines: String = violations
        .iter()
        .map(|violation| format!("\n  {violation}"))
        .collect();
    format!("{} violations{lines}", violations.len())
}
