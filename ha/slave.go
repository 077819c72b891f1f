package ha

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/rungroup"
)

// SlaveLog is the log that a slave fills. The Slave is the only one that changes it.
type SlaveLog interface {
	MasterLog
	// Flushed is the position behind the last byte that is known to be on the disk.
	Flushed() int64
	// LastRecord is the start of the last record, -1 if that is not known; RecordStart that of the record, or of the blank at
	// the end of a file, that a byte belongs to.
	LastRecord() int64
	RecordStart(physical int64) (int64, error)
	// AppendLog appends whole records, and whole blanks, at the end of the log, which at must be; CutLog takes everything
	// from a record on off it, durably; RestartLog drops all and goes on at the start of another file.
	AppendLog(at int64, records []byte) error
	CutLog(physical int64) error
	RestartLog(physical int64) error
}

// SlaveConfig is what a Slave is made of. Log must be set.
type SlaveConfig struct {
	Log SlaveLog
	// Dial replaces the one of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MasterMin asks the master for the position of the first byte of its log: commitLogMinOffset of its runtime info. It is
	// asked when the log is empty, and when the master does not send what it was asked for. Nil: nobody can be asked; an
	// empty log begins where the master begins it then.
	MasterMin func(ctx context.Context) (int64, error)
	// LastFile: an empty log begins with the master's last file: syncFromLastFile.
	LastFile bool
	// SyncFlush: what is on the disk is acknowledged, not what is written. Flushed is to be rung then.
	SyncFlush bool

	Heartbeat    time.Duration // haSendHeartbeatInterval, default 5 s
	Housekeeping time.Duration // haHousekeepingInterval, default 20 s
	Logger       *slog.Logger  // default slog.Default()
}

// How a slave tries again, and how far it looks back for what it has in common with its master.
const (
	firstRetry  = 100 * time.Millisecond
	lastRetry   = time.Second
	foreignWait = time.Minute // when the two logs have nothing in common
	dialLimit   = 5 * time.Second
	firstLook   = 64 << 10
	lookFactor  = 8
)

// Slave copies the log of a master into its own. Its methods may be called from any goroutine, Run by one.
type Slave struct {
	cfg      SlaveConfig
	complain limiter
	due      chan struct{} // bell: something is on the disk

	status struct {
		state       atomic.Int32
		read, wrote atomic.Int64 // ms
		rate        rate
		err         atomic.Pointer[string]
	}

	mu      sync.Mutex // guards:
	addr    string
	changed chan struct{}
}

// NewSlave makes a slave that has no master yet.
func NewSlave(cfg SlaveConfig) *Slave {
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 5*time.Second)
	cfg.Housekeeping = cmp.Or(cfg.Housekeeping, 20*time.Second)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Slave{cfg: cfg, complain: limiter{logger: cfg.Logger}, due: make(chan struct{}, 1), changed: make(chan struct{})}
}

