package message

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"testing"
)

// vectors calls check for each line of a file that Java wrote.
func vectors[T any](t *testing.T, name string, check func(v T)) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v in %s", name, err, lines.Bytes())
		}
		check(v)
	}
	if lines.Err() != nil || n == 0 {
		t.Fatal(name, n, lines.Err())
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Property strings are read, written and shortened as Java does it.
func TestProperties_Golden(t *testing.T) {
	type vector struct {
		Kind, Name, Out, RawHex, EncodedHex string
		In                                  json.RawMessage
		Map, Decoded                        map[string]string
	}
	decode := func(b []byte) map[string]string {
		m := make(map[string]string)
		EachProperty(b, func(k, v []byte) bool { m[string(k)] = string(v); return true })
		return m
	}
	vectors(t, "properties.jsonl", func(v vector) {
		switch v.Kind {
		case "decode":
			raw := unhex(t, v.RawHex)
			if got := decode(raw); !maps.Equal(got, v.Map) {
				t.Errorf("%q is %q, not %q", raw, v.Map, got)
			}
			for k, want := range v.Map {
				if got, ok := Property(raw, k); !ok || string(got) != want {
					t.Errorf("%q: %q is %q", raw, k, got)
				}
			}
		case "roundtrip":
			var b []byte
			for k, val := range v.Decoded {
				b = AppendProperty(b, k, []byte(val))
			}
			if got := decode(b); !maps.Equal(got, v.Decoded) {
				t.Errorf("%q came back as %q", v.Decoded, got)
			}
			if got := decode(unhex(t, v.EncodedHex)); !maps.Equal(got, v.Decoded) {
				t.Errorf("%s is %q", v.EncodedHex, got)
			}
		case "deleteProperty":
			var in string
			if err := json.Unmarshal(v.In, &in); err != nil {
				t.Fatal(err)
			}
			if got := WithoutProperty(nil, []byte(in), v.Name); string(got) != v.Out {
				t.Errorf("%q without %q is %q, not %q", in, v.Name, v.Out, got)
			}
			if got := WithoutProperty(nil, []byte(in), "no", v.Name); string(got) != v.Out {
				t.Errorf("%q without two names is %q, not %q", in, v.Out, got)
			}
		default:
			t.Errorf("kind %q", v.Kind)
		}
	})
}

// Tags have Java's hash, also beyond the basic plane.
func TestTagsCode_Golden(t *testing.T) {
	type vector struct {
		UTF8     string `json:"utf8"`
		TagsCode int64
	}
	vectors(t, "hash.jsonl", func(v vector) {
		if got := TagsCode(unhex(t, v.UTF8)); got != v.TagsCode {
			t.Errorf("%s: %d, not %d", v.UTF8, v.TagsCode, got)
		}
	})
}

// The checksum is the one that Java stores. The file has other functions too; these lines are of UtilAll.crc32.
func TestCRC_Golden(t *testing.T) {
	type vector struct {
		Kind, Hex string
		CRC       *int32
	}
	vectors(t, "crc.jsonl", func(v vector) {
		if v.Kind == "" && v.CRC != nil {
			if got := CRC(unhex(t, v.Hex)); got != *v.CRC {
				t.Errorf("%s: %d, not %d", v.Hex, *v.CRC, got)
			}
		}
	})
}

// Ids of stored messages go both ways.
func TestOffsetID_Golden(t *testing.T) {
	type vector struct {
		Kind, IP, ID, Error string
		Port                uint16
		Offset              int64
	}
	vectors(t, "ids.jsonl", func(v vector) {
		switch {
		case v.Kind == "offsetMsgId":
			host := netip.AddrPortFrom(netip.MustParseAddr(v.IP), v.Port)
			if got := AppendOffsetID(nil, host, v.Offset); string(got) != v.ID {
				t.Errorf("%v %d is %s, not %s", host, v.Offset, v.ID, got)
			}
			if h, off, err := ParseOffsetID(v.ID); err != nil || h != host || off != v.Offset {
				t.Errorf("%s is %v %d (%v)", v.ID, h, off, err)
			}
		case v.Kind == "decode" && v.Error != "":
			if _, _, err := ParseOffsetID(v.ID); err == nil {
				t.Errorf("%q is no id", v.ID)
			}
		}
	})
}
