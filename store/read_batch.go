package store

import (
	"errors"

	"rocketd/store/consumequeue"
)

// batchQueue is get.queue for a Batch queue: its units are looked for by offset and stand for several messages each. A
// record is got as a whole, also where From is one of its later messages: consumers leave out what comes before.
func (g *get) batchQueue(q *consumequeue.Queue) bool {
	set := g.store.batches
	find, read := set.Find, set.Read
	if g.r.NoWait {
		find, read = set.FindCached, set.ReadCached
	}
	_, at, err := find(q, g.res.Next)
	buf := g.units[:]
	for limit := max(scanUnits, int(g.r.Max)); err == nil && limit > 0 && g.res.Next < g.res.Max; {
		var n int
		if n, err = read(q, at, buf); n == 0 {
			break
		}
		for i := 0; i < n; i += consumequeue.BatchUnitSize {
			u := consumequeue.ParseBatchUnit(buf[i:])
			g.at = u.Base
			if u.Base >= g.res.Max || !g.unit(q, u, nil) {
				g.finish()
				return !g.failed
			}
			g.res.Next = u.Base + int64(u.Count)
			at++
			limit--
		}
	}
	switch {
	case errors.Is(err, consumequeue.ErrWouldWait), g.unreachable(q, err):
		g.waits = true
	case err != nil:
		g.copyRun()
		if g.res.Count == 0 {
			g.res.Status = OffsetFoundNull
			g.res.Next = min(g.res.Next+1, g.res.Max)
			return !g.failed
		}
	}
	g.finish()
	return !g.failed
}
