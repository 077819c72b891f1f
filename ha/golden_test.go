package ha

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/store"
)

// archive returns the files of an archive.
func archive(t testing.TB, name string) map[string][]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// recorded is a connection of a Java slave to a Java master.
type recorded struct {
	master, slave []byte // what each has sent
	order         []struct {
		From     string
		Off, Len int
	}
}

// recordings are two connections: the second was made when the master had been started again.
func recordings(t testing.TB) (list []recorded) {
	files := archive(t, "testdata/default-ha.tar.gz")
	for i := 1; i <= 2; i++ {
		name := fmt.Sprintf("default-ha/conn%d.", i)
		r := recorded{master: files[name+"master-to-slave.bin"], slave: files[name+"slave-to-master.bin"]}
		d := json.NewDecoder(bytes.NewReader(files[name+"order.jsonl"]))
		for d.More() {
			r.order = append(r.order, struct {
				From     string
				Off, Len int
			}{})
			if err := d.Decode(&r.order[len(r.order)-1]); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.master) == 0 || len(r.slave) == 0 || len(r.order) == 0 {
			t.Fatal("no recording", name)
		}
		list = append(list, r)
	}
	return list
}

// javaStore is the log of the slave that was recorded, and where its queues end.
func javaStore(t testing.TB) (log []byte, queues map[string]int64) {
	files := archive(t, "../store/testdata/slave.tar.gz")
	queues = make(map[string]int64)
	for line := range bytes.Lines(files["dump.jsonl"]) {
		var row struct {
			T, Topic string
			QueueID  int32 `json:"queueId"`
			Max      int64
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if row.T == "queue" {
			queues[fmt.Sprintf("%s/%d", row.Topic, row.QueueID)] = row.Max
		}
	}
	for name, b := range files {
		if strings.HasSuffix(name, "commitlog/00000000000000000000") {
			return b, queues
		}
	}
	t.Fatal("no log")
	return nil, nil
}

// A slave of ours that gets what a Java master once sent has the log of the Java slave that got it, byte for byte, and its
// queues.
func TestGolden_Slave(t *testing.T) {
	want, queues := javaStore(t)
	for _, step := range []int{1 << 20, 997} { // what comes at once
		synctest.Test(t, func(t *testing.T) {
			s, err := store.Open(store.Config{Dir: "/store", FileSize: 1 << 20, FS: crashfs.New(crashfs.Options{}), HotBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			n := newNetwork()
			l, _ := n.listen("m")("tcp", "")
			slave := NewSlave(SlaveConfig{Log: s, Dial: n.dial("s"), Logger: slog.New(slog.DiscardHandler)})
			slave.SetMaster("m:10912")
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _ = slave.Run(ctx) })
			for i, r := range recordings(t) {
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				var b [reportSize]byte
				if _, err := io.ReadFull(c, b[:]); err != nil {
					t.Fatal(err)
				}
				at := int64(binary.BigEndian.Uint64(b[:]))
				stream := r.master
				if end := s.MaxPhysical(); i == 1 { // where it asks from, and up to where the recording begins
					if at >= end || end != 722047 {
						t.Fatal(at, end)
					}
					stream = append(append(appendHead(nil, at, int(end-at)), want[at:end]...), stream...)
				} else if at != 0 {
					t.Fatal(at)
				}
				go io.Copy(io.Discard, c)
				for len(stream) > 0 {
					part := stream[:min(step, len(stream))]
					if _, err := c.Write(part); err != nil {
						t.Fatal(err)
					}
					stream = stream[len(part):]
				}
				synctest.Wait()
				c.Close()
			}
			cancel()
			wg.Wait()
			end := s.MaxPhysical()
			got := make([]byte, end)
			if n, err := s.ReadLog(0, got); err != nil || int64(n) != end || !bytes.Equal(got, want[:end]) {
				t.Fatal("the log is not the Java slave's", n, err)
			}
			if len(bytes.Trim(want[end:], "\x00")) > 0 {
				t.Fatal("the Java slave has more")
			}
			for _, topic := range s.Topics() {
				for _, q := range s.Queues(topic) {
					if name := fmt.Sprintf("%s/%d", topic, q.ID()); queues[name] != q.Max() {
						t.Error(name, q.Max(), queues[name])
					}
				}
			}
			for name, max := range queues {
				topic, id, _ := strings.Cut(name, "/")
				if id == "0" && max > 0 && s.Find([]byte(topic), 0) == nil {
					t.Error("no queue", name)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// growing is a log that grows when it is told to.
type growing struct {
	mu  sync.Mutex
	b   []byte
	end int64
}

func (g *growing) MinPhysical() int64 { return 0 }
func (g *growing) FileSize() int64    { return 1 << 20 }
func (g *growing) MaxPhysical() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.end
}

func (g *growing) ReadLog(at int64, dst []byte) (int, error) {
	return copy(dst, g.b[at:g.MaxPhysical()]), nil
}

func (g *growing) grow(end int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end = max(g.end, end)
}

// A master of ours that is told what a Java slave once said sends what the Java master sent, byte for byte, heartbeats
// included, when its log grows as that one did.
func TestGolden_Master(t *testing.T) {
	log, _ := javaStore(t)
	for _, r := range recordings(t) {
		synctest.Test(t, func(t *testing.T) {
			g := &growing{b: log}
			if at := int64(binary.BigEndian.Uint64(r.master)); at > 0 { // it has what came before
				g.grow(at)
			}
			n := newNetwork()
			m, err := Listen(MasterConfig{Log: g, Listen: n.listen("m"), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- m.Run(ctx) }()
			c, err := n.dial("s")(ctx, "tcp", "m:10912")
			if err != nil {
				t.Fatal(err)
			}
			began, sent := time.Now(), 0
			for _, o := range r.order {
				if o.From == "slave" {
					if next := sent; next+headSize <= len(r.master) && o.Off == 0 {
						p, size := frameAt(r.master[next:]) // it was there when the slave came
						g.grow(p + int64(size))
					}
					if _, err := c.Write(r.slave[o.Off : o.Off+o.Len]); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					continue
				}
				for sent < o.Off+o.Len {
					p, size := frameAt(r.master[sent:])
					if sent+headSize+size > o.Off+o.Len {
						break
					}
					g.grow(p + int64(size))
					m.Grew()
					at, body := frame(t, c)
					if got := append(appendHead(nil, at, len(body)), body...); !bytes.Equal(got, r.master[sent:sent+headSize+size]) {
						t.Fatalf("frame %d+%d, Java's is %d+%d", at, len(body), p, size)
					}
					sent += headSize + size
				}
			}
			if sent != len(r.master) {
				t.Fatal(sent, len(r.master))
			}
			synctest.Wait()
			last := int64(binary.BigEndian.Uint64(r.slave[len(r.slave)-reportSize:]))
			if got := m.Acked(1); got != last {
				t.Fatal(got, last)
			}
			t.Log(time.Since(began), "of virtual time")
			cancel()
			c.Close()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

func frameAt(b []byte) (at int64, size int) {
	return int64(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint32(b[8:]))
}
