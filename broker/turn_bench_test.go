package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/settings"
)

// wire is a peer without a socket: what is written to it is counted and forgotten.
type wire struct {
	out     []byte
	touched bool
	frames  int
}

var wireAddr = netip.MustParseAddrPort("127.0.0.1:1234")

func (w *wire) RemoteAddr() netip.AddrPort { return wireAddr }
func (w *wire) LocalAddr() netip.AddrPort  { return wireAddr }
func (w *wire) LockOut() []byte            { return w.out }
func (w *wire) UnlockOut(t *protocol.Turn, out []byte) {
	w.out = out
	w.frames++
	if t != nil && !w.touched {
		w.touched = true
		t.Touch(w)
	}
}
func (w *wire) Flush()                       { w.out, w.touched = w.out[:0], false }
func (w *wire) Post(fn func(*protocol.Turn)) { go fn(&protocol.Turn{Now: time.Now()}) }
func (w *wire) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	return nil, context.Canceled
}
func (w *wire) Send(*protocol.Turn, *protocol.Command) {}
func (w *wire) Closed() bool                           { return false }
func (w *wire) Close()                                 {}

// turns runs whole turns of n frames each through the request table of a broker with a store on disk: frame bytes
// in, frame bytes out. One iteration is one frame.
func turns(b *testing.B, form protocol.Form, n int, prepare func(br *Broker), frame func(form protocol.Form) []byte, keys ...string) {
	dir := b.TempDir()
	s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
	s.Set("storePathRootDir", dir)
	s.Set("listenPort", strconv.Itoa(freePort(b)))
	for _, key := range keys {
		s.Set(key[:strings.Index(key, "=")], key[strings.Index(key, "=")+1:])
	}
	br, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	br.taking.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- br.store.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
		br.Close()
	}()
	prepare(br)
	w, turn := new(wire), &protocol.Turn{Appends: br.put.NewBatch()}
	raw := frame(form)
	work := make([]byte, len(raw))
	call := protocol.Call{Peer: w, Turn: turn}
	beat := func(n int) {
		turn.Now = time.Now()
		for range n {
			copy(work, raw) // decoding may rewrite the frame in place
			if err := call.Decode(work[4:]); err != nil {
				b.Fatal(err)
			}
			br.table.Serve(&call)
		}
		br.table.EndTurn(turn)
		for _, p := range turn.Touched() {
			p.Flush()
		}
	}
	for range 50 {
		beat(n)
	}
	w.frames = 0
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= n {
		beat(min(n, left))
	}
	b.StopTimer()
	if w.frames != b.N {
		b.Fatalf("%d answers to %d requests", w.frames, b.N)
	}
}

func request(form protocol.Form, code int32, body []byte, fields ...string) []byte {
	c := &protocol.Command{Code: code, Form: form, Opaque: 7, Version: protocol.Version, Body: body}
	for _, f := range fields {
		k, v, _ := bytes.Cut([]byte(f), []byte("="))
		c.Set(string(k), string(v))
	}
	return c.Append(nil)
}

func sendFrame(size int) func(protocol.Form) []byte {
	return func(form protocol.Form) []byte {
		return request(form, protocol.SendMessageV2, bytes.Repeat([]byte("x"), size),
			"a=pg", "b=T", "c=TBW102", "d=4", "e=0", "f=0", "g=1795568595971", "h=0",
			"i=UNIQ_KEY\x01C000020A2B104E0E2F2A7BD28C030000\x02WAIT\x01true\x02TAGS\x01TagA\x02", "j=0", "k=false", "m=false")
	}
}

func makeTopic(br *Broker) {
	if _, err := br.topics.Create(context.Background(), "T", "TBW102", 4); err != nil {
		panic(err)
	}
	if _, err := br.groups.Create("g"); err != nil {
		panic(err)
	}
}

// A plain send in the turn, 16 a turn, with the append to the log: no allocation per message.
func BenchmarkTurn_Send(b *testing.B) {
	for _, form := range []protocol.Form{protocol.Binary, protocol.JSON} {
		for _, size := range []int{128, 1024} {
			b.Run(fmt.Sprintf("form=%d/body=%d", form, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				turns(b, form, 16, makeTopic, sendFrame(size))
			})
		}
	}
}

// A pull of 32 messages in the turn: no allocation.
func BenchmarkTurn_Pull(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprintf("body=%d", size), func(b *testing.B) {
			b.SetBytes(int64(32 * size))
			fill := func(br *Broker) {
				makeTopic(br)
				w, turn := new(wire), &protocol.Turn{Appends: br.put.NewBatch(), Now: time.Now()}
				raw := sendFrame(size)(protocol.Binary)
				call := protocol.Call{Peer: w, Turn: turn}
				for range 100 {
					if err := call.Decode(bytes.Clone(raw[4:])); err != nil {
						b.Fatal(err)
					}
					br.table.Serve(&call)
				}
				br.table.EndTurn(turn)
			}
			turns(b, protocol.JSON, 4, fill, func(form protocol.Form) []byte {
				return request(form, protocol.PullMessage, nil, "consumerGroup=g", "topic=T", "queueId=0", "queueOffset=0", "maxMsgNums=32",
					"sysFlag=4", "commitOffset=0", "suspendTimeoutMillis=0", "subscription=*", "subVersion=0", "expressionType=TAG")
			})
		})
	}
}

// A pull that looks at 64 messages for the one that an SQL92 expression is true of: no allocation for each message.
func BenchmarkTurn_PullSQL(b *testing.B) {
	fill := func(br *Broker) {
		makeTopic(br)
		w, turn := new(wire), &protocol.Turn{Appends: br.put.NewBatch(), Now: time.Now()}
		call := protocol.Call{Peer: w, Turn: turn}
		for i := range 64 {
			raw := request(protocol.Binary, protocol.SendMessageV2, bytes.Repeat([]byte("x"), 128), "a=pg", "b=T", "c=TBW102", "d=4", "e=0",
				"f=0", "g=1795568595971", "h=0", fmt.Sprintf("i=UNIQ_KEY\x01C000020A2B104E0E2F2A7BD28C030000\x02WAIT\x01true\x02n\x01%02d\x02", i), "j=0", "k=false", "m=false")
			if err := call.Decode(raw[4:]); err != nil {
				b.Fatal(err)
			}
			br.table.Serve(&call)
		}
		br.table.EndTurn(turn)
	}
	turns(b, protocol.JSON, 4, fill, func(form protocol.Form) []byte {
		return request(form, protocol.PullMessage, nil, "consumerGroup=g", "topic=T", "queueId=0", "queueOffset=0", "maxMsgNums=32",
			"sysFlag=4", "commitOffset=0", "suspendTimeoutMillis=0", "subscription=n = 42", "subVersion=0", "expressionType=SQL92")
	}, "enablePropertyFilter=true")
}
