package vfs

// Numbers of system calls that package syscall does not name.
const (
	sysPreadv2 = 327
	sysSyncFS  = 306
)
