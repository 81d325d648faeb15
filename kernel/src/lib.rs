//! The unikernel library: executor, sync, net, heap, and the platforms they run on.
