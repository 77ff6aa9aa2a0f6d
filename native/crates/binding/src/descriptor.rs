//! Descriptors that cross the border: listening sockets of a predecessor (RFD 0011).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use engine::snapshot::Address;

/// A descriptor of our own for what the caller has open as `number`, which stays the caller's. An
/// error when nothing is.
#[expect(unsafe_code, reason = "Python has descriptors as numbers only")]
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not -1. The caller keeps the descriptor open for the length of this call; if it did
    // not, the system call fails with EBADF or duplicates another descriptor of this process, and
    // neither touches memory.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// `HOST:PORT` or `unix:PATH`, as `view::address` writes it.
pub(crate) fn address(text: &str) -> Option<Address> {
    match text.strip_prefix("unix:") {
        Some(path) => Some(Address::Unix(path.into())),
        None => text.parse().ok().map(Address::Tcp),
    }
}
