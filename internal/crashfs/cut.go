package crashfs

import (
	"math/rand/v2"
	"slices"
)

// PowerCut returns a disk as a power cut at this moment may leave it: what is on the medium, and of the rest what seed
// says. This disk stays as it is, so that many others can come from one moment. Only names and files count that can be
// found from the root; nothing is open or locked, and everything is on the medium.
func (d *Disk) PowerCut(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := newRand(seed)
	c := newCut(d, rng)
	saved := make(map[*inode]map[string]*inode) // directories that are not as saved says
	for _, group := range groups(d.names) {
		n := len(group)
		if d.opt.Ordered || c.style == until {
			n, _ = slices.BinarySearchFunc(group, c.journal+1, func(op nameOp, seq int64) int { return int(op.seq - seq) })
		} else {
			n = c.upTo(0, n)
		}
		for _, op := range group[:n] {
			for _, ch := range op.changes {
				names := saved[ch.dir]
				if names == nil {
					names = make(map[string]*inode, len(ch.dir.saved)+1)
					for k, v := range ch.dir.saved {
						names[k] = v
					}
					saved[ch.dir] = names
				}
				if ch.node == nil {
					delete(names, ch.name)
				} else {
					names[ch.name] = ch.node
				}
			}
		}
	}
	to := &Disk{opt: d.opt, rng: rng, locks: make(map[string]bool)}
	var copyOf func(n *inode) *inode
	copyOf = func(n *inode) *inode {
		if !n.dir {
			medium := c.content(n)
			m := &inode{medium: medium, data: append(make([]byte, 0, max(cap(n.data), len(medium))), medium...)}
			m.taken = slices.Clone(n.taken[:min(len(n.taken), (len(medium)+Sector-1)/Sector)])
			to.count(m)
			return m
		}
		names := n.saved
		if changed := saved[n]; changed != nil {
			names = changed
		}
		m := newDir()
		for _, name := range sorted(names) { // in order: content draws from rng
			k := copyOf(names[name])
			m.names[name], m.saved[name] = k, k
		}
		return m
	}
	to.root = copyOf(d.root)
	return to
}

// Kill returns a disk as the end of the process at this moment leaves it: nothing is lost, nothing is open or locked,
// and what was not on the medium still is not. This disk stays as it is.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := &Disk{opt: d.opt, rng: newRand(d.opt.Seed ^ uint64(d.seq)), seq: d.seq, journal: d.journal, locks: make(map[string]bool)}
	done := make(map[*inode]*inode)
	var copyOf func(n *inode) *inode
	copyOf = func(n *inode) *inode {
		if n == nil {
			return nil
		}
		m := done[n]
		if m != nil {
			return m
		}
		if !n.dir {
			m = &inode{medium: slices.Clone(n.medium), data: append(make([]byte, 0, cap(n.data)), n.data...),
				events: slices.Clone(n.events), taken: slices.Clone(n.taken), gone: n.gone}
			done[n] = m
			if m.gone { // may come back with a lost removal, but takes no space
				clear(m.taken)
			}
			to.count(m)
			return m
		}
		m = newDir()
		done[n] = m
		for name, k := range n.names {
			m.names[name] = copyOf(k)
		}
		for name, k := range n.saved {
			m.saved[name] = copyOf(k)
		}
		return m
	}
	to.root = copyOf(d.root)
	for _, op := range d.names {
		changes := make([]nameChange, len(op.changes))
		for i, c := range op.changes {
			changes[i] = nameChange{copyOf(c.dir), c.name, copyOf(c.node)}
		}
		to.names = append(to.names, nameOp{op.seq, changes})
	}
	return to
}

func (d *Disk) count(n *inode) {
	for _, t := range n.taken {
		if t {
			d.used += Sector
		}
	}
}

func sorted(names map[string]*inode) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// groups puts changes of names together that happen in order: those of the same name, and those that renames tie to it.
func groups(ops []nameOp) [][]nameOp {
	type key struct {
		dir  *inode
		name string
	}
	var list [][]nameOp
	of := make(map[key]int)
	for _, op := range ops {
		to := -1
		for _, c := range op.changes {
			i, ok := of[key{c.dir, c.name}]
			switch {
			case !ok || i == to:
			case to < 0:
				to = i
			default: // a rename joins two groups
				list[to] = append(list[to], list[i]...)
				slices.SortFunc(list[to], func(a, b nameOp) int { return int(a.seq - b.seq) })
				list[i] = nil
				for k, g := range of {
					if g == i {
						of[k] = to
					}
				}
			}
		}
		if to < 0 {
			to = len(list)
			list = append(list, nil)
		}
		list[to] = append(list[to], op)
		for _, c := range op.changes {
			of[key{c.dir, c.name}] = to
		}
	}
	return list
}

// style is how much of what was not synced is kept. Choosing each sector alone would nearly never keep the most.
type style int

const (
	nothing style = iota
	everything
	until   // what happened until a moment
	mostly  // all but few pieces
	rarely  // few pieces
	anyhow  // each piece as it comes
	nStyles // how many there are
)

