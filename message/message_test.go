package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	v4 = netip.MustParseAddrPort("192.0.2.1:40000")
	v6 = netip.MustParseAddrPort("[2001:db8::1]:10911")
)

// A draft comes back from its record, in all shapes, with what Patch filled in.
func TestRecord_RoundTrip(t *testing.T) {
	for _, c := range []struct {
		name        string
		born, store netip.AddrPort
		topic       string
		size        int
	}{
		{"v4", v4, v4, "T", MinSize + 1 + 4 + 6},
		{"v6 born", v6, v4, "T", MinSize + 1 + 4 + 6 + 12},
		{"v6 store", v4, v6, "T", MinSize + 1 + 4 + 6 + 12},
		{"v6", v6, v6, "T", MinSize + 1 + 4 + 6 + 24},
		{"v4 in v6", netip.AddrPortFrom(netip.MustParseAddr("::ffff:192.0.2.1"), 40000), v4, "T", MinSize + 1 + 4 + 6},
		{"127 bytes of topic", v4, v4, strings.Repeat("x", 127), MinSize + 127 + 4 + 6},
		{"128 bytes of topic", v4, v6, strings.Repeat("x", 128), MinSize + 128 + 4 + 6 + 13},
	} {
		d := Draft{Topic: []byte(c.topic), Body: []byte("body"), Properties: []byte("ab\x01cd\x02"), QueueID: 3, Flag: -5,
			SysFlag: FlagCommit | FlagStoreHostV6, BornMs: 77, BornHost: c.born, StoreHost: c.store, ReconsumeTimes: 2, PreparedOffset: 99}
		b := AppendRecord([]byte("in front"), &d)[8:]
		Patch(b, 11, 1<<40, 1234567890123)
		r, err := Decode(append(b, "behind"...))
		if err != nil {
			t.Fatal(c.name, err)
		}
		unmapped := netip.AddrPortFrom(c.born.Addr().Unmap(), c.born.Port())
		if int(r.Size) != c.size || d.Size() != c.size || len(b) != c.size || r.BornHost != unmapped || r.StoreHost != c.store ||
			r.QueueOffset != 11 || r.Physical != 1<<40 || r.StoreMs != 1234567890123 || r.QueueID != 3 || r.Flag != -5 ||
			r.BornMs != 77 || r.ReconsumeTimes != 2 || r.PreparedOffset != 99 || !r.CheckCRC() ||
			string(r.Body) != "body" || string(r.Topic) != c.topic || string(r.Properties) != "ab\x01cd\x02" {
			t.Errorf("%s: %+v", c.name, r)
		}
		if r.SysFlag&FlagCommit == 0 || (r.SysFlag&FlagStoreHostV6 != 0) != c.store.Addr().Is6() || !r.HasQueue() {
			t.Errorf("%s: flags %#x", c.name, r.SysFlag)
		}
		if PeekPhysical(b) != 1<<40 || PeekStoreMs(b) != 1234567890123 || PeekBody(b) != 4 {
			t.Errorf("%s: peeks", c.name)
		}
	}
}

