//! What software below EL3 may do, on each CPU.

use super::system::{barrier, write};
use super::{gic, gpt};

/// SCR_EL3 (DDI 0487 D23.2.118): the software below is non-secure and AArch64, calls us by SMC, has interrupts of its own, and may
/// use what its CPU has; granule protection faults and FIQs come here.
const SCR: u64 = 1 << 0 // NS
    | 1 << 2 // FIQ
    | 0b11 << 4 // RES1
    | 1 << 8 // HCE
    | 1 << 10 // RW
    | 1 << 16 // APK
    | 1 << 17 // API
    | 1 << 25 // EnSCXT
    | 1 << 26 // ATA
    | 1 << 27 // FGTEn
    | 1 << 28 // ECVEn
    | 1 << 35 // AMVOFFEN
    | 1 << 38 // HXEn
    | 1 << 41 // EnTP2
    | 1 << 43 // TCR2EN
    | 1 << 44 // SCTLR2EN
    | 1 << 45 // PIEN
    | 1 << 48; // GPF
/// CPTR_EL3: nothing traps; EZ and ESM.
const CPTR: u64 = 1 << 8 | 1 << 12;
/// MDCR_EL3: the buffers of trace and statistical profiling belong to the non-secure side.
const MDCR: u64 = 0b11 << 24 | 0b11 << 12;

/// Sets this CPU up, but for what [`launch`](super::psci) does.
pub(super) fn cpu(cpu: usize) {
    write!("scr_el3", SCR);
    write!("cptr_el3", CPTR);
    write!("mdcr_el3", MDCR);
    barrier();
    gpt::enable();
    gic::init_cpu(cpu);
}
