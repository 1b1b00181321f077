//! A QEMU plugin that counts instructions, for `cargo xtask bench linux`.
//!
//! One line is printed when QEMU ends: how many instructions ran, and how many of them in the upper half of the address
//! space, where a guest's kernel runs. The rest is firmware, hypervisor and the guest's programs.
//!
//! A translation block is counted as a whole when it is entered, so an exception in it counts too much by a few.
//!
//! QEMU's plugin interface is C, of which seven functions are used (QEMU 10.0, `include/qemu/qemu-plugin.h`). Distributions do
//! not package that header, so what is used of it is declared here.
#![expect(unsafe_code, reason = "QEMU calls it, and it calls QEMU")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// The version of the interface that is spoken: the first with counters for each vCPU. QEMU refuses what it does not speak.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 2;

/// Where a guest's kernel runs (Linux, `Documentation/arch/arm64/memory.rst`).
const KERNEL: u64 = 0xffff_0000_0000_0000;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;

/// `qemu_plugin_u64`: a counter of each vCPU.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Counter {
    scoreboard: *mut c_void,
    offset: usize,
}

// SAFETY: QEMU's counters may be used from any thread.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

type Translated = extern "C" fn(id: u64, block: *mut c_void);
type AtExit = extern "C" fn(id: u64, data: *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut c_void;
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    fn qemu_plugin_register_atexit_cb(id: u64, callback: AtExit, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const c_void) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut c_void,
        operation: c_int,
        counter: Counter,
        value: u64,
    );
    fn qemu_plugin_u64_sum(counter: Counter) -> u64;
    fn qemu_plugin_outs(text: *const c_char);
}

/// Instructions of kernels, and others.
static COUNTERS: OnceLock<[Counter; 2]> = OnceLock::new();

/// QEMU calls it once, when it loads the plugin.
#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(
    id: u64,
    _machine: *const c_void,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU is ready for calls while it installs a plugin.
    let scoreboard = unsafe { qemu_plugin_scoreboard_new(2 * size_of::<u64>()) };
    COUNTERS.get_or_init(|| {
        [0, 1].map(|index| Counter {
            scoreboard,
            offset: index * size_of::<u64>(),
        })
    });
    // SAFETY: as above; the function lives as long as the plugin.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    // SAFETY: as above.
    unsafe { qemu_plugin_register_atexit_cb(id, at_exit, std::ptr::null_mut()) };
    0
}

/// A block was translated: it adds its length to a counter whenever it runs.
extern "C" fn translated(_: u64, block: *mut c_void) {
    let Some([kernels, others]) = COUNTERS.get() else {
        return;
    };
    // SAFETY: QEMU lends the block for the time of this call.
    let count = unsafe { qemu_plugin_tb_n_insns(block) } as u64;
    // SAFETY: as above.
    let address = unsafe { qemu_plugin_tb_vaddr(block) };
    let counter = if address >= KERNEL { kernels } else { others };
    // SAFETY: as above; the counter lies in the scoreboard.
    unsafe { qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, ADD, *counter, count) };
}

extern "C" fn at_exit(_: u64, _: *mut c_void) {
    // SAFETY: the counters lie in the scoreboard, which is never freed.
    let sum = |counter: &Counter| unsafe { qemu_plugin_u64_sum(*counter) };
    let Some([kernels, others]) = COUNTERS
        .get()
        .map(|[kernels, others]| [sum(kernels), sum(others)])
    else {
        return;
    };
    let line = format!("instructions: {} of which kernel: {kernels}\n", kernels + others);
    if let Ok(line) = CString::new(line) {
        // SAFETY: a text with its end; QEMU copies it.
        unsafe { qemu_plugin_outs(line.as_ptr()) };
    }
}
