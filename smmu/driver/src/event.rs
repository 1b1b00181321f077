//! Events: what an SMMU reports of transactions it stopped.

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// F_TRANSLATION, FSR.TF: the IPA is not mapped.
    Translation,
    /// F_PERMISSION, FSR.PF: it is mapped, without that right. F_TRANSL_FORBIDDEN: the device claimed that it need not be.
    Permission,
    /// F_ACCESS, FSR.AFF: its access flag is clear.
    AccessFlag,
    /// F_ADDR_SIZE, FSR.ASF: an address in a table is too large.
    AddressSize,
    /// C_BAD_STE, F_STREAM_DISABLED, or C_BAD_STREAMID of a stream that the table covers; GFSR.USF, GFSR.ICF: the
    /// stream is not attached.
    NotAttached,
    /// C_BAD_STREAMID: the stream ID lies outside the stream table.
    UnknownStream,
    /// F_STE_FETCH, F_WALK_EABT, FSR.EF: an entry or a table could not be read.
    WalkAbort,
    /// Events were lost, because there was no room for them.
    Lost,
    /// Any other event; see [`Event::code`].
    Other,
}

/// One event, or several equal ones in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The stream ID; 0 for [`EventKind::Lost`].
    pub stream: u32,
    /// What happened.
    pub kind: EventKind,
    /// The hardware's own code: the event number of an SMMUv3, the fault status of an SMMUv1 or v2; 0 for
    /// [`EventKind::Lost`].
    pub code: u32,
    /// The address that the device used, where the event has one.
    pub address: Option<u64>,
    /// Whether it was a write.
    pub write: bool,
    /// Whether it was an instruction fetch.
    pub instruction: bool,
    /// How many this stands for, at least 1.
    pub count: u32,
}

impl Event {
    /// Events were lost.
    pub const LOST: Event = Event {
        stream: 0,
        kind: EventKind::Lost,
        code: 0,
        address: None,
        write: false,
        instruction: false,
        count: 1,
    };

    /// Whether both tell the same: stream, event, direction and page.
    pub fn is_like(&self, other: &Event) -> bool {
        let page = |event: &Event| event.address.map(|address| address >> 12);
        self.stream == other.stream
            && self.kind == other.kind
            && self.code == other.code
            && self.write == other.write
            && self.instruction == other.instruction
            && page(self) == page(other)
    }
}
