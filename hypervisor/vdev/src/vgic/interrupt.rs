//! One interrupt of a guest.

/// What stands behind an interrupt number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nothing: the number is not the guest's, and its registers are RAZ/WI.
    #[default]
    Nothing,
    /// The hypervisor raises it.
    Virtual,
    /// A physical interrupt with this INTID, passed through.
    Hardware(u32),
}

/// State of one interrupt. What a list register holds is not counted here until it was taken back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interrupt {
    pub(super) source: Source,
    pub(super) enabled: bool,
    /// Made pending by an edge, by the guest's own write, or by a physical interrupt that was acknowledged.
    pub(super) latch: bool,
    /// Of an SGI of a GICv2, which is pending for each vCPU that sent it: those vCPUs, by bit. The latch is set while there
    /// are any.
    pub(super) senders: u8,
    /// Which of them a list register was given last.
    pub(super) sender: Option<u8>,
    /// The input line of a level-sensitive virtual interrupt.
    pub(super) line: bool,
    pub(super) active: bool,
    /// Edge-triggered, as the guest configured it.
    pub(super) edge: bool,
    pub(super) priority: u8,
    /// The vCPU it is routed to.
    pub(super) target: usize,
    /// The vCPU that acknowledged it, which matters while it is active.
    pub(super) holder: usize,
    /// The vCPU in whose list registers it is.
    pub(super) placed: Option<usize>,
    /// The list register was given the latch.
    pub(super) latch_placed: bool,
    /// Another vCPU cleared the pending state meanwhile.
    pub(super) cancel_pending: bool,
    /// Another vCPU cleared the active state meanwhile.
    pub(super) cancel_active: bool,
    /// The vCPU in whose queue it is.
    pub(super) queued: Option<usize>,
}

impl Interrupt {
    /// A private interrupt of `vcpu`, as reset leaves it.
    pub(super) fn private(vcpu: usize, edge: bool, source: Source) -> Self {
        Interrupt {
            source,
            edge,
            target: vcpu,
            holder: vcpu,
            ..Interrupt::default()
        }
    }

    pub(super) fn is_owned(&self) -> bool {
        self.source != Source::Nothing
    }

    /// Pending, apart from what a list register holds.
    pub(super) fn is_pending(&self) -> bool {
        self.latch || (self.line && !self.edge)
    }

    /// Pending as a register shows it: also while a list register holds the latch.
    pub(super) fn shows_pending(&self) -> bool {
        self.is_pending() || (self.placed.is_some() && self.latch_placed && !self.cancel_pending)
    }

    /// Whether it needs a list register.
    pub(super) fn needs_delivery(&self) -> bool {
        self.placed.is_none() && (self.active || (self.enabled && self.is_pending()))
    }

    /// Takes the first sender of an SGI, if it has any, for a list register.
    pub(super) fn take_sender(&mut self) {
        if let Some(rest) = self.senders.checked_sub(1) {
            self.sender = u8::try_from(self.senders.trailing_zeros()).ok();
            self.senders &= rest;
        }
    }

    /// Undoes that: the guest has not seen it.
    pub(super) fn put_sender_back(&mut self) {
        self.senders |= self.sender.map_or(0, |sender| 1 << (sender & 0x7));
    }

    /// The vCPU to deliver it to.
    pub(super) fn home(&self) -> usize {
        if self.active { self.holder } else { self.target }
    }

    pub(super) fn physical(&self) -> Option<u32> {
        match self.source {
            Source::Hardware(physical) => Some(physical),
            Source::Nothing | Source::Virtual => None,
        }
    }
}
