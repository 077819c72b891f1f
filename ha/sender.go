package ha

import (
	"net"
	"sync"
	"time"
)

// sender turns a run of the log into frames that one write sends.
type sender struct {
	batch int64
	buf   []byte
	heads []byte
	list  net.Buffers
}

func newSender(batch int) *sender { return &sender{batch: int64(batch)} }

// read reads at most n bytes of the log from at on, at least one.
func (s *sender) read(log MasterLog, at, n int64) (int64, error) {
	if int64(len(s.buf)) < n {
		s.buf = make([]byte, min(max(2*n, 64<<10), runBytes))
	}
	got, err := log.ReadLog(at, s.buf[:n])
	if err == nil && got == 0 {
		err = errNothing
	}
	return int64(got), err
}

// frames returns the n bytes read as frames. They are valid until the next call of anything.
func (s *sender) frames(at, n int64) net.Buffers {
	s.heads, s.list = s.heads[:0], s.list[:0]
	if need := int(n/s.batch+1) * headSize; cap(s.heads) < need {
		s.heads = make([]byte, 0, need)
	}
	for from := int64(0); from < n; from += s.batch {
		to := min(from+s.batch, n)
		head := len(s.heads)
		s.heads = appendHead(s.heads, at+from, int(to-from))
		s.list = append(s.list, s.heads[head:], s.buf[from:to])
	}
	return s.list
}

// heartbeat returns the frame that says where the next one begins.
func (s *sender) heartbeat(at int64) net.Buffers {
	s.heads = appendHead(s.heads[:0], at, 0)
	s.list = append(s.list[:0], s.heads)
	return s.list
}

// pace lets so many bytes a second pass, in tenths of it.
type pace struct {
	perSecond int64 // 0: no limit
	from      time.Time
	spent     int64
}

const paceStep = time.Second / 10

// allow returns how many of n bytes may pass now.
func (p *pace) allow(now time.Time, n int64) int64 {
	if p.perSecond <= 0 {
		return n
	}
	if now.Sub(p.from) >= paceStep {
		p.from, p.spent = now, 0
	}
	return min(n, max(p.perSecond/int64(time.Second/paceStep), 1)-p.spent)
}

func (p *pace) took(n int64) { p.spent += n }

// wait is how long it may take until something may pass.
func (p *pace) wait() time.Duration { return paceStep }

// rate counts bytes a second.
type rate struct {
	mu     sync.Mutex // guards:
	from   time.Time  // begin of the second that is counted
	count  int64
	before int64 // bytes of the one before
}

func (r *rate) add(now time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roll(now)
	r.count += n
}

func (r *rate) roll(now time.Time) {
	switch d := now.Sub(r.from); {
	case d >= 2*time.Second:
		r.from, r.before, r.count = now, 0, 0
	case d >= time.Second:
		r.from, r.before, r.count = r.from.Add(time.Second), r.count, 0
	}
}

// perSecond is the count of the last full second.
func (r *rate) perSecond(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roll(now)
	return r.before
}
