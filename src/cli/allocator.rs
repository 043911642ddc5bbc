//! Gives large blocks of memory back to the system at once.
//!
//! A node opens a network with each pseudonym, whose QUIC endpoint takes a buffer of three megabytes, and closes the one before. Once such a block
//! has been freed, the allocator of the GNU C library takes further ones from its heap, where small ones that come to lie behind them keep
//! the memory of the process growing for many epochs: from 34 to 55 MB in twenty. With a threshold that is set it stays at 36.

/// From how many bytes on a block is mapped by itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: i32 = 128 * 1024;

/// Has large blocks mapped by themselves for as long as the process runs, where the allocator has to be told.
pub(super) fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(
            unsafe_code,
            reason = "the C library has no safe interface; the call takes two numbers and touches no memory of this program"
        )]
        // SAFETY: any thread may call it at any time, with any parameter that it knows.
        let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED) };
        if set == 0 {
            tracing::warn!("the allocator does not take its setting; the memory of this process may grow for a while");
        }
    }
}
