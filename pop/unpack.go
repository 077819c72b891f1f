package pop

import (
	"rocketd/message"
	"rocketd/store"
)

// unpack takes the batches apart that were read of a Batch queue: each message in them is filtered and popped by itself, as a record
// like those of other queues, at most room from offset from on. The records are dst[was:], r.offsets[first:] their first offsets; the
// records of the messages that are popped take their place, and res is what a read of them would say.
//
// Java's broker lends a whole batch under the offset of its first message. Its clients take batches apart, look in vain for the
// offsets of the others, and lose all.
func (r *reply) unpack(dst []byte, was, first, room int, from int64, res *store.ReadResult) []byte {
	r.packed = append(r.packed[:0], dst[was:]...)
	r.bases = append(r.bases[:0], r.offsets[first:]...)
	dst, r.offsets = dst[:was], r.offsets[:first]
	packed, end := r.packed, res.Next
	for i, base := range r.bases {
		size, _ := message.PeekSize(packed)
		m, err := message.Decode(packed[:size])
		packed = packed[size:]
		if err != nil {
			continue // the store has looked at it
		}
		behind := end
		if i+1 < len(r.bases) {
			behind = r.bases[i+1]
		}
		next := base
		_ = eachMessage(&m, func(one *message.Draft) error { // what is no batch ends it
			if next >= from && next < behind && len(r.offsets)-first < room {
				dst = r.popOne(dst, one, &m, next)
				res.Next = next + 1
			}
			next++
			return nil
		})
		if len(r.offsets)-first == room {
			break
		}
		res.Next = behind
	}
	if res.Count = len(r.offsets) - first; res.Count == 0 {
		res.Status = store.NoMatchedMessage
	}
	return dst
}

// popOne appends the record of a message at an offset, if it is wanted; m is the record that it lay in.
func (r *reply) popOne(dst []byte, one *message.Draft, m *message.Record, offset int64) []byte {
	if match := r.ask.want.Func(); match != nil && !match(message.TagOf(one.Properties)) {
		return dst
	}
	at := len(dst)
	dst = message.AppendRecord(dst, one)
	message.Patch(dst[at:], offset, m.Physical, m.StoreMs)
	if wants := r.ask.want.Wants(); wants != nil && !wants(dst[at:]) {
		return dst[:at]
	}
	r.offsets = append(r.offsets, offset)
	return dst
}

// eachMessage calls fn for each message of a batch, or for the one that the record is.
func eachMessage(m *message.Record, fn func(one *message.Draft) error) error {
	one := m.Draft()
	one.PreparedOffset = m.PreparedOffset
	if m.SysFlag&message.FlagInnerBatch == 0 {
		return fn(&one)
	}
	one.SysFlag &^= message.FlagInnerBatch | message.FlagNeedUnwrap
	return message.EachInBatch(m.Body, func(flag int32, body, props []byte) error {
		one.Flag, one.Body, one.Properties = flag, body, props
		return fn(&one)
	})
}

// unpackOne makes m the message with a number of the batch that it is, counted from 0, or of itself; false if there is none.
func unpackOne(m *message.Record, number int64) bool {
	found := false
	_ = eachMessage(m, func(one *message.Draft) error {
		if number == 0 {
			m.Flag, m.SysFlag, m.Body, m.Properties, found = one.Flag, one.SysFlag, one.Body, one.Properties, true
		}
		number--
		return nil
	})
	return found
}
