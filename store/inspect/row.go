package inspect

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"rocketd/message"
)

// Row is a message as `rocketd store dump` prints it, one a line.
type Row struct {
	T              string            `json:"t"` // msg
	Topic          string            `json:"topic"`
	QueueID        int32             `json:"queueId"`
	QueueOffset    int64             `json:"queueOffset"`
	Phy            int64             `json:"phy"`
	Size           int32             `json:"size"`
	MsgID          string            `json:"msgId"`
	Magic          string            `json:"magic"`
	SysFlag        int32             `json:"sysFlag"`
	Flag           int32             `json:"flag"`
	BornMs         int64             `json:"bornTimestamp"`
	BornHost       string            `json:"bornHost"`
	StoreMs        int64             `json:"storeTimestamp"`
	StoreHost      string            `json:"storeHost"`
	ReconsumeTimes int32             `json:"reconsumeTimes"`
	PreparedOffset int64             `json:"preparedTransactionOffset"`
	BodyCRC        int32             `json:"bodyCRC"`
	BodyLen        int               `json:"bodyLen"`
	BodySha256     string            `json:"bodySha256"`
	PlainLen       *int              `json:"plainLen,omitempty"`    // decompressed, if that can be done
	PlainSha256    string            `json:"plainSha256,omitempty"` // likewise
	RecordSha256   string            `json:"recordSha256"`
	Tags           *string           `json:"tags"`
	Keys           *string           `json:"keys"`
	Properties     map[string]string `json:"properties"`
	Body           *string           `json:"body,omitempty"`       // the body as text
	BodyBase64     []byte            `json:"bodyBase64,omitempty"` // or what is no text
}

// BodyForm is how a Row shows the body.
type BodyForm string

// The forms. Text falls back to base64 for what is no UTF-8. Both show what the producer sent, decompressed if possible.
const (
	BodyNone   BodyForm = "none"
	BodyText   BodyForm = "text"
	BodyBase64 BodyForm = "base64"
)

// NewRow makes the row of a message.
func NewRow(m *Message, body BodyForm) *Row {
	r := m.Record
	row := &Row{
		T: "msg", Topic: m.Topic, QueueID: m.Queue, QueueOffset: m.Offset, Phy: r.Physical, Size: r.Size,
		MsgID: string(message.AppendOffsetID(nil, r.StoreHost, r.Physical)), Magic: fmt.Sprintf("%08x", uint32(r.Magic)),
		SysFlag: r.SysFlag, Flag: r.Flag, BornMs: r.BornMs, BornHost: r.BornHost.String(), StoreMs: r.StoreMs,
		StoreHost: r.StoreHost.String(), ReconsumeTimes: r.ReconsumeTimes, PreparedOffset: r.PreparedOffset,
		BodyCRC: r.BodyCRC, BodyLen: len(r.Body), BodySha256: sum(r.Body), RecordSha256: sum(m.Raw),
		Properties: Properties(r),
	}
	if v, ok := row.Properties[message.PropTags]; ok {
		row.Tags = &v
	}
	if v, ok := row.Properties[message.PropKeys]; ok {
		row.Keys = &v
	}
	plain, err := Plain(r)
	if err == nil && r.SysFlag&message.FlagCompressed != 0 {
		n := len(plain)
		row.PlainLen, row.PlainSha256 = &n, sum(plain)
	}
	switch {
	case body == BodyText && utf8.Valid(plain):
		text := string(plain)
		row.Body = &text
	case body == BodyText || body == BodyBase64:
		row.BodyBase64 = plain
	}
	return row
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Properties returns the properties of a record.
func Properties(r *message.Record) map[string]string {
	all := make(map[string]string)
	message.EachProperty(r.Properties, func(name, value []byte) bool {
		all[string(name)] = string(value)
		return true
	})
	return all
}

// maxPlain bounds what a compressed body may become, bytes.
const maxPlain = 64 << 20

// ErrCompression is returned by Plain for bodies in LZ4 or zstd.
var ErrCompression = errors.New("body is compressed in a way that this command cannot read")

// Plain returns the body as the producer gave it to its client. One that cannot be decompressed is returned as it is,
// with an error.
func Plain(r *message.Record) ([]byte, error) {
	if r.SysFlag&message.FlagCompressed == 0 {
		return r.Body, nil
	}
	if kind := r.SysFlag & message.CompressionMask; kind != 0 && kind != message.CompressionZlib {
		return r.Body, ErrCompression
	}
	z, err := zlib.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return r.Body, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxPlain+1))
	if err == nil && len(plain) > maxPlain {
		err = fmt.Errorf("body has more than %d bytes when decompressed", maxPlain)
	}
	if err != nil {
		return r.Body, err
	}
	return plain, nil
}
