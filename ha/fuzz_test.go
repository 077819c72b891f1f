package ha

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/message"
	"rocketd/store"
)

// A stream of a master cut into pieces is the same stream.
func FuzzFrames(f *testing.F) {
	f.Add(appendHead(nil, 0, 0), 1)
	f.Add(append(appendHead(nil, 4096, 5), "hello"...), 3)
	f.Add(append(append(appendHead(appendHead(nil, 7, 0), 7, 2), "ab"...), appendHead(nil, 9, 1<<30)...), 12)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 5)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		read := func(step int) (bodies []byte, beats []int64, failed bool) {
			var fr frames
			for at := 0; at < len(b); at += step {
				for part := b[at:min(at+step, len(b))]; len(part) > 0; {
					pos, piece, heartbeat, rest, err := fr.next(part)
					if err != nil {
						return bodies, beats, true
					}
					if len(rest) >= len(part) {
						t.Fatal("nothing was taken")
					}
					part = rest
					if pos < 0 || fr.left > maxBody {
						t.Fatal(pos, fr.left)
					}
					if heartbeat {
						beats = append(beats, pos)
					} else if piece != nil {
						if next := pos + int64(len(piece)); fr.at != next {
							t.Fatal(fr.at, next)
						}
						bodies = append(bodies, piece...)
					}
				}
			}
			return bodies, beats, false
		}
		whole, wholeBeats, failed := read(max(len(b), 1))
		parts, partBeats, failed2 := read(min(max(step, 1), 100))
		if !bytes.Equal(whole, parts) || len(wholeBeats) != len(partBeats) || failed != failed2 {
			t.Fatalf("in pieces it is %q, %v, %v, as a whole %q, %v, %v", parts, partBeats, failed2, whole, wholeBeats, failed)
		}
	})
}

// The last whole report counts, in whatever pieces they come.
func FuzzReports(f *testing.F) {
	f.Add(appendReport(nil, 0), uint8(1))
	f.Add(appendReport(appendReport(nil, 1), -1), uint8(3))
	f.Add(bytes.Repeat([]byte("x"), 999), uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var r reports
		got, any := int64(0), false
		for rest := b; len(rest) > 0; {
			n := copy(r.room()[:min(int(step)+1, len(r.room()))], rest)
			rest = rest[n:]
			if p, ok := r.took(n); ok {
				got, any = p, true
			}
		}
		if whole := len(b) / reportSize * reportSize; any != (whole > 0) || any && got != int64(binary.BigEndian.Uint64(b[whole-reportSize:])) {
			t.Fatal(got, any)
		}
	})
}

// sink is a connection that takes everything.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) Close() error                     { return nil }
func (sink) RemoteAddr() net.Addr             { return address{"m", 1} }

// Whatever a master sends, the log of a slave is whole records that the master has sent, in their places.
func FuzzSlave(f *testing.F) {
	rec := func(at int64, body string) []byte {
		b := message.AppendRecord(nil, &message.Draft{Topic: []byte("t"), Body: []byte(body), BornHost: testHost, StoreHost: testHost})
		message.Patch(b, 0, at, 1)
		return b
	}
	one := rec(0, "one")
	two := append(one, rec(int64(len(one)), "two")...)
	f.Add(append(appendHead(nil, 0, len(two)), two...))
	f.Add(append(appendHead(nil, 0, len(one)), two...))
	f.Add(append(appendHead(appendHead(nil, 0, 0), 0, 50), two[:50]...))
	blank := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(512-len(two))), 0xcbd43194)
	full := append(two, append(blank, make([]byte, 512-len(two)-8)...)...)
	full = append(full, rec(512, "three")...)
	f.Add(append(appendHead(append(appendHead(nil, 0, 512), full[:512]...), 512, len(full)-512), full[512:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := store.Open(store.Config{Dir: "/store", FileSize: 512, FS: crashfs.New(crashfs.Options{}), HotBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		slave := NewSlave(SlaveConfig{Log: s, Logger: slog.New(slog.DiscardHandler)})
		c := &copier{s: slave, log: s, conn: sink{}, look: new(look), begun: true, same: true}
		err = c.take(b)
		end := s.MaxPhysical()
		if err == nil && c.end != end || int64(len(b)) < end {
			t.Fatal(c.end, end, len(b))
		}
		last := int64(0)
		if err := s.Each(0, func(r *message.Record) bool {
			raw, err := s.Record(r.Physical, nil)
			if err != nil || !bytes.Contains(b, raw[:8]) || r.Physical < last {
				t.Fatal(r.Physical, err)
			}
			last = r.Physical + int64(r.Size)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if last > end {
			t.Fatal(last, end)
		}
	})
}
