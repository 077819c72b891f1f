package inspect

import (
	"context"
	"fmt"
	"path/filepath"

	"rocketd/message"
)

// Plan is what a repair will do, in order, and what it did.
type Plan struct {
	Actions []Action `json:"actions"`
	// Left is what a repair does not mend.
	Left []string `json:"left"`

	v *verifier
}

// Action is one step of a repair.
type Action struct {
	Do    string `json:"do"`
	File  string `json:"file"`
	At    int64  `json:"at,omitempty"`    // byte in the file
	Bytes int64  `json:"bytes,omitempty"` // how many from there on
	Text  string `json:"text"`

	act func(r *repair) error
}

// What actions do.
const (
	DoAside   = "move aside"
	DoResize  = "resize"
	DoFill    = "fill"  // make records of nobody out of damaged bytes
	DoBlank   = "blank" // end a log file early
	DoCut     = "cut"   // end the log
	DoRebuild = "rebuild"
	DoWrite   = "write"
)

// Plan verifies the store and says what Repair would do. It writes nothing.
func (s *Store) Plan(ctx context.Context) (*Plan, *Report, error) {
	v, err := s.verify(ctx)
	if err != nil {
		return nil, v.report, err
	}
	p := &Plan{v: v, Actions: []Action{}, Left: []string{}}
	p.logFiles()
	for _, g := range v.gaps {
		p.gap(g)
	}
	for _, h := range v.headers {
		p.header(h)
	}
	p.queues()
	p.index()
	p.config()
	stale := false
	for _, f := range v.report.Findings {
		stale = stale || f.Kind == KindCheckpoint && f.Level != Note
	}
	if len(p.Actions) > 0 || stale {
		p.add(Action{Do: DoWrite, File: "checkpoint", Text: "says that log and queues are on the disk", act: (*repair).checkpoint})
	}
	return p, v.report, nil
}

func (p *Plan) add(a Action) { p.Actions = append(p.Actions, a) }

// logFiles gives every file of the log its length.
func (p *Plan) logFiles() {
	s := p.v.s
	for _, f := range s.strays {
		p.add(Action{Do: DoAside, File: s.relative(f.name), Text: "it lies across other files of the log", act: func(r *repair) error { return r.aside(f.name) }})
	}
	for i := range s.log {
		f := &s.log[i]
		switch {
		case f.size == 0 && i == len(s.log)-1:
			p.add(Action{Do: DoAside, File: s.relative(f.name), Text: "it is empty", act: func(r *repair) error { return r.aside(f.name) }})
		case f.size < s.logSize:
			p.add(Action{Do: DoResize, File: s.relative(f.name), Bytes: s.logSize, Text: fmt.Sprintf("from %d bytes, with zeros", f.size),
				act: func(r *repair) error { return r.resize(f.name, s.logSize) }})
		case f.size > s.logSize:
			p.add(Action{Do: DoResize, File: s.relative(f.name), Bytes: s.logSize, Text: fmt.Sprintf("from %d bytes; the rest is kept aside", f.size),
				act: func(r *repair) error {
					if err := r.keep(f.name, s.logSize, f.size); err != nil {
						return err
					}
					return r.resize(f.name, s.logSize)
				}})
		}
	}
}

// gap mends a damaged piece of the log.
func (p *Plan) gap(g gap) {
	s, n := p.v.s, g.to-g.from
	if g.missing && g.tail {
		for _, f := range s.log {
			if f.start >= g.to {
				p.add(Action{Do: DoAside, File: s.relative(f.name), Text: "files before it are missing, and it holds no record",
					act: func(r *repair) error { return r.aside(f.name) }})
			}
		}
		return
	}
	if g.missing {
		for start := g.from; start < g.to; start += s.logSize {
			name := filepath.Join(s.cfg.CommitLogDirs[0], segmentName(start))
			p.add(Action{Do: DoBlank, File: s.relative(name), Bytes: s.logSize, Text: "a new file in place of the missing one, which says that the log goes on in the next",
				act: func(r *repair) error { return r.newBlank(name) }})
		}
		return
	}
	at, name := g.from-g.file.start, g.file.name
	a := Action{File: s.relative(name), At: at, Bytes: n}
	kept := "; the bytes are kept aside"
	switch {
	case g.tail:
		a.Do, a.Text = DoCut, "the log ends here: no whole record follows"+kept
		a.act = func(r *repair) error { return r.cut(name, at, at+n) }
	case g.to == g.file.start+s.logSize && n >= message.BlankSize:
		a.Do, a.Text = DoBlank, "the log goes on in the next file"+kept
		a.act = func(r *repair) error { return r.blank(name, at, n) }
	case n >= message.MinSize:
		a.Do, a.Text = DoFill, "a rolled-back message, which nobody sees, takes the place of the damaged bytes"+kept
		a.act = func(r *repair) error { return r.fill(name, at, g.from, n) }
	default:
		p.Left = append(p.Left, fmt.Sprintf("%s at %d: %d damaged bytes are too few for a record", s.relative(name), at, n))
		return
	}
	p.add(a)
}

