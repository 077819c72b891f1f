package remoting

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// When the process is out of descriptors, clients wait in the backlog, the log says so a few times and not a
// thousand, and they are served when there are descriptors again.
func TestServer_Accept_OutOfDescriptors(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		log := lines{wrote: make(chan bool, 1000)}
		addr := serve(t, ServerConfig{PerConn: perConn, Log: log.logger(), NewHandler: funcs{serve: echo}.handler()})
		readFrame(t, ask(t, addr)) // the server is up, and the runtime has what descriptors it needs
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		restore := func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
				t.Fatal(err)
			}
		}
		defer restore()
		// The lowest free descriptor is for the client; the server gets none.
		free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(free)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free) + 1, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		nc := ask(t, addr)
		<-log.wrote
		restore()
		if got := readFrame(t, nc); string(got.Body) != "anybody there?" {
			t.Errorf("got %+v", got)
		}
		if n := log.count("cannot accept"); n > 3 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

func ask(t *testing.T, addr string) net.Conn {
	nc := dialRaw(t, addr)
	if _, err := nc.Write(request(1, "anybody there?").Append(nil)); err != nil {
		t.Fatal(err)
	}
	return nc
}
