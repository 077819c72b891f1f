package message

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func lateRecord(props string) []byte {
	return AppendRecord(nil, &Draft{Topic: []byte("t"), Body: []byte("body"), Properties: []byte(props),
		BornHost: netip.MustParseAddrPort("[::1]:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2")})
}

// What is added late is as if the record had been encoded with it; the separator between is there once.
func TestAppendLate(t *testing.T) {
	for _, c := range []struct {
		name, props, more string
		crc               bool
		want              string // \x03 stands for the ten digits
	}{
		{"nothing", "", "", false, ""},
		{"nothing to an open end", "a\x01b", "", false, "a\x01b"},
		{"to nothing", "", "x\x01y\x02", false, "x\x01y\x02"},
		{"to an open end", "a\x01b", "x\x01y\x02", false, "a\x01b\x02x\x01y\x02"},
		{"to a closed end", "a\x01b\x02", "x\x01y\x02", false, "a\x01b\x02x\x01y\x02"},
		{"crc alone", "", "", true, "__CRC32#\x01\x03\x02"},
		{"crc to an open end", "a\x01b", "", true, "a\x01b\x02__CRC32#\x01\x03\x02"},
		{"crc of a client", "__CRC32#\x01123\x02a\x01b\x02", "x\x01y\x02", true, "a\x01b\x02x\x01y\x02__CRC32#\x01\x03\x02"},
	} {
		want := lateRecord(strings.Replace(c.want, "\x03", "0000000000", 1))
		got, err := AppendLate([]byte("before"), lateRecord(c.props), []byte(c.more), c.crc)
		if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%s: %q %v, not %q", c.name, got, err, want)
			continue
		}
		if !c.crc {
			continue
		}
		rec := got[len("before"):]
		Patch(rec, 1, 2, 3)
		if CheckPropCRC(rec) {
			t.Errorf("%s: a record that was not sealed counts", c.name)
		}
		SealCRC(rec)
		if !CheckPropCRC(rec) {
			t.Errorf("%s: %q does not count", c.name, rec)
		}
		for i := range rec {
			rec[i] ^= 1
			if CheckPropCRC(rec) {
				t.Errorf("%s: counts with byte %d changed", c.name, i)
			}
			rec[i] ^= 1
		}
	}
	if CheckPropCRC(nil) || CheckPropCRC(lateRecord("a\x01b\x02")) {
		t.Error("a record without a checksum counts")
	}
}

func TestAppendLate_TooLong(t *testing.T) {
	full := "a\x01" + strings.Repeat("b", MaxProperties-3) + "\x02"
	if got, err := AppendLate([]byte("x"), lateRecord(full), nil, true); !errors.Is(err, ErrProperties) || string(got) != "x" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := AppendLate(nil, []byte("junk"), nil, true); err == nil {
		t.Error("junk was taken")
	}
}

func TestRecord_InnerCount(t *testing.T) {
	for _, c := range []struct {
		flag  int32
		props string
		want  int32
	}{
		{0, "INNER_NUM\x015\x02", 1},
		{FlagInnerBatch, "INNER_NUM\x015\x02", 5},
		{FlagInnerBatch, "INNER_NUM\x0132767\x02", 32767},
		{FlagInnerBatch, "INNER_NUM\x0132768\x02", 0},
		{FlagInnerBatch, "INNER_NUM\x01-1\x02", 0},
		{FlagInnerBatch, "INNER_NUM\x01x\x02", 0},
		{FlagInnerBatch, "", 0},
	} {
		r := Record{SysFlag: c.flag, Properties: []byte(c.props)}
		if got := r.InnerCount(); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
