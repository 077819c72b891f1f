package ha

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/store"
)

// An empty slave gets all that the master has, and what comes, at once.
func TestPair_Empty(t *testing.T) {
	for _, before := range []int{0, 1, 30, 500} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *network, m, s *node) {
				m.send(before, 100)
				m.lead()
				s.follow(m)
				caughtUp(m, s, time.Second)
				for range 20 {
					m.send(1, 300)
					if took := within(t, time.Second, "acknowledged", func() bool { return m.master.Acked(1) == m.store.MaxPhysical() }); took > 0 {
						t.Fatal("it took a timer", took)
					}
				}
				same(m, s)
			})
		})
	}
}

// Behind, equal, and behind a restart of either side.
func TestPair_Restarts(t *testing.T) {
	bubble(t, func(t *testing.T, _ *network, m, s *node) {
		m.send(50, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		for round := range 6 {
			switch round % 3 {
			case 0:
				s.kill()
				m.send(200, 100)
				s.open()
				s.follow(m)
			case 1:
				s.kill()
				s.open()
				s.follow(m)
			case 2:
				m.kill()
				time.Sleep(time.Second)
				m.open()
				m.lead()
				m.send(3, 100)
			}
			caughtUp(m, s, 6*time.Second)
		}
	})
}

// A slave whose end is not the master's, by some bytes or by many, cuts it and is the same then.
func TestPair_Diverged(t *testing.T) {
	for _, common := range []int{1, 40, 400} {
		for _, lost := range []int{1, 20, 300, 3000} {
			for _, more := range []int{0, 1, 20, 300} { // that the master has in their place
				t.Run(fmt.Sprint(common, lost, more), func(t *testing.T) {
					bubble(t, func(t *testing.T, _ *network, m, s *node) {
						m.send(common, 150)
						m.lead()
						s.follow(m)
						caughtUp(m, s, time.Second)
						m.kill()
						s.kill()
						m.open()
						s.open()
						end := s.store.MaxPhysical()
						s.send(lost, 150)
						m.send(more, 150)
						m.lead()
						s.follow(m)
						caughtUp(m, s, 2*time.Minute)
						m.send(10, 100)
						caughtUp(m, s, time.Second)
						kept, err := s.disk.ReadDir("/store/rocketd-diverged")
						if err != nil || len(kept) != 1 || s.lines.of("the end of the log is not the master's and is cut off") != 1 {
							t.Fatal(kept, err)
						}
						info, err := kept[0].Info()
						if err != nil || info.Size() <= 0 || end == 0 {
							t.Fatal(info, err)
						}
					})
				})
			}
		}
	}
}

// When the master has removed what the slave needs next, the slave begins anew where the master's log begins.
func TestPair_HeadDeleted(t *testing.T) {
	for _, empty := range []bool{true, false} {
		t.Run(fmt.Sprint(empty), func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *network, m, s *node) {
				m.send(50, 100)
				m.lead()
				if !empty {
					s.follow(m)
					caughtUp(m, s, time.Second)
					s.kill()
					s.open()
				}
				m.send(500, 100)
				flush(m)
				if err := m.store.DropBefore(m.store.MaxPhysical()); err != nil {
					t.Fatal(err)
				}
				s.follow(m)
				caughtUp(m, s, time.Minute)
				if s.store.MinPhysical() != m.store.MinPhysical() || m.store.MinPhysical() == 0 {
					t.Fatal(s.store.MinPhysical(), m.store.MinPhysical())
				}
				m.send(100, 100)
				caughtUp(m, s, time.Second)
			})
		})
	}
}

// When the master has removed files that the slave still has, the slave keeps them, also when it must look far back.
func TestPair_HeadDeletedOnMasterOnly(t *testing.T) {
	bubble(t, func(t *testing.T, _ *network, m, s *node) {
		m.send(500, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		s.kill()
		s.open()
		flush(m)
		if err := m.store.DropBefore(m.store.MaxPhysical()); err != nil {
			t.Fatal(err)
		}
		s.send(1000, 100) // diverged
		s.follow(m)
		caughtUp(m, s, time.Minute)
		if s.store.MinPhysical() != 0 {
			t.Fatal(s.store.MinPhysical())
		}
	})
}

// Two logs that have nothing in common stay as they are, whichever is longer, and also when the master is empty.
func TestPair_Foreign(t *testing.T) {
	for _, c := range []struct{ master, slave int }{{100, 100}, {1, 500}, {500, 1}, {0, 100}, {0, 2000}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *network, m, s *node) {
				m.send(c.master, 100)
				s.send(c.slave, 100)
				end := s.store.MaxPhysical()
				before := s.bytes(0, end)
				m.lead()
				s.follow(m)
				within(t, 2*time.Minute, "it says so", func() bool { return s.slave.Status().State == Foreign })
				time.Sleep(10 * time.Minute)
				if s.store.MaxPhysical() != end || string(s.bytes(0, end)) != string(before) {
					t.Fatal("the slave's log has changed")
				}
				if st := s.slave.Status(); st.Err != ErrForeign.Error() {
					t.Fatal(st)
				}
				if m.master.Acked(1) > m.store.MaxPhysical() {
					t.Fatal(m.master.Acked(1))
				}
			})
		})
	}
}