// No cut, and no single wrong byte in a length, is taken for a record of the same size; nothing panics.
func TestDecode_Damaged(t *testing.T) {
	b := AppendRecord(nil, &Draft{Topic: []byte("T"), Body: []byte("body"), BornHost: v4, StoreHost: v4})
	for n := range b {
		if _, err := Decode(b[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, at := range []int{3, 4, 7, 84, 87, 92, 94, 95} {
		bad := bytes.Clone(b)
		bad[at]++
		if _, err := Decode(bad); err == nil {
			t.Errorf("byte %d changed, still a record", at)
		}
	}
	bad := bytes.Clone(b)
	bad[88]++
	if r, err := Decode(bad); err != nil || r.CheckCRC() {
		t.Error("body changed, checksum right", err)
	}
}

func FuzzDecode(f *testing.F) {
	d := Draft{Topic: []byte("T"), Body: []byte("body"), Properties: []byte("a\x01b\x02"), BornHost: v4, StoreHost: v6}
	f.Add(AppendRecord(nil, &d))
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	d.BornHost, d.Properties = v6, []byte("a\x01b\x02\x01c\x02d\x01\x02a\x01e\x01f\x02g")
	f.Add(AppendRecord(nil, &d))
	f.Add(append(AppendRecord(nil, &d), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		props, ok := PeekProperties(b)
		if whole := err == nil && int(r.Size) == len(b); ok != whole || ok && !bytes.Equal(props, r.Properties) {
			t.Fatalf("peeked at properties %q, %v, decoded %q, %v", props, ok, r.Properties, err)
		}
		if err != nil {
			return
		}
		EachProperty(r.Properties, func(k, _ []byte) bool {
			var last []byte
			EachProperty(r.Properties, func(name, v []byte) bool {
				if bytes.Equal(name, k) {
					last = v
				}
				return true
			})
			if v, ok := Property(r.Properties, string(k)); !ok || !bytes.Equal(v, last) {
				t.Fatalf("property %q is %q, %v, want %q", k, v, ok, last)
			}
			return true
		})
		if r.Size < MinSize || int(r.Size) > len(b) {
			t.Fatalf("size %d of %d bytes", r.Size, len(b))
		}
		EachProperty(r.Properties, func(k, v []byte) bool {
			if len(k) == 0 || len(v) == 0 {
				t.Fatal("empty property")
			}
			return true
		})
		r.CheckCRC()
	})
}

// batchOf encodes messages as a client does.
func batchOf(bodies ...string) []byte {
	var b []byte
	be := binary.BigEndian
	for i, body := range bodies {
		b = be.AppendUint32(b, uint32(22+len(body)+4))
		b = be.AppendUint64(b, 0)
		b = be.AppendUint32(b, uint32(i))
		b = be.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
		b = be.AppendUint16(b, 4)
		b = append(b, "a\x01b\x02"...)
	}
	return b
}

// A client's batch is taken apart in order; damage anywhere is an error.
func TestEachInBatch(t *testing.T) {
	b := batchOf("one", "", "three")
	var got []string
	err := EachInBatch(b, func(flag int32, body, props []byte) error {
		if int(flag) != len(got) || string(props) != "a\x01b\x02" {
			t.Errorf("flag %d, properties %q", flag, props)
		}
		got = append(got, string(body))
		return nil
	})
	if err != nil || strings.Join(got, ",") != "one,,three" {
		t.Fatal(got, err)
	}
	for n := 1; n < len(b); n++ {
		if n == 29 || n == 55 { // whole messages
			continue
		}
		if err := EachInBatch(b[:n], func(int32, []byte, []byte) error { return nil }); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzEachInBatch(f *testing.F) {
	f.Add(batchOf("one", "two"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		err := EachInBatch(b, func(_ int32, body, props []byte) error {
			total += 22 + len(body) + len(props)
			return nil
		})
		if err == nil && total != len(b) {
			t.Fatalf("%d of %d bytes", total, len(b))
		}
	})
}

// Appending adds a separator that is missing and never an empty value.
func TestAppendProperty(t *testing.T) {
	got := AppendProperty([]byte("a\x01b"), "c", []byte("d"))
	got = AppendProperty(got, "e", nil)
	if string(got) != "a\x01b\x02c\x01d\x02" {
		t.Fatalf("%q", got)
	}
	if !Reserved(PropUniqKey) || Reserved("price") {
		t.Fatal("reserved names")
	}
}

// Keys have Java's shape and never repeat within a generator's 65,536.
func TestUniqKeys(t *testing.T) {
	g := NewUniqKeys(v4.Addr(), 7)
	now := time.Date(2026, 3, 1, 0, 0, 1, 5e6, time.UTC)
	a, b := string(g.Append(nil, now)), string(g.Append(nil, now))
	if len(a) != 32 || a[:8] != "C0000201" || a[12:] != "00000007"+"000003ED"+"0000" || b[12:] != "00000007"+"000003ED"+"0001" {
		t.Fatal(a, b)
	}
	if n := len(NewUniqKeys(v6.Addr(), 7).Append(nil, now)); n != 56 {
		t.Fatal(n)
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	d := Draft{Topic: []byte("topic"), Body: make([]byte, 128), Properties: []byte("KEYS\x01k1\x02TAGS\x01a\x02"), BornHost: v4, StoreHost: v4}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecord(buf[:0], &d)
	}
}

func BenchmarkProperty(b *testing.B) {
	p := []byte("KEYS\x01k1\x02UNIQ_KEY\x01C000020A6AAF4E0E2F2A7BC42E4E0000\x02WAIT\x01true\x02TAGS\x01a\x02")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Property(p, PropTags); !ok {
			b.Fatal()
		}
	}
}
