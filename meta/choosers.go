package meta

import (
	"time"

	"rocketd/filter"
)

// chooser is a group that filters by properties, as far as the bits of messages are concerned (ConsumeQueueExt). It is immutable.
type chooser struct {
	group, expression string
	version           int64
	bornMs            int64 // what is stored later has its bits
	size              int   // of a map of bits, bytes
	bits              []int32
	wants             func(record []byte) bool
	may               func(storeMs int64, bits []byte) bool // c.mayWant
}

// bornAfter is how long after a group is seen first, or with another expression, its bits are trusted: what is stored meanwhile may
// have been looked at before.
const bornAfter = 10 * time.Second

// show makes what is in the table known to Bits and MayWant, where it is not. Bits of an earlier process are not trusted: it may have
// set others. f.mu is held, or nobody knows f yet.
func (f *Filters) show() {
	old := make(map[string][]*chooser)
	if p := f.shown.Load(); p != nil {
		old = *p
	}
	all := make(map[string][]*chooser, len(f.table.Topics))
	for name, t := range f.table.Topics {
		for group, d := range t.Groups {
			if c := f.chooser(name, group, d, old[name]); c != nil {
				all[name] = append(all[name], c)
			}
		}
	}
	f.shown.Store(&all)
}

// chooser returns what is known of a group, made anew if anything of it changed; nil for one that has no bits.
func (f *Filters) chooser(name, group string, d *FilterData, old []*chooser) *chooser {
	born := max(d.BornTime, f.opened.UnixMilli()) + bornAfter.Milliseconds()
	for _, c := range old {
		if c.group == group && c.version == d.ClientVersion && c.expression == d.Expression && c.bornMs == born {
			return c
		}
	}
	e, err := filter.Compile(d.ExpressionType, d.Expression)
	if err != nil || e.Wants() == nil {
		return nil
	}
	c := &chooser{group: group, expression: d.Expression, version: d.ClientVersion, bornMs: born, size: int(f.bloom.Size() / 8),
		bits: f.bloom.Bits(group + "#" + name), wants: e.Wants()}
	c.may = c.mayWant
	return c
}

// Bits appends to dst the map of the groups that want a record of a topic; nothing where none filters by properties. It does not
// block. Source: Java CommitLogDispatcherCalcBitMap.
func (f *Filters) Bits(dst []byte, topic string, record []byte) []byte {
	choosers := (*f.shown.Load())[topic]
	if len(choosers) == 0 {
		return dst
	}
	at := len(dst)
	for range choosers[0].size {
		dst = append(dst, 0)
	}
	for _, c := range choosers {
		if c.wants(record) {
			filter.SetBits(dst[at:], c.bits)
		}
	}
	return dst
}

// MayWant returns what tells, by the store time and the bits of a message, whether a group may want it, as it does with a version of
// its subscription; nil if that is not known here. It does not block and allocates nothing. Source: Java
// ExpressionMessageFilter.isMatchedByConsumeQueue.
func (f *Filters) MayWant(group, topic []byte, version int64) func(storeMs int64, bits []byte) bool {
	for _, c := range (*f.shown.Load())[string(topic)] {
		if c.group == string(group) && c.version == version {
			return c.may
		}
	}
	return nil
}

func (c *chooser) mayWant(storeMs int64, bits []byte) bool {
	return storeMs <= c.bornMs || len(bits) != c.size || filter.HasBits(bits, c.bits)
}
