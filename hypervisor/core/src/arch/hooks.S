// Vectors whose owners are not linked yet: they report a fault.
//
// An owner takes a label away from here and defines it in its own assembly. It is entered at EL2 with SP_ELx, interrupts
// masked, and every general register as it was; TPIDR_EL2 is the per-CPU structure (`percpu.rs`):
//   guest_exit_*       the `vcpu` field says whose registers to save; SP is the core's, as it was at guest entry.
.section .text.hooks, "ax"
.global guest_exit_sync, guest_exit_irq, guest_exit_fiq, guest_exit_serror
guest_exit_sync:
guest_exit_irq:
guest_exit_fiq:
guest_exit_serror:
    fault_vector FROM_CORE_SYNC
