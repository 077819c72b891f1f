package route

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

const (
	versionRegisterBody = 37  // V3_0_11: before, the body is the topics alone
	versionMapping      = 413 // V5_0_0: from then on a compressed body ends with queue mappings

	// maxInflated bounds a compressed body: at 80 bytes a topic some 800,000 topics.
	maxInflated = 64 << 20
)

// DecodeBody reads the body of a REGISTER_BROKER request: the topics and the filter servers. version is that of the
// sender, crc what its header says of the body; 0 is not checked. An empty body stands for no topics and a zero
// version. A body that Java would refuse because its header calls it uncompressed is recognised by its first byte.
//
// A compressed body is zlib around the following, where text is an int32 length and so many bytes:
//
//	text   DataVersion as JSON
//	int32  number of topics
//	text   for each: name, read queues, write queues, perm, filter type, attributes as JSON, divided by blanks
//	text   filter servers as a JSON list
//	int32  number of queue mappings; these and the next from 5.0 on
//	text   for each: TopicQueueMappingInfo as JSON
//
// Source: Java RegisterBrokerBody, DefaultRequestProcessor.registerBroker.
func DecodeBody(body []byte, version int32, compressed bool, crc int32) (protocol.TopicConfigAndMappingSerializeWrapper, []string, error) {
	var topics protocol.TopicConfigAndMappingSerializeWrapper
	if crc != 0 && crc != int32(crc32.ChecksumIEEE(body)&0x7fffffff) {
		return topics, nil, protocol.Errorf(protocol.SystemError, "crc32 not match")
	}
	var filters []string
	var err error
	switch {
	case len(body) == 0:
	case version < versionRegisterBody:
		err = laxjson.Unmarshal(body, &topics)
	case compressed || body[0] == 0x78: // zlib; no JSON text begins with an x
		filters, err = decodeCompressed(body, version, &topics)
	default:
		var b protocol.RegisterBrokerBody
		err = laxjson.Unmarshal(body, &b)
		topics, filters = b.TopicConfigSerializeWrapper, b.FilterServerList
	}
	if err != nil {
		return topics, nil, protocol.Errorf(protocol.SystemError, "cannot read the body of the registration: %v", err)
	}
	return topics, filters, nil
}

func decodeCompressed(body []byte, version int32, topics *protocol.TopicConfigAndMappingSerializeWrapper) (filters []string, err error) {
	plain, err := inflate(body, maxInflated)
	if err != nil {
		return nil, err
	}
	r := reader{plain}
	if err := r.json(&topics.DataVersion); err != nil {
		return nil, fmt.Errorf("data version: %w", err)
	}
	n, err := r.count()
	if err != nil {
		return nil, fmt.Errorf("number of topics: %w", err)
	}
	topics.TopicConfigTable = make(map[string]*topic.Config, n)
	for range n {
		text, err := r.text()
		if err != nil {
			return nil, fmt.Errorf("topic: %w", err)
		}
		c, err := decodeTopic(string(text))
		if err != nil {
			return nil, err
		}
		topics.TopicConfigTable[c.Name] = c
	}
	if err := r.json(&filters); err != nil {
		return nil, fmt.Errorf("filter servers: %w", err)
	}
	if version < versionMapping {
		return filters, nil
	}
	if n, err = r.count(); err != nil {
		return nil, fmt.Errorf("number of queue mappings: %w", err)
	}
	topics.TopicQueueMappingInfoMap = make(map[string]topic.MappingInfo, n)
	for range n {
		var m topic.MappingInfo
		if err := r.json(&m); err != nil {
			return nil, fmt.Errorf("queue mapping: %w", err)
		}
		topics.TopicQueueMappingInfoMap[m.Topic] = m
	}
	return filters, nil
}

// inflate undoes zlib, up to limit bytes.
func inflate(body []byte, limit int64) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err == nil && int64(len(plain)) > limit {
		err = fmt.Errorf("more than %d bytes when inflated", limit)
	}
	return plain, err
}

// decodeTopic reads one topic. Filter type and attributes are of no use to a NameServer.
func decodeTopic(text string) (*topic.Config, error) {
	f := strings.SplitN(text, " ", 5)
	if len(f) < 4 || f[0] == "" {
		return nil, fmt.Errorf("topic %q: want name, read queues, write queues, perm", text)
	}
	var n [3]int32
	for i := range n {
		v, err := strconv.ParseInt(f[i+1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("topic %q: %w", f[0], err)
		}
		n[i] = int32(v)
	}
	return &topic.Config{Name: f[0], ReadQueueNums: n[0], WriteQueueNums: n[1], Perm: topic.Perm(n[2])}, nil
}

// reader takes a compressed body apart, once inflated.
type reader struct{ rest []byte }

var errShort = errors.New("ends too early")

func (r *reader) int() (int, error) {
	if len(r.rest) < 4 {
		return 0, errShort
	}
	n := int32(binary.BigEndian.Uint32(r.rest))
	r.rest = r.rest[4:]
	if n < 0 {
		return 0, fmt.Errorf("length %d", n)
	}
	return int(n), nil
}

// count reads a number of texts; each takes four bytes at least.
func (r *reader) count() (int, error) {
	n, err := r.int()
	if err == nil && n > len(r.rest)/4 {
		err = errShort
	}
	return n, err
}

func (r *reader) text() ([]byte, error) {
	n, err := r.int()
	if err != nil {
		return nil, err
	}
	if n > len(r.rest) {
		return nil, errShort
	}
	t := r.rest[:n]
	r.rest = r.rest[n:]
	return t, nil
}

func (r *reader) json(v any) error {
	t, err := r.text()
	if err != nil || len(t) == 0 {
		return err
	}
	return laxjson.Unmarshal(t, v)
}