// Connections break in all ways; the log goes on.
func TestPair_Partitions(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		n.setDelay(3 * time.Millisecond)
		m.send(20, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		for round := range 12 {
			switch round % 4 {
			case 0:
				n.reset("s")
			case 1: // shorter than the housekeeping: nobody notices
				n.partition("s", true)
				m.send(100, 200)
				time.Sleep(4 * time.Second)
				n.partition("s", false)
			case 2: // longer
				n.partition("m", true)
				m.send(100, 200)
				time.Sleep(50 * time.Second)
				if got := len(m.master.Slaves()); got != 0 {
					t.Fatal("a slave that says nothing is kept", got)
				}
				if s.slave.Status().State == Copying {
					t.Fatal("a master that says nothing is kept")
				}
				n.partition("m", false)
			case 3:
				for range 50 {
					n.reset("m")
					m.send(1, 100)
					time.Sleep(100 * time.Millisecond)
				}
			}
			m.send(10, 100)
			caughtUp(m, s, 10*time.Second)
		}
		if got := len(m.master.Slaves()); got != 1 {
			t.Fatal(got, "slaves")
		}
		if n := m.lines.of("slave lost"); n < 2 || n > 30 {
			t.Fatal(n, "lines in the log")
		}
	})
}

// The address of the master changes at run time; with none nothing is copied.
func TestSlave_SetMaster(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		second := newNode(t, n, "m2")
		defer second.stop()
		m.send(50, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		second.follow(m)
		caughtUp(m, second, time.Second)
		second.slave.SetMaster("")
		within(t, time.Second, "nothing is copied", func() bool { return second.slave.Status().State == Idle && len(m.master.Slaves()) == 1 })
		m.stop()
		second.lead()
		second.send(10, 100)
		s.slave.SetMaster(second.addr())
		caughtUp(second, s, time.Second)
	})
}

// Several slaves: how many have what.
func TestMaster_Acked(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		var progress atomic.Int64
		m.send(50, 100)
		m.lead(func(c *MasterConfig) { c.Progress = func() { progress.Add(1) } })
		others := []*node{newNode(t, n, "s2"), newNode(t, n, "s3")}
		s.follow(m)
		caughtUp(m, s, time.Second)
		for _, o := range others {
			defer o.stop()
			o.follow(m)
			caughtUp(m, o, time.Second)
		}
		end := m.store.MaxPhysical()
		if m.master.Acked(3) != end || m.master.Acked(4) != 0 || m.master.Acked(0) <= end || m.master.InSync(end, 1) != 3 {
			t.Fatal(m.master.Acked(3), m.master.Acked(4), m.master.InSync(end, 1))
		}
		n.partition("s2", true)
		before := progress.Load()
		m.send(1, 100)
		within(t, time.Second, "two have it", func() bool { return m.master.Acked(2) == m.store.MaxPhysical() })
		if m.master.Acked(3) != end || progress.Load() < before+2 {
			t.Fatal(m.master.Acked(3), end, progress.Load()-before)
		}
		if got := m.master.InSync(m.store.MaxPhysical(), m.store.MaxPhysical()-end); got != 2 {
			t.Fatal(got, "in sync")
		}
		if got := m.master.InSync(m.store.MaxPhysical(), m.store.MaxPhysical()-end+1); got != 3 {
			t.Fatal(got, "in sync with a larger gap")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := m.master.Drain(ctx, m.store.MaxPhysical()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		drained := make(chan error)
		go func() { drained <- m.master.Drain(context.Background(), m.store.MaxPhysical()) }()
		n.partition("s2", false)
		if err := <-drained; err != nil || m.master.Acked(3) != m.store.MaxPhysical() {
			t.Fatal(err, m.master.Acked(3))
		}
		end = m.store.MaxPhysical()
		s.kill() // what it has acknowledged, it had
		within(t, time.Second, "it is gone", func() bool { return len(m.master.Slaves()) == 2 })
		if m.master.Acked(3) != end || m.master.InSync(end, 1) != 2 {
			t.Fatal(m.master.Acked(3), end, m.master.InSync(end, 1))
		}
	})
}

