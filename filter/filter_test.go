package filter

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"rocketd/filter/sql92"
	"rocketd/message"
)

// The vectors were written by Java's FilterAPI.
func TestCompile_JavaVectors(t *testing.T) {
	f, err := os.Open("testdata/subscription.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		var v struct {
			Sub  string
			Data json.RawMessage
		}
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		got, err := Compile("TAG", v.Sub)
		var want struct {
			Codes []int32
			Type  string
		}
		if json.Unmarshal(v.Data, &want) != nil {
			if !errors.Is(err, ErrParse) {
				t.Errorf("%q: got %v, want ErrParse", v.Sub, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", v.Sub, err)
			continue
		}
		slices.Sort(want.Codes)
		if !slices.Equal(got.Codes(), want.Codes) {
			t.Errorf("%q: codes %v, want %v", v.Sub, got.Codes(), want.Codes)
		}
	}
	if lines < 14 {
		t.Fatalf("only %d vectors", lines)
	}
}

func TestFilter_Match(t *testing.T) {
	check := func(expr string, codes []int32, tag int64, want bool) {
		t.Helper()
		f := FromCodes(expr, codes)
		if got := f.Match(tag); got != want {
			t.Errorf("%q %v matches %d: %v, want %v", expr, codes, tag, got, want)
		}
		if fn := f.Func(); fn != nil && fn(tag) != want || fn == nil && !want {
			t.Errorf("%q %v: Func and Match differ", expr, codes)
		}
	}
	const tagA, tagB = 2598919, 2598920
	check("*", nil, 0, true)
	check("", nil, tagA, true)
	check("TagA || TagB", nil, tagB, true)
	check("TagA", nil, tagB, false)
	check("TagA", nil, 0, false)                             // a message without a tag
	check("|| ||", nil, tagA, false)                         // blanks alone want nothing
	check("||", nil, tagA, false)                            // nor does what cannot be parsed
	check("TagA|TagB", nil, -1051832611, true)               // a negative hash
	check("TagA|TagB", nil, int64(uint32(0xC14E4EDD)), true) // Java compares the low half
	check("TagA", []int32{tagB}, tagB, true)                 // the client's codes win
	check("*", []int32{tagB}, tagA, true)
	many := make([]int32, 100)
	for i := range many {
		many[i] = int32(1000 - 7*i)
	}
	check("x", many, 1000-7*99, true)
	check("x", many, 999, false)
}

func TestCompile_Unsupported(t *testing.T) {
	var e UnsupportedError
	if _, err := Compile("XPATH", "a > 1"); !errors.As(err, &e) || e != "XPATH" {
		t.Errorf("got %v", err)
	}
	if got, want := e.Error(), "The broker does not support consumer to filter message by XPATH"; got != want {
		t.Errorf("text %q", got)
	}
}

func TestFilter_Match_NoAllocation(t *testing.T) {
	f, _ := Compile("", "a || b || c")
	var seen bool
	if n := testing.AllocsPerRun(100, func() {
		fn := f.Func()
		seen = fn(97) && f.Match(98)
	}); n != 0 || !seen {
		t.Errorf("%v allocations, matched %v", n, seen)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"", "*", "a||b", "||", " || ", "|", "a|||b", "标签||\x00", "\xff\xfe||a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		tags, err := Compile([]byte(nil), []byte(expr))
		if err != nil {
			return
		}
		for _, c := range tags.Codes() {
			if !tags.Match(int64(c)) {
				t.Errorf("%q does not match its own code %d", expr, c)
			}
		}
	})
}

func BenchmarkFilter_Match(b *testing.B) {
	f, _ := Compile("", "TagA || TagB || TagC")
	b.ReportAllocs()
	for b.Loop() {
		f.Match(2598920)
	}
}

// An SQL92 expression decides by the properties in the record, without allocation.
func TestFilter_SQL92(t *testing.T) {
	f, err := Compile("SQL92", "n BETWEEN 3 AND 5")
	if err != nil {
		t.Fatal(err)
	}
	record := func(props string) []byte {
		host := netip.MustParseAddrPort("127.0.0.1:1")
		return message.AppendRecord(nil, &message.Draft{Topic: []byte("T"), Body: []byte("b"), Properties: []byte(props), BornHost: host, StoreHost: host})
	}
	four, six := record("n\x014\x02"), record("n\x016\x02")
	if f.Func() != nil || !f.Wants()(four) || f.Wants()(six) || f.Wants()(record("")) || f.Wants()(nil) {
		t.Error("the wrong messages are wanted")
	}
	if n := testing.AllocsPerRun(100, func() { f.Wants()(four) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, err := Compile("SQL92", "n >"); !errors.Is(err, sql92.ErrSyntax) {
		t.Errorf("a broken expression: %v", err)
	}
}