// header gives a record the place back that its entry says.
func (p *Plan) header(h header) {
	s := p.v.s
	for _, f := range s.log {
		if at := h.physical - f.start; at >= 0 && at < s.logSize {
			p.add(Action{Do: DoWrite, File: s.relative(f.name), At: at, Bytes: h.topicAt + int64(len(h.topic)),
				Text: fmt.Sprintf("topic %s, queue %d, offset %d, as the queue says of this record; the bytes are kept aside", h.topic, h.id, h.offset),
				act:  func(r *repair) error { return r.header(f.name, at, h) }})
		}
	}
}

// queues builds again what is not as the log says.
func (p *Plan) queues() {
	v := p.v
	if v.s.rocks {
		return
	}
	for _, q := range v.order {
		switch {
		case !q.broken:
		case q.last < 0 && len(q.starts) > 0: // it has numbers, which no record in the log knows any more
			p.emptyQueue(q)
			q.broken = false
		case len(q.starts) > 0:
			p.add(Action{Do: DoAside, File: v.s.relative(q.dir), Text: "the queue is built again", act: func(r *repair) error { return r.aside(q.dir) }})
		}
	}
	var broken []*queue
	for _, q := range v.order {
		if !q.broken {
			continue
		}
		kind := "consumequeue"
		if q.batch {
			kind = "batchconsumequeue"
		}
		if q.dir == "" {
			q.dir = v.s.path(kind, q.topic, fmt.Sprint(q.id))
		}
		broken = append(broken, q)
		a := Action{Do: DoRebuild, File: v.s.relative(q.dir), Text: "from the log"}
		p.add(a)
	}
	if len(broken) > 0 {
		p.Actions[len(p.Actions)-1].act = func(r *repair) error { return r.rebuildQueues(broken) }
	}
}

// emptyQueue takes away what is behind the last entry of a queue that has no record in the log. Its entries stay: they
// say where its numbers go on.
func (p *Plan) emptyQueue(q *queue) {
	s, us := p.v.s, q.unitSize()
	if q.junk <= q.max {
		p.Left = append(p.Left, fmt.Sprintf("%s: no record of it is left in the log to build it from", s.relative(q.dir)))
		return
	}
	for _, start := range q.starts {
		if from := max(q.max*us-start, 0); from < q.size {
			name := filepath.Join(q.dir, segmentName(start))
			p.add(Action{Do: DoCut, File: s.relative(name), At: from, Bytes: q.size - from, Text: "no entry follows; the bytes are kept aside",
				act: func(r *repair) error { return r.cut(name, from, q.size) }})
		}
	}
}

// index builds the index again as a whole.
func (p *Plan) index() {
	x := p.v.index
	if !x.broken {
		return
	}
	for _, name := range p.v.s.index {
		p.add(Action{Do: DoAside, File: p.v.s.relative(name), Text: "the index is built again", act: func(r *repair) error { return r.aside(name) }})
	}
	sh := x.shape
	if sh.slots == 0 {
		sh = indexShape{defaultSlots, defaultEntries}
	}
	p.add(Action{Do: DoRebuild, File: "index", Text: fmt.Sprintf("from the log, in files of %d slots and %d entries", sh.slots, sh.entries),
		act: func(r *repair) error { return r.rebuildIndex(sh) }})
}

// config puts backups in the place of files that cannot be used.
func (p *Plan) config() {
	for _, name := range p.v.configs {
		file := filepath.Join("config", name)
		p.add(Action{Do: DoWrite, File: file, Text: "from its backup; what cannot be used is kept aside",
			act: func(r *repair) error { return r.restore(p.v.s.path("config", name)) }})
	}
	for _, f := range p.v.report.Findings {
		if f.Kind == KindConfig && f.Level == Damage {
			p.Left = append(p.Left, f.File+": "+f.Text)
		}
	}
}
