//! A wall clock that can be stepped: preloaded into a process (`LD_PRELOAD`), it adds the seconds that
//! stand in the file of `WEIMOCIR_TEST_CLOCK` to what the kernel says. Elapsed time is left alone, as
//! when an operator sets a machine's clock.

use libc::{CLOCK_REALTIME, SYS_clock_gettime, c_int, clockid_t, timespec};

/// As glibc's, which it stands before.
///
/// # Safety
/// `time` points to a `timespec` that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the kernel is asked with the caller's own arguments
    let outcome = unsafe { libc::syscall(SYS_clock_gettime, clock, time) };
    if outcome == 0 && clock == CLOCK_REALTIME {
        // SAFETY: the kernel has just written there
        unsafe { (*time).tv_sec += step() };
    }
    c_int::try_from(outcome).unwrap_or(-1)
}

/// In seconds; none while the file says none.
fn step() -> i64 {
    let file = std::env::var_os("WEIMOCIR_TEST_CLOCK");
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
