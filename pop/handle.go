package pop

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"rocketd/topic"
)

// Handle is what a consumer gives back to acknowledge a message: the POP_CK property, and the field extraInfo.
//
//	ckOffset popTime invisibleTime reviveQueue retry broker queueID offset
//
// The eight are separated by one blank; the last is left out where the field offset says it. Java's proxies add a ninth, the
// place in the commit log, and more may come: they are not looked at. Source: Java ExtraInfoUtil, ReceiptHandle.
type Handle struct {
	Start       int64 // offset that the pop of the queue started from
	PopMs       int64
	InvisibleMs int64
	Revive      int32 // queue of the revive topic; order.Queue for a pop in order
	Retry       byte  // '0' the topic itself, '1' and '2' its retry topic of that version
	Broker      []byte
	QueueID     int32
	Offset      int64 // -1: not said
}

// ParseHandle takes a handle apart; Broker aliases b.
func ParseHandle(b []byte) (Handle, error) {
	var parts [8][]byte
	n := 0
	for rest, more := b, true; more && n < len(parts); n++ {
		parts[n], rest, more = bytes.Cut(rest, []byte{' '})
	}
	if n < 7 {
		return Handle{}, fmt.Errorf("extraInfo has %d parts, not %d", n, len(parts))
	}
	h := Handle{Offset: -1, Broker: parts[5]}
	var err error
	number := func(i, bits int, name string) int64 {
		v, e := strconv.ParseInt(string(parts[i]), 10, bits)
		if e == nil && v < 0 {
			e = strconv.ErrRange
		}
		if e != nil && err == nil {
			err = fmt.Errorf("extraInfo has %.40q for %s", parts[i], name)
		}
		return v
	}
	h.Start = number(0, 64, "ckOffset")
	h.PopMs = number(1, 64, "popTime")
	h.InvisibleMs = number(2, 64, "invisibleTime")
	h.Revive = int32(number(3, 32, "reviveQid"))
	h.QueueID = int32(number(6, 32, "queueId"))
	if n == 8 {
		h.Offset = number(7, 64, "offset")
	}
	if err != nil {
		return Handle{}, err
	}
	if len(parts[4]) != 1 || parts[4][0] < '0' || parts[4][0] > '2' {
		return Handle{}, fmt.Errorf("extraInfo has %.40q for the kind of topic", parts[4])
	}
	h.Retry = parts[4][0]
	return h, nil
}

// Append appends the handle as clients hold it.
func (h *Handle) Append(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, h.Start, 10), ' ')
	dst = append(strconv.AppendInt(dst, h.PopMs, 10), ' ')
	dst = append(strconv.AppendInt(dst, h.InvisibleMs, 10), ' ')
	dst = append(strconv.AppendInt(dst, int64(h.Revive), 10), ' ')
	dst = append(dst, h.Retry, ' ')
	dst = append(append(dst, h.Broker...), ' ')
	dst = strconv.AppendInt(dst, int64(h.QueueID), 10)
	if h.Offset >= 0 {
		dst = strconv.AppendInt(append(dst, ' '), h.Offset, 10)
	}
	return dst
}

// retryFlag says in a handle and in the answer of a pop where messages come from. Source: Java ExtraInfoUtil.getRetry.
func retryFlag(name string) byte {
	switch {
	case !topic.IsRetry(name):
		return '0'
	case strings.Contains(name, "+"):
		return '2'
	}
	return '1'
}

// realTopic is the topic that the kind in a handle or batch acknowledgement means. Source: Java ExtraInfoUtil.getRealTopic.
func realTopic(name, group string, retry byte) string {
	switch retry {
	case '1':
		return topic.PopRetryTopic(name, group, false)
	case '2':
		return topic.PopRetryTopic(name, group, true)
	}
	return name
}

// infos build startOffsetInfo, msgOffsetInfo and orderCountInfo of the answer of a pop: entries joined by semicolons.
type infos struct{ start, offsets, counts []byte }

func (f *infos) reset() { f.start, f.offsets, f.counts = f.start[:0], f.offsets[:0], f.counts[:0] }

func entry(dst []byte, retry byte, queue int32) []byte {
	if len(dst) > 0 {
		dst = append(dst, ';')
	}
	return append(strconv.AppendInt(append(dst, retry, ' '), int64(queue), 10), ' ')
}

// add notes what was popped of a queue.
func (f *infos) add(retry byte, queue int32, start int64, offsets []int64) {
	f.start = strconv.AppendInt(entry(f.start, retry, queue), start, 10)
	f.offsets = entry(f.offsets, retry, queue)
	for i, o := range offsets {
		if i > 0 {
			f.offsets = append(f.offsets, ',')
		}
		f.offsets = strconv.AppendInt(f.offsets, o, 10)
	}
}

// count notes how often a message of a queue was consumed in vain; with offset -1, the least of all in the answer.
func (f *infos) count(retry byte, queue int32, offset int64, times int32) {
	if offset < 0 {
		f.counts = strconv.AppendInt(entry(f.counts, retry, queue), int64(times), 10)
		return
	}
	if len(f.counts) > 0 {
		f.counts = append(f.counts, ';')
	}
	f.counts = append(f.counts, retry, ' ', 'q', 'o')
	f.counts = append(strconv.AppendInt(f.counts, int64(queue), 10), '%')
	f.counts = append(strconv.AppendInt(f.counts, offset, 10), ' ')
	f.counts = strconv.AppendInt(f.counts, int64(times), 10)
}