// SetMaster gives the HA address of the master, host:port. What is copied from another one ends; with "" nothing is copied.
func (s *Slave) SetMaster(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr != s.addr {
		s.addr = addr
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// Master is the address that SetMaster gave last; changed is closed when it gives another one.
func (s *Slave) master() (addr string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr, s.changed
}

// Flushed is the bell of the store: with SyncFlush something is on the disk. It never blocks.
func (s *Slave) Flushed() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// State is what a slave is doing.
type State int32

// The states.
const (
	Idle       State = iota // there is no master
	Connecting              // or waiting to try again
	Comparing               // looks whether its log is the master's
	Copying                 // its log is the master's, and follows
	Foreign                 // the two logs have nothing in common: it does not join
)

func (s State) String() string {
	return [...]string{"IDLE", "CONNECTING", "COMPARING", "COPYING", "FOREIGN"}[s]
}

// Status is a slave as it sees itself: haClientRuntimeInfo of GET_BROKER_HA_STATUS.
type Status struct {
	Master         string // address; "" if there is none
	State          State
	Max            int64 // end of its log
	LastRead       time.Time
	LastWrite      time.Time
	BytesPerSecond int64
	Err            string // why it does not copy; "" if it does
}

// Status tells what the slave is doing.
func (s *Slave) Status() Status {
	addr, _ := s.master()
	st := Status{
		Master: addr, State: State(s.status.state.Load()), Max: s.cfg.Log.MaxPhysical(),
		LastRead: time.UnixMilli(s.status.read.Load()), LastWrite: time.UnixMilli(s.status.wrote.Load()),
		BytesPerSecond: s.status.rate.perSecond(time.Now()),
	}
	if err := s.status.err.Load(); err != nil {
		st.Err = *err
	}
	return st
}

// Follows tells whether the log is known to be the master's, all of it: it has been compared and goes on. It is cheap.
func (s *Slave) Follows() bool { return State(s.status.state.Load()) == Copying }

// Run copies the log of the master, whatever happens to the connection, until ctx ends.
func (s *Slave) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		addr, changed := s.master()
		s.setState(Idle)
		if addr == "" {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		one, cancel := context.WithCancel(ctx)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			select {
			case <-changed:
			case <-one.Done():
			}
			cancel()
		}()
		s.stay(one, addr)
		cancel()
		<-stop
	}
	return nil
}

// stay copies from one master until ctx ends.
func (s *Slave) stay(ctx context.Context, addr string) {
	look := look{back: firstLook}
	retry := firstRetry
	for ctx.Err() == nil {
		s.setState(Connecting)
		before := s.cfg.Log.MaxPhysical()
		err := s.copy(ctx, addr, &look)
		if ctx.Err() != nil {
			return
		}
		if again := (*lookAgain)(nil); errors.As(err, &again) {
			continue
		}
		text := err.Error()
		s.status.err.Store(&text)
		wait := retry
		if retry = min(2*retry, lastRetry); s.cfg.Log.MaxPhysical() != before {
			wait, retry = firstRetry, firstRetry
		}
		s.setState(Connecting)
		if errors.Is(err, ErrForeign) {
			s.setState(Foreign)
			wait = foreignWait
		}
		s.complain.of("stopped").Warn("the log of the master is not copied; it is tried again", "master", addr, "physical", s.cfg.Log.MaxPhysical(), "err", err)
		_ = rungroup.Sleep(ctx, wait)
	}
}

func (s *Slave) setState(state State) { s.status.state.Store(int32(state)) }

// ErrForeign says that the logs of master and slave have nothing in common, though both have messages: the slave's is not
// touched.
var ErrForeign = errors.New("the log has nothing in common with the master's; if this is the right master, move the store away to begin with an empty one")

// look is how far a slave looks back for what it has in common with its master.
type look struct {
	back  int64 // bytes from the end of its log
	floor int64 // but not before
}

// lookAgain says that the connection did its work, and another one is to be made at once.
type lookAgain struct{ why string }

func (e *lookAgain) Error() string { return e.why }

// start makes an empty log ready for the first byte of the master's, and tells from where on to ask for the log, and
// whether what comes first is to be compared with what is there.
func (s *Slave) start(ctx context.Context, look *look) (from int64, err error) {
	log := s.cfg.Log
	low, high := log.MinPhysical(), log.MaxPhysical()
	if low < high {
		from = high - look.back
		if last := log.LastRecord(); last >= 0 {
			from = min(from, last)
		} else if look.back == firstLook {
			if last, err = log.RecordStart(high - 1); err != nil {
				return 0, err
			}
			from = min(from, last)
		}
		return max(from, low, look.floor), nil
	}
	if s.cfg.LastFile || s.cfg.MasterMin == nil {
		return 0, nil
	}
	first, err := s.cfg.MasterMin(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot ask the master where its log begins: %w", err)
	}
	if first != high {
		if err := log.RestartLog(first); err != nil {
			return 0, err
		}
	}
	return log.MaxPhysical(), nil
}
