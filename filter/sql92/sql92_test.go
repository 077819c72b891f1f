package sql92

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// vectors reads what Java made of each expression and each map of properties.
func vectors(t testing.TB, each func(expr, compile string, results []string, props []map[string]string)) {
	t.Helper()
	f, err := os.Open("testdata/sql92.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var props []map[string]string
	lines := 0
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for ; s.Scan(); lines++ {
		var v struct {
			Props         []map[string]string
			Expr, Compile string
			Results       []string
		}
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.Props != nil {
			props = v.Props
			continue
		}
		each(v.Expr, v.Compile, v.Results, props)
	}
	if err := s.Err(); err != nil || lines < 500 {
		t.Fatalf("%d lines, %v", lines, err)
	}
}

func TestSelector_JavaVectors(t *testing.T) {
	vectors(t, func(expr, compile string, results []string, props []map[string]string) {
		s, err := Compile(expr)
		if (err == nil) != (compile == "ok") {
			t.Errorf("%q: %v, Java says %s", expr, err, compile)
			return
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%q: %v is no ErrSyntax", expr, err)
			}
			return
		}
		for i, want := range results {
			got := s.Eval(Properties{Lookup: func(name string) ([]byte, bool) {
				v, ok := props[i][name]
				return []byte(v), ok
			}})
			if got.String() != want {
				t.Errorf("%q with properties %d: %v, Java says %s", expr, i, got, want)
			}
		}
	})
}

// A stranger's expression is bounded in length and depth.
func TestCompile_Bounds(t *testing.T) {
	for name, text := range map[string]string{
		"long":      "a = '" + strings.Repeat("x", MaxLength) + "'",
		"deep":      strings.Repeat("(", 10000) + "a = 1" + strings.Repeat(")", 10000),
		"signs":     strings.Repeat("-", 10000) + "1 = a",
		"negations": strings.Repeat("not ", 10000) + "a",
	} {
		if _, err := Compile(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Compile(strings.Repeat("a = 1 or ", 7000) + "b = 2"); err != nil {
		t.Errorf("a long chain: %v", err)
	}
}

func TestSelector_RawProperties(t *testing.T) {
	s, err := Compile("n > 5 AND region IN ('eu', 'us')")
	if err != nil {
		t.Fatal(err)
	}
	p := Properties{Raw: []byte("n\x017\x02region\x01us\x02TAGS\x01x\x02")}
	if !s.Match(p) {
		t.Error("is not selected")
	}
	if n := testing.AllocsPerRun(100, func() { s.Match(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.Match(Properties{Raw: []byte("n\x015\x02region\x01us\x02")}) || s.Match(Properties{}) {
		t.Error("is selected")
	}
}

// No text makes the compiler or an evaluation panic.
func FuzzCompile(f *testing.F) {
	vectors(f, func(expr, _ string, _ []string, _ []map[string]string) { f.Add(expr, "a", "1") })
	f.Fuzz(func(t *testing.T, expr, name, v string) {
		s, err := Compile(expr)
		if err != nil {
			return
		}
		s.Eval(Properties{Lookup: func(n string) ([]byte, bool) { return []byte(v), n == name || n == "a" }})
	})
}

func BenchmarkSelector_Match(b *testing.B) {
	s, err := Compile("order > 5 AND region IN ('eu', 'us')")
	if err != nil {
		b.Fatal(err)
	}
	p := Properties{Raw: []byte("UNIQ_KEY\x01AC1100000001000000000000000000000001\x02order\x013\x02region\x01us\x02WAIT\x01true\x02")}
	b.ReportAllocs()
	for b.Loop() {
		s.Match(p)
	}
}
