package inspect

import (
	"bytes"
	"strconv"

	"rocketd/message"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// facts is what other files must say about one record: entries of queues and of the index.
type facts struct {
	entries []entry
	hashes  []int32 // of keys; the tags' is the last if tagged
	tagged  bool

	scratch []byte
}

// entry is what a queue must say about a record.
type entry struct {
	topic  []byte
	id     int32
	offset int64
	unit   consumequeue.Unit
	delay  int32 // delay level; not 0: the tag is the time of delivery
	ms     int64 // store time
	batch  bool  // the record is an inner batch
	count  int16 // messages in it
}

// of fills in what must be said about r. The slices alias r and f, until the next call.
// Source: Java CommitLog.checkMessageAndReturnSize, MultiDispatchUtils, IndexService.buildIndex.
func (f *facts) of(r *message.Record) {
	f.entries, f.hashes, f.tagged = f.entries[:0], f.hashes[:0], false
	if r.SysFlag&message.FlagRollback == message.FlagRollback {
		return
	}
	var unique, keys, tags, delay, num, base, names, offsets []byte
	message.EachProperty(r.Properties, func(name, value []byte) bool {
		switch string(name) {
		case message.PropUniqKey:
			unique = value
		case message.PropKeys:
			keys = value
		case message.PropTags:
			tags = value
		case message.PropDelayTimeLevel:
			delay = value
		case message.PropInnerNum:
			num = value
		case message.PropInnerBase:
			base = value
		case message.PropInnerMultiDispatch:
			names = value
		case message.PropInnerMultiQueueOffset:
			offsets = value
		}
		return true
	})
	f.keys(r.Topic, unique, keys, tags)
	if !r.HasQueue() {
		return
	}
	e := entry{
		topic: r.Topic, id: r.QueueID, offset: r.QueueOffset, ms: r.StoreMs, count: 1,
		unit: consumequeue.Unit{Physical: r.Physical, Size: r.Size, Tag: message.TagsCode(tags)},
	}
	if len(delay) > 0 && string(r.Topic) == topic.Schedule {
		if level, err := message.DelayLevel(delay); err == nil {
			e.delay = max(level, 0)
		}
	}
	if r.SysFlag&message.FlagInnerBatch != 0 {
		n, err := strconv.ParseInt(string(num), 10, 16)
		first, err2 := strconv.ParseInt(string(base), 10, 64)
		if err == nil && err2 == nil && n > 0 {
			e.batch, e.count, e.offset = true, int16(n), first
		}
	}
	f.entries = append(f.entries, e)
	f.multi(e, names, offsets)
}

// multi adds the further queues that a record is in.
func (f *facts) multi(e entry, names, offsets []byte) {
	if len(names) == 0 || len(offsets) == 0 || topic.IsRetry(e.topic) || topic.IsSystem(e.topic) {
		return
	}
	for len(names) > 0 && len(offsets) > 0 {
		var name, offset []byte
		name, names, _ = bytes.Cut(names, []byte{','})
		offset, offsets, _ = bytes.Cut(offsets, []byte{','})
		n, err := strconv.ParseInt(string(offset), 10, 64)
		if err != nil || len(name) == 0 {
			continue
		}
		more := e
		more.topic, more.offset = name, n
		if isLMQ(name) {
			more.id = 0
		}
		f.entries = append(f.entries, more)
	}
}

// lmqPrefix is how the names of queues begin that exist beside a topic's own.
const lmqPrefix = "%LMQ%"

func isLMQ(name []byte) bool { return bytes.HasPrefix(name, []byte(lmqPrefix)) }

// keys adds the hashes that the index has of a message: of the unique key, the items of KEYS, and the tags, which only
// Java 5.5 and later put there.
func (f *facts) keys(topic, unique, keys, tags []byte) {
	f.scratch = append(append(f.scratch[:0], topic...), '#')
	n := len(f.scratch)
	add := func(mark string, key []byte) {
		f.scratch = append(append(f.scratch[:n], mark...), key...)
		f.hashes = append(f.hashes, keyHash(f.scratch))
	}
	if len(unique) > 0 {
		add("", unique)
	}
	for len(keys) > 0 {
		var key []byte
		if key, keys, _ = bytes.Cut(keys, []byte{' '}); len(key) > 0 {
			add("", key)
		}
	}
	if len(tags) > 0 {
		add("T#", tags)
		f.tagged = true
	}
}

// keyHash is the hash of a key string. Source: Java IndexFile.indexKeyHashMethod.
func keyHash(key []byte) int32 {
	h := int32(message.TagsCode(key))
	if h < 0 {
		h = -h
	}
	return max(h, 0)
}
