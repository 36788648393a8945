//! What can be asked of a device, and who asks the kernel for it.
