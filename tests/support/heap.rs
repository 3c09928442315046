//! What this process has on its heap.

/// Bytes that are allocated and not freed. The resident memory says less: short-lived threads leave
/// stacks and pieces of heap behind that the C library keeps for the next.
pub fn live_heap() -> usize {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2(3) takes nothing and gives numbers.
        let info = unsafe { libc::mallinfo2() };
        info.uordblks + info.hblkhd
    }
    #[cfg(not(target_env = "gnu"))]
    0
}
