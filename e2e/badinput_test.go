//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBadFrames sends what is no frame to the broker and to the NameServer: the connection is closed, and others go on.
func TestBadFrames(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	c.createTopic(t, "Bad", queues)
	word := func(words ...uint32) []byte {
		var b []byte
		for _, w := range words {
			b = binary.BigEndian.AppendUint32(b, w)
		}
		return b
	}
	padding := make([]byte, 64) // Java looks at a connection only when it has sent a dozen bytes
	cases := []struct {
		name  string
		bytes []byte
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + strings.Repeat(" ", 64))},
		{"LengthMinusOne", append(word(0xFFFFFFFF, 0), padding...)},
		{"LengthAboveLimit", append(word(16<<20+1, 0), padding...)},
		{"HeaderLongerThanFrame", append(word(20, 1000), make([]byte, 16)...)},
		{"UnknownForm", append(word(4+64, 9<<24|64), padding...)},
		{"HeaderNotJSON", append(word(4+8, 8), "notjson!"...)},
		{"BinaryHeaderCut", append(word(4+8, 1<<24|8), make([]byte, 8)...)},
	}
	for _, server := range []*server{c.brokers[0], c.namesrv} {
		witness := dial(t, c.brokers[0].addr)
		for _, bad := range cases {
			t.Run(server.name+"/"+bad.name, func(t *testing.T) {
				conn, err := net.Dial("tcp", server.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := conn.Write(bad.bytes); err != nil {
					t.Fatal(err)
				}
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				// The server may close with our bytes unread, which resets; what it may not do is answer or wait.
				n, err := conn.Read(make([]byte, 1))
				if n > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("read %d bytes, %v; want the connection closed", n, err)
				}
				if _, err := witness.send("Bad", 0, []byte("others go on")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBadFields sends requests that are frames but make no sense: an answer says so, and the connection is kept.
func TestBadFields(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	c.createTopic(t, "Bad", queues)
	w := dial(t, c.brokers[0].addr)
	with := func(key, value string) map[string]string {
		f := sendFields("Bad", 0)
		if value == "" {
			delete(f, key)
		} else {
			f[key] = value
		}
		return f
	}
	cases := []struct {
		name   string
		fields map[string]string
		body   []byte
		code   int
		remark string // in the answer
		java   bool   // Java answers the same code
	}{
		{"TopicMissing", with("topic", ""), []byte("x"), 1, "topic", false},
		{"QueueMissing", with("queueId", ""), []byte("x"), 1, "queueId", false},
		{"QueueNotANumber", with("queueId", "first"), []byte("x"), 1, "queueId", false},
		{"QueueTooLong", with("queueId", "99999999999999999999"), []byte("x"), 1, "queueId", false},
		{"BornNotANumber", with("bornTimestamp", "now"), []byte("x"), 1, "bornTimestamp", false},
		{"BodyAboveLimit", sendFields("Bad", 0), make([]byte, 4<<20+1), 13, "", true},
		{"PropertiesAboveLimit", with("properties", "K\x01"+strings.Repeat("v", 32766)+"\x02"), []byte("x"), 13, "", true},
		{"TopicTooLong", with("topic", strings.Repeat("t", 128)), []byte("x"), 29, "topic", false},
		{"TopicWithSpace", with("topic", "a topic"), []byte("x"), 29, "topic", false},
		{"TopicWithSlash", with("topic", "../etc"), []byte("x"), 29, "topic", false},
	}
	for _, bad := range cases {
		t.Run(bad.name, func(t *testing.T) {
			before := maxOffsets(t, w, "Bad")
			a, err := w.call(codeSend, bad.fields, bad.body)
			if err != nil {
				t.Fatal(err) // the connection is to be kept
			}
			switch {
			case underTest() == java && !bad.java:
				if a.code == 0 {
					t.Errorf("Java stored it: %v", a.ext)
				}
				t.Logf("Java answers %d: %.200s", a.code, a.remark)
			case a.code != bad.code || !strings.Contains(a.remark, bad.remark) || a.remark == "":
				t.Errorf("code %d, remark %q; want code %d and a remark with %q", a.code, a.remark, bad.code, bad.remark)
			}
			if after := maxOffsets(t, w, "Bad"); after != before {
				t.Errorf("something was stored: the queues end at %v, before at %v", after, before)
			}
		})
	}
	t.Run("UnknownCode", func(t *testing.T) {
		a, err := w.call(31999, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.code != 3 || a.remark == "" {
			t.Errorf("code %d, remark %q; want 3 and a remark", a.code, a.remark)
		}
	})
}

func maxOffsets(t *testing.T, w *wire, topic string) string {
	t.Helper()
	var all []string
	for q := range queues {
		all = append(all, w.must(t, codeMaxOffset, map[string]string{"topic": topic, "queueId": strconv.Itoa(q)}, nil).ext["offset"])
	}
	return strings.Join(all, " ")
}

// TestHalfFrames holds 5,000 connections open, each of which has sent half of a frame of almost 16 MiB, twice over: the
// first 5,000 hang up in the middle. Memory stays bounded and other clients keep working.
func TestHalfFrames(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	b := c.brokers[0]
	c.createTopic(t, "Half", queues)
	const conns, sent, bound = 5000, 4 << 10, 256 << 20
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < conns+200 {
		t.Skipf("only %d open files allowed, want %d (%v)", limit.Max, conns+200, err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	half := binary.BigEndian.AppendUint32(nil, 16<<20-8)
	half = binary.BigEndian.AppendUint32(half, 2)
	half = append(append(half, "{}"...), bytes.Repeat([]byte{'.'}, sent)...)
	witness := dial(t, b.addr)
	before := b.memory(t)
	for range 2 {
		open := make([]net.Conn, 0, conns)
		for i := range conns {
			conn, err := net.DialTimeout("tcp", b.addr, 10*time.Second)
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			if _, err := conn.Write(half); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			open = append(open, conn)
			if i%500 == 0 {
				if _, err := witness.send("Half", 0, []byte("others go on")); err != nil {
					t.Fatalf("with %d half frames: %v", i, err)
				}
			}
		}
		if recs, err := witness.pull("Half", 0, 0); err != nil || len(recs) == 0 {
			t.Fatalf("with %d half frames a pull returns %d messages, %v", conns, len(recs), err)
		}
		if grown := b.memory(t) - before; grown > bound {
			t.Errorf("memory grew by %d MiB, want at most %d", grown>>20, bound>>20)
		} else {
			t.Logf("memory grew by %d MiB", grown>>20)
		}
		for _, conn := range open {
			conn.Close()
		}
	}
	if _, err := witness.send("Half", 0, []byte("after")); err != nil {
		t.Error(err)
	}
	w := dial(t, b.addr)
	if _, err := w.send("Half", 0, []byte("a new client")); err != nil {
		t.Error(err)
	}
}

// TestSlowReader asks for much and reads nothing: the server stops reading from that connection, and its memory is
// bounded. A client that is only late gets all that it asked for.
func TestSlowReader(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	b := c.brokers[0]
	c.createTopic(t, "Slow", queues)
	w := dial(t, b.addr)
	for range 64 {
		if _, err := w.send("Slow", 0, make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
	}
	fields := map[string]string{
		"consumerGroup": "slow", "topic": "Slow", "queueId": "0", "queueOffset": "0", "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0",
		"suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0", "expressionType": "TAG"}
	before := b.memory(t)
	bounded := func(asked int) {
		t.Helper()
		if _, err := w.send("Slow", 1, []byte("others go on")); err != nil {
			t.Error(err)
		}
		grown := b.memory(t) - before
		t.Logf("after %d pulls that nobody reads memory has grown by %d MiB", asked, grown>>20)
		if grown > 256<<20 && underTest() == ours { // Java keeps what it cannot write
			t.Error("that is more than 256 MiB")
		}
	}
	t.Run("Late", func(t *testing.T) {
		late := dial(t, b.addr)
		const asked = 400 // answers of a quarter MiB, 100 MiB in all
		var pulls []byte
		for i := range asked {
			pulls = append(pulls, frame(request(codePull, i+1, fields), nil)...)
		}
		late.conn.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := late.conn.Write(pulls); err != nil {
			t.Fatal(err)
		}
		bounded(asked)
		answered := map[int]bool{}
		for len(answered) < asked { // in any order
			a, opaque, err := late.next()
			if err != nil || a.code != 0 || len(a.body) < 256<<10 || answered[opaque] {
				t.Fatalf("after %d of %d answers: to %d, code %d, %d bytes, %v", len(answered), asked, opaque, a.code, len(a.body), err)
			}
			answered[opaque] = true
		}
	})
	t.Run("Never", func(t *testing.T) {
		never := dial(t, b.addr)
		pull := frame(request(codePull, 1, fields), nil)
		never.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		asked := 0
		for ; asked < 20000; asked++ { // 20,000 answers would be 5 GiB
			if _, err := never.conn.Write(pull); err != nil {
				break
			}
		}
		bounded(asked)
	})
}

// TestFullDisk fills the store's file system: sends are refused with a reason, reads go on, and within ten seconds of
// space coming back writes do too, without a restart.
func TestFullDisk(t *testing.T) {
	if underTest() == java {
		t.Skip("Java's broker writes through a map and dies of a full disk")
	}
	dir := filepath.Join(work, t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		missing(t, "full disk", fmt.Errorf("cannot mount a small file system (root can): %w", err))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	c := &cluster{namesrv: newNamesrv(t, underTest(), "namesrv")}
	t.Cleanup(c.kill)
	if err := c.namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	b := newBroker(t, underTest(), "broker-a", c.namesrv.addr, "mappedFileSizeCommitLog=8388608", "mappedFileSizeConsumeQueue=60000", "diskMaxUsedSpaceRatio=99")
	if !strings.HasPrefix(b.dir, dir) {
		t.Fatalf("the broker's folder %s is not in %s", b.dir, dir)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 40<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	c.brokers = []*server{b}
	c.waitRegistered(t)
	c.createTopic(t, "Full", queues)

	w := dial(t, b.addr)
	body := bytes.Repeat([]byte{'b'}, 64<<10)
	var l ledger
	var refused error
	for n := 0; refused == nil; n++ {
		text := fmt.Sprintf("w#%d.%s", n, body)
		offset, err := w.send("Full", 0, []byte(text))
		if refused = err; err == nil {
			if err := l.add(0, offset, text); err != nil {
				t.Fatal(err)
			}
		}
		if n > 2000 {
			t.Fatal("2,000 messages of 64 KiB fit on 56 MiB")
		}
	}
	var r refusal
	if !errors.As(refused, &r) || r.remark == "" {
		t.Fatalf("a full disk: %v; want an answer with a remark", refused)
	}
	t.Logf("%d messages, then code %d: %s", l.count, r.code, r.remark)
	if _, err := l.check(w, "Full", 0, 0); err != nil {
		t.Errorf("reading while the disk is full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "writes resume when there is space", func() bool {
		text := fmt.Sprintf("v#%d.%s", l.count, body)
		offset, err := w.send("Full", 0, []byte(text))
		return err == nil && l.add(0, offset, text) == nil
	})
	if _, err := l.check(w, "Full", 0, 0); err != nil {
		t.Errorf("after the disk was full: %v", err)
	}
	// What was acknowledged is also there after a clean stop and a start.
	if err := b.stop(stopLimit); err != nil {
		t.Error(err)
	}
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.check(dial(t, b.addr), "Full", 0, 0); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
