package broker

import (
	"errors"
	"net"
	"path/filepath"

	"rocketd/internal/vfs"
)

// PortError says that a port of this broker cannot be listened on.
type PortError struct {
	Key string // that chooses it: listenPort or haListenPort
	Err error
}

func (e *PortError) Error() string { return e.Err.Error() }
func (e *PortError) Unwrap() error { return e.Err }

// checkPorts fails if a port of this broker is taken, before the store is opened, which may take long. When it is another
// start of the same configuration that has the ports, it says so: a *vfs.LockedError.
func checkPorts(fs vfs.FS, root string, id identity) error {
	for _, port := range []struct{ key, addr string }{{"listenPort", id.listen}, {"listenPort", id.fast}, {"haListenPort", id.listenHA}} {
		l, err := net.Listen("tcp", port.addr)
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			continue
		}
		lock, lockErr := fs.Lock(filepath.Join(root, "lock"))
		if locked := (*vfs.LockedError)(nil); errors.As(lockErr, &locked) {
			return lockErr
		}
		if lockErr == nil {
			_ = lock.Close()
		}
		return &PortError{port.key, err}
	}
	return nil
}
