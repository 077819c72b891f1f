package properties

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"
)

// Each text must give what java.util.Properties gives.
func TestParse(t *testing.T) {
	check := func(text string, want ...string) {
		t.Helper()
		m := map[string]string{}
		for i := 0; i < len(want); i += 2 {
			m[want[i]] = want[i+1]
		}
		got, err := Parse([]byte(text))
		if err != nil || !maps.Equal(got, m) {
			t.Errorf("Parse(%q) = %q, %v; want %q", text, got, err, m)
		}
	}
	check("")
	check("\n\n  \t\r\n")
	check("a=1\nb=2", "a", "1", "b", "2")
	check("a=1\r\nb=2\rc=3\n", "a", "1", "b", "2", "c", "3")
	check("# x=1\n  ! y=2\nz=3", "z", "3")
	check("a = 1 \n", "a", "1 ")
	check("a:1\nb : 2\nc 3\nd\t4\ne", "a", "1", "b", "2", "c", "3", "d", "4", "e", "")
	check("a==1\nb= =2\nc:=3", "a", "=1", "b", "=2", "c", "=3")
	check("a  b = c", "a", "b = c")
	check("a=1\na=2", "a", "2")
	check("=v", "", "v")
	check("path=C:\\\\store\\tx", "path", "C:\\store\tx")
	check(`k\=1\ x=v`, "k=1 x", "v")
	check(`k\\=v`, `k\`, "v")
	check("levels=1s \\\n    5s \\\n  10s\nb=1", "levels", "1s 5s 10s", "b", "1")
	check("a=x\\\n# y\nb=1", "a", "x# y", "b", "1")
	check("a=x\\\\\nb=1", "a", `x\`, "b", "1")
	check("a=x\\", "a", "x")
	check("\\\n\na=1", "a", "1")
	check("a=\\u00e4\\u4E2D\\n\\q", "a", "ä中\nq")
	check(`a=\uD83D\uDE00 \uD83D!`, "a", "😀 \uFFFD!")
	check("a=ä中", "a", "ä中")
	check("a=\xe4", "a", "ä")
	check("\uFEFFa=1", "a", "1")
	check("a=#!:=", "a", "#!:=")
}

// A broken escape is the only error, and it says where it is.
func TestParse_Broken(t *testing.T) {
	for _, text := range []string{"ok=1\nbad=\\u12", "ok=1\nbad=\\u12G4", "ok=1\n\\uzzzz=1"} {
		if m, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("Parse(%q) = %q, %v; want an error of line 2", text, m, err)
		}
	}
}

func TestText(t *testing.T) {
	got := Text(map[string]string{
		"brokerName":        "broker-a",
		"brokerIP1":         "10.0.0.1",
		"messageDelayLevel": "1s 5s",
		"a key":             " lead=:#!",
		"#k":                "ä😀\n\\",
		"empty":             "",
	})
	want := "\\#k=\\u00E4\\uD83D\\uDE00\\n\\\\\na\\ key=\\ lead=:#!\nbrokerIP1=10.0.0.1\nbrokerName=broker-a\nempty=\nmessageDelayLevel=1s 5s\n"
	if got != want {
		t.Errorf("Text = %q\nwant   %q", got, want)
	}
}

// Whatever was read is read again after it was written, and reading never panics.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a=1\nb:2", "a=x\\\n y", `a\=b=\u00e4\uD83D\uDE00`, "#\n!\n=", "\\", "a=\\u", "\xe4=\xff", "\v=\v", "a=\x00\x7f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		for k, v := range m {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				t.Fatalf("not UTF-8: %q=%q", k, v)
			}
		}
		text := Text(m)
		again, err := Parse([]byte(text))
		if err != nil || !maps.Equal(m, again) {
			t.Fatalf("wrote %q, read %q, %v; want %q", text, again, err, m)
		}
	})
}