// cut is one power cut.
type cut struct {
	rng     *rand.Rand
	style   style
	moment  int64 // of until
	journal int64 // Ordered: the change up to which the journal is kept
	ordered bool

	onlyData bool // the journal is kept as a whole
}

func newCut(d *Disk, rng *rand.Rand) *cut {
	c := &cut{rng: rng, style: style(rng.IntN(int(nStyles))), ordered: d.opt.Ordered}
	oldest := d.seq
	if len(d.names) > 0 {
		oldest = d.names[0].seq
	}
	// Half of the moments are among the last few changes, where most is to be found.
	back := max(d.seq-oldest, 16)
	if rng.IntN(2) == 0 {
		back = 16
	}
	c.moment = d.seq - rng.Int64N(back+1)
	c.journal = d.journal + int64(c.upTo(0, int(d.seq-d.journal)))
	if c.style == until {
		c.journal = max(c.moment, d.journal)
	}
	return c
}

// upTo chooses how many of a row of steps are kept, at least lo and at most hi.
func (c *cut) upTo(lo, hi int) int {
	if lo >= hi {
		return lo
	}
	switch c.style {
	case nothing:
		return lo
	case everything:
		return hi
	case mostly:
		if c.rng.IntN(8) != 0 {
			return hi
		}
	case rarely:
		if c.rng.IntN(8) != 0 {
			return lo
		}
	}
	return lo + c.rng.IntN(hi-lo+1)
}

// content returns what a cut leaves of a file, in new memory.
func (c *cut) content(n *inode) []byte {
	ev := n.events
	if len(ev) == 0 {
		return slices.Clone(n.medium)
	}
	// The journal first: which holes and sizes are kept, a beginning of them.
	var journaled []int
	for i := range ev {
		if ev[i].kind != wrote {
			journaled = append(journaled, i)
		}
	}
	kept := len(ev) // events before it are kept if they belong to the journal
	if c.onlyData {
		// all of it is kept
	} else if c.ordered || c.style == until {
		limit := c.journal
		for _, i := range journaled {
			if ev[i].seq > limit {
				kept = i
				break
			}
		}
	} else if k := c.upTo(0, len(journaled)); k < len(journaled) {
		kept = journaled[k]
	}
	size := int64(len(n.medium))
	longest := size
	for i := range ev {
		e := &ev[i]
		end := e.off + int64(len(e.data))
		switch {
		case i >= kept:
		case e.kind == resized:
			size = e.n
		case e.kind == wrote && end > size && c.keepGrowth(e):
			size = end
		}
		longest = max(longest, size)
	}
	out := resize(append(make([]byte, 0, longest), n.medium...), longest)
	var touch []*event
	for at := int64(0); at < size; at += Sector {
		end := at + Sector
		touch = touch[:0]
		lo, hi := 0, -1
		for i := range ev {
			e := &ev[i]
			if !e.touches(at, end) {
				continue
			}
			if e.kind != wrote {
				if i >= kept && hi < 0 {
					hi = len(touch) // what comes after a hole needs the hole
				}
				if i < kept {
					lo = len(touch) + 1
				}
			}
			touch = append(touch, e)
		}
		if len(touch) == 0 {
			continue
		}
		if hi < 0 {
			hi = len(touch)
		}
		k := 0
		if c.style == until {
			for k < hi && touch[k].seq <= c.moment {
				k++
			}
			k = max(k, lo)
		} else {
			k = c.upTo(lo, hi)
		}
		for _, e := range touch[:k] {
			out = e.apply(out, at, end)
		}
	}
	return resize(out, size)
}

func (c *cut) keepGrowth(e *event) bool {
	if c.style == until {
		return e.seq <= c.moment
	}
	return c.upTo(0, 1) == 1
}

// touches tells whether an event is about bytes in [at, end).
func (e *event) touches(at, end int64) bool {
	switch e.kind {
	case wrote:
		return e.off < end && at < e.off+int64(len(e.data))
	case zeroed:
		return e.off < end && at < e.off+e.n
	default: // bytes behind a new end are gone
		return e.n < end && e.n < e.before
	}
}

// apply does to b, as far as bytes in [at, end) go, what the event did. Only when all is asked for, b changes its length.
func (e *event) apply(b []byte, at, end int64) []byte {
	whole := end-at > Sector
	switch e.kind {
	case wrote:
		if n := e.off + int64(len(e.data)); whole && n > int64(len(b)) {
			b = resize(b, n)
		}
		from, to := max(e.off, at), min(e.off+int64(len(e.data)), end, int64(len(b)))
		if from < to {
			copy(b[from:to], e.data[from-e.off:])
		}
	case zeroed:
		from, to := max(e.off, at), min(e.off+e.n, end, int64(len(b)))
		if from < to {
			clear(b[from:to])
		}
	case resized:
		if whole {
			return resize(b, e.n)
		}
		if from := max(e.n, at); from < min(end, int64(len(b))) {
			clear(b[from:min(end, int64(len(b)))])
		}
	}
	return b
}
