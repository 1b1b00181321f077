// Vectors whose owners are not linked yet: they report a fault.
.section .text.hooks, "ax"
.global guest_exit_sync, guest_exit_irq, guest_exit_fiq, guest_exit_serror
.global component_guard_sync, component_guard_irq
guest_exit_sync:
guest_exit_irq:
guest_exit_fiq:
guest_exit_serror:
component_guard_sync:
component_guard_irq:
    fault_vector FROM_CORE_SYNC
