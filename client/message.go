package client

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"rocketd/message"
)

// Message is one that was read.
type Message struct {
	Topic      string
	Broker     string
	Queue      int32
	Offset     int64
	ID         string // the producer's, PropUniqKey; the broker's if there is none
	OffsetID   string // the broker's
	Tag        string
	Keys       string // separated by spaces
	Properties map[string]string
	Body       []byte // decompressed
	Born       time.Time
	Stored     time.Time
	BornHost   string
	Attempts   int32 // to consume it, before this one
}

func fromRecord(q Queue, r *message.Record) (*Message, error) {
	m := &Message{
		Topic: string(r.Topic), Broker: q.Broker, Queue: r.QueueID, Offset: r.QueueOffset,
		OffsetID: string(message.AppendOffsetID(nil, r.StoreHost, r.Physical)), Properties: map[string]string{},
		Born: time.UnixMilli(r.BornMs), Stored: time.UnixMilli(r.StoreMs), BornHost: r.BornHost.String(), Attempts: r.ReconsumeTimes,
	}
	message.EachProperty(r.Properties, func(name, value []byte) bool {
		m.Properties[string(name)] = string(value)
		return true
	})
	m.ID, m.Tag, m.Keys = m.Properties[message.PropUniqKey], m.Properties[message.PropTags], m.Properties[message.PropKeys]
	if m.ID == "" {
		m.ID = m.OffsetID
	}
	var err error
	m.Body, err = body(r)
	return m, err
}

// maxBody bounds what a compressed body may become, bytes.
const maxBody = 64 << 20

var errCompression = errors.New("compressed in a way that this command cannot read")

// body returns the record's body as the producer gave it to its client. One that cannot be decompressed is returned
// as it is, with an error.
func body(r *message.Record) ([]byte, error) {
	if r.SysFlag&message.FlagCompressed == 0 {
		return bytes.Clone(r.Body), nil
	}
	if kind := r.SysFlag & message.CompressionMask; kind != 0 && kind != message.CompressionZlib {
		return bytes.Clone(r.Body), errCompression
	}
	z, err := zlib.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return bytes.Clone(r.Body), err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxBody+1))
	if err == nil && len(plain) > maxBody {
		err = fmt.Errorf("more than %d bytes when decompressed", maxBody)
	}
	if err != nil {
		return bytes.Clone(r.Body), err
	}
	return plain, nil
}

// tagFilter is a subscription: "*", or tags joined by "||".
type tagFilter struct {
	expr string
	tags []string // nil is all
}

func newTagFilter(expr string) tagFilter {
	f := tagFilter{expr: "*"}
	for _, t := range strings.Split(expr, "||") {
		if t = strings.TrimSpace(t); t != "" && t != "*" {
			f.tags = append(f.tags, t)
		}
	}
	if f.tags != nil {
		f.expr = strings.Join(f.tags, " || ")
	}
	return f
}

// codes are the hashes by which a broker filters; two tags may share one, so match looks at the tag itself.
func (f tagFilter) codes() []int32 {
	var all []int32
	for _, t := range f.tags {
		all = append(all, int32(message.TagsCode([]byte(t))))
	}
	return all
}

func (f tagFilter) match(tag string) bool {
	for _, t := range f.tags {
		if t == tag {
			return true
		}
	}
	return f.tags == nil
}
