package metasync

import (
	"context"
	"fmt"
	"maps"
	"time"

	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/topic"
)

// table is how a master hands out its topics, or its groups.
type table struct {
	taken bool // it was fetched once
	whole bool // the master sends all of it, whatever it is asked for
	size  int
}

// Limits of a table that is fetched in pages.
const (
	pageSize   = 2000 // entries that are asked for at once. Source: Java BrokerOuterAPI
	restarts   = 3    // when the table changes between two pages; then it is asked for as a whole
	maxPages   = 4096
	maxEntries = 1 << 20
)

// page is a piece of a table as the master sent it. All entries count, whether they make sense or not.
type page[C any] struct {
	version   protocol.DataVersion
	entries   map[string]*C
	forbidden map[string]map[string]int32 // of groups only
	mapped    protocol.DataVersion        // of topics only, and the next: of the mappings of static topics
	mappings  map[string]*topic.Mapping
	total     protocol.Opt[int32] // entries of all pages; masters without pages do not tell
}

// all tells whether it is the whole table.
func (p *page[C]) all() bool { return !p.total.Set || len(p.entries) >= int(p.total.V) }

// asker asks for the page of n entries from place seq on, of the table of that version; for all of it if n is 0.
type asker[C any] func(ctx context.Context, seq, n int32, version string) (*page[C], error)

// version is that of a table with what hangs on it.
type version struct{ table, mapped protocol.DataVersion }

func (p *page[C]) is() version { return version{p.version, p.mapped} }

// fetch returns the master's table; nil if it is that of version have still, which is not believed the first time.
func fetch[C any](ctx context.Context, t *table, have version, ask asker[C]) (*page[C], error) {
	n := int32(1) // just for the version
	if !t.taken || t.whole {
		n = pageSize
	}
	p, err := ask(ctx, 0, n, "")
	if err != nil {
		return nil, err
	}
	t.whole = p.all() && (t.whole || len(p.entries) > int(n))
	t.size = max(len(p.entries), int(p.total.V))
	if t.taken && p.is() == have {
		return nil, nil
	}
	if !p.all() {
		if p, err = pages(ctx, ask); err != nil {
			return nil, err
		}
	}
	if len(p.entries) == 0 { // every broker has some of its own
		return nil, fmt.Errorf("%w: the table is empty", rpc.ErrAnswer)
	}
	return p, nil
}

// again is when a table is to be asked for again.
func (t *table) again() time.Duration {
	if t.whole && t.size > small {
		return long
	}
	return short
}

// pages reads a table page by page. When it changes meanwhile, this begins anew.
func pages[C any](ctx context.Context, ask asker[C]) (*page[C], error) {
	for range restarts {
		p, err := unchanged(ctx, ask)
		if p != nil || err != nil {
			return p, err
		}
	}
	return ask(ctx, 0, 0, "")
}

// unchanged reads a table page by page; nil if it has changed on the way.
func unchanged[C any](ctx context.Context, ask asker[C]) (*page[C], error) {
	all := &page[C]{entries: make(map[string]*C), forbidden: make(map[string]map[string]int32), mappings: make(map[string]*topic.Mapping)}
	version, seq := "", 0
	for range maxPages {
		p, err := ask(ctx, int32(seq), pageSize, version)
		switch {
		case err != nil:
			return nil, err
		case seq == 0:
			all.version, all.mapped, all.total = p.version, p.mapped, p.total
			text, err := p.version.Marshal()
			if err != nil {
				return nil, err
			}
			version = string(text)
		case p.is() != all.is():
			return nil, nil
		}
		if len(p.entries) == 0 || p.total.V > maxEntries {
			return nil, fmt.Errorf("%w: %d entries at %d of %d", rpc.ErrAnswer, len(p.entries), seq, p.total.V)
		}
		maps.Copy(all.entries, p.entries)
		maps.Copy(all.forbidden, p.forbidden)
		maps.Copy(all.mappings, p.mappings)
		if seq += len(p.entries); seq >= int(p.total.V) {
			return all, nil
		}
	}
	return nil, fmt.Errorf("%w: it has more than %d pages", rpc.ErrAnswer, maxPages)
}