// A slave whose log went another way long ago has not acknowledged what it only asks for, while it finds out where the ways
// part and another slave acknowledges less.
func TestMaster_Acked_Diverged(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		other := newNode(t, n, "s2")
		defer other.stop()
		m.send(40, 150)
		m.lead()
		s.follow(m)
		caughtUp(m, s, 2*time.Minute)
		m.kill()
		s.kill()
		m.open()
		s.open()
		s.send(3000, 150)
		m.send(2900, 151)
		var wrong atomic.Int64
		m.lead(func(c *MasterConfig) {
			c.FlowControl = 100_000
			c.Progress = func() {
				acked := m.master.Acked(1)
				if other.store.MaxPhysical() < acked && (s.store.MaxPhysical() < acked || !bytes.Equal(m.bytes(0, acked), s.bytes(0, acked))) {
					wrong.Store(acked)
				}
			}
		})
		other.follow(m)
		s.follow(m)
		caughtUp(m, s, 5*time.Minute)
		caughtUp(m, other, 5*time.Minute)
		if at := wrong.Load(); at > 0 {
			t.Fatalf("%d were acknowledged while one slave had something else there, and the other nothing", at)
		}
	})
}

// With SYNC_FLUSH a slave acknowledges what is on its disk.
func TestSlave_SyncFlush(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, _ *node) {
		s := newNode(t, n, "s", func(c *store.Config) { c.SyncFlush = true })
		defer s.stop()
		m.send(50, 100)
		m.lead()
		s.follow(m, func(c *SlaveConfig) { c.SyncFlush = true })
		caughtUp(m, s, time.Second)
		for range 10 {
			m.send(3, 100)
			within(t, time.Second, "acknowledged", func() bool { return m.master.Acked(1) == m.store.MaxPhysical() })
			if s.store.Flushed() != m.store.MaxPhysical() {
				t.Fatal(s.store.Flushed(), m.store.MaxPhysical())
			}
		}
	})
}

// A slave with a full disk waits, and goes on when there is room.
func TestSlave_DiskFull(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(10, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		s.disk.SetCapacity(s.disk.Used())
		m.send(300, 100)
		time.Sleep(time.Minute)
		if s.store.MaxPhysical() == m.store.MaxPhysical() || s.slave.Status().Err == "" {
			t.Fatal(s.slave.Status())
		}
		s.disk.SetCapacity(0)
		caughtUp(m, s, 10*time.Second)
		if got := s.lines.of("the log of the master is not copied; it is tried again"); got > 4 {
			t.Fatal(got, "lines in a minute")
		}
	})
}

// Nothing happens for long: both sides still know of each other.
func TestPair_Quiet(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(10, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		first := m.master.Slaves()[0].Addr
		time.Sleep(time.Hour)
		if got := m.master.Slaves(); len(got) != 1 || got[0].Addr != first {
			t.Fatal("the connection was made anew", got, first)
		}
		if st := s.slave.Status(); st.State != Copying || time.Since(st.LastRead) > 6*time.Second || time.Since(st.LastWrite) > 6*time.Second {
			t.Fatal(st)
		}
		m.send(10, 100)
		caughtUp(m, s, time.Second)
	})
}

// A limit of bytes a second holds.
func TestMaster_FlowControl(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(1000, 1000)
		m.lead(func(c *MasterConfig) { c.FlowControl = 100_000 })
		began := time.Now()
		s.follow(m)
		caughtUp(m, s, time.Minute)
		if took, want := time.Since(began), time.Duration(m.store.MaxPhysical())*time.Second/100_000; took < want-time.Second || took > want+2*time.Second {
			t.Fatal(took, want)
		}
	})
}

// flush brings a store's log to the disk.
func flush(d *node) {
	d.t.Helper()
	within(d.t, 2*time.Second, "flushed", func() bool { return d.store.Flushed() == d.store.MaxPhysical() })
}

// A slave that may not have the log yet gets heartbeats, for a minute and a half at most, and then all of it.
func TestMaster_Admit(t *testing.T) {
	for _, after := range []time.Duration{0, 42 * time.Second, time.Hour} {
		bubble(t, func(t *testing.T, n *network, m, _ *node) {
			m.send(10, 100)
			began := time.Now()
			m.lead(func(c *MasterConfig) {
				c.Admit = func(addr net.Addr, empty bool, connected time.Time) bool {
					if addr.String()[:5] != "java:" || !empty || connected.Sub(began) > time.Second {
						t.Errorf("admit %v, empty %v, connected %v after the start", addr, empty, connected.Sub(began))
					}
					return time.Since(began) >= after
				}
			})
			c := raw(t, n, "java", m)
			say(t, c, appendReport(nil, 0))
			beats := 0
			for {
				at, body := frame(t, c)
				if at != 0 {
					t.Fatal(at)
				}
				if len(body) > 0 {
					break
				}
				beats++
				say(t, c, appendReport(nil, 0))
			}
			want := min(after, admitWait)
			if d := time.Since(began); d < want || d > want+time.Second || beats < int(want/(6*time.Second)) {
				t.Errorf("the log came after %v and %d heartbeats, wanted after %v", d, beats, want)
			}
			if m.master.Acked(1) != 0 {
				t.Error("it counts as a copy")
			}
		})
	}
}
