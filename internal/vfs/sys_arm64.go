package vfs

// Numbers of system calls that package syscall does not name.
const (
	sysPreadv2 = 286
	sysSyncFS  = 267
)
