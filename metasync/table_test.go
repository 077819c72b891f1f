package metasync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/topic"
)

// many puts so many topics into a master, together with the two that it has.
func many(m *master, n int) {
	var all []*topic.Config
	for i := range n - 2 {
		all = append(all, topic.NewConfig(fmt.Sprintf("T%05d", i), 1))
	}
	m.put(all...)
}

// A table in pages arrives whole, whatever its length: Java's own slaves lose the last entry of 2,001.
func TestFetch_Pages(t *testing.T) {
	for n, want := range map[int]string{
		2000: "21/0/2000",
		2001: "21/0/2000 21/0/2000 21/2000/2000",
		4001: "21/0/2000 21/0/2000 21/2000/2000 21/4000/2000",
	} {
		m := newMaster()
		many(m, n)
		test(t, m, func(s *slave) {
			asked, _, _ := strings.Cut(m.questions(), " 201/")
			s.check(fmt.Sprint(n, " topics"), asked, want)
			if all, _ := s.cfg.Topics.All(); len(all) != n {
				t.Errorf("%d topics of %d", len(all), n)
			}
			s.after(3 * time.Second)
			s.check("then", m.questions(), "21/0/1 201/0/1 43")
		})
	}
}

// A master may send smaller pages than it is asked for.
func TestFetch_SmallPages(t *testing.T) {
	m := newMaster()
	m.split = 3
	many(m, 7)
	for i := range 4 {
		m.groups[fmt.Sprint("G", i)] = topic.NewGroupConfig(fmt.Sprint("G", i))
	}
	test(t, m, func(s *slave) {
		s.check("asked", m.questions(), "21/0/2000 21/0/2000 21/3/2000 21/6/2000 201/0/2000 201/0/2000 201/3/2000 28 43 45 402 61 60")
		if all, _ := s.cfg.Topics.All(); len(all) != 7 {
			t.Errorf("%d topics", len(all))
		}
		if all, _ := s.cfg.Groups.All(); len(all) != 5 {
			t.Errorf("%d groups", len(all))
		}
	})
}

// When the table changes between two pages, reading begins anew; when it changes each time, it is asked for as a whole.
func TestFetch_Changes(t *testing.T) {
	for _, changes := range []int{1, 2, 99} {
		m := newMaster()
		m.split = 3
		many(m, 7)
		left := changes
		m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
			if v, _ := c.Get("topicSeq"); string(v) == "3" && left > 0 {
				left--
				m.remove("T00001") // the first time; later it is a change without an effect
				m.put(topic.NewConfig("New", int32(left)))
			}
			return nil, nil
		}
		test(t, m, func(s *slave) {
			all, version := s.cfg.Topics.All()
			if len(all) != 7 || all["New"].ReadQueueNums != int32(left) || all["T00001"] != nil || version != m.version {
				t.Errorf("%d changes: %s", changes, s.have())
			}
			if whole := strings.Contains(m.questions(), "21//"); whole != (changes > 2) {
				t.Errorf("%d changes: asked for the whole: %v", changes, whole)
			}
		})
	}
}

// A master that dies in the middle of a table changes nothing.
func TestFetch_Dies(t *testing.T) {
	m := newMaster()
	m.split = 3
	many(m, 7)
	test(t, m, func(s *slave) {
		before := s.have()
		m.put(topic.NewConfig("New", 1))
		m.mu.Lock()
		m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
			if v, _ := c.Get("topicSeq"); string(v) == "6" {
				return nil, errGone
			}
			return nil, nil
		}
		m.mu.Unlock()
		s.after(6 * time.Second)
		s.check("topics", s.have(), before)
		if st := s.Status(); st.Err == nil {
			t.Error("no error")
		}
		m.mu.Lock()
		m.trouble = nil
		m.mu.Unlock()
		s.after(3 * time.Second)
		if s.cfg.Topics.Get([]byte("New")) == nil || s.Status().Err != nil {
			t.Errorf("%s, %v", s.have(), s.Status().Err)
		}
	})
}

// Pages without an end are left after a while, and so are tables that nobody has, and pages with nothing in them.
func TestFetch_Endless(t *testing.T) {
	one := map[string]*topic.Config{"A": topic.NewConfig("A", 1)}
	for _, c := range []struct {
		total   string
		entries map[string]*topic.Config
		asked   int
	}{
		{"1000000", one, 1 + maxPages},
		{"2000000000", one, 2},
		{"2", nil, 2},
	} {
		m := newMaster()
		asked := 0
		m.trouble = func(q *protocol.Command) (*protocol.Command, error) {
			if q.Code != protocol.GetAllTopicConfig {
				return nil, nil
			}
			asked++
			return reply(protocol.Success, map[string]string{"totalTopicNum": c.total}, body(protocol.TopicConfigAndMappingSerializeWrapper{TopicConfigTable: c.entries})), nil
		}
		test(t, m, func(s *slave) {
			if st := s.Status(); !errors.Is(st.Err, rpc.ErrAnswer) || s.have() != "" || asked != c.asked {
				t.Errorf("%s entries: %v, topics %q, asked %d times", c.total, st.Err, s.have(), asked)
			}
		})
	}
}

// A table that the master cannot send in pages is asked for less often when it is large.
func TestFetch_Whole(t *testing.T) {
	for n, want := range map[int]int{900: 20, 1001: 7} {
		m := newMaster()
		m.split = 0
		many(m, n)
		test(t, m, func(s *slave) {
			s.after(3 * time.Second)
			m.questions()
			s.after(time.Minute)
			if got := strings.Count(m.questions(), "21/"); got < want-1 || got > want+1 {
				t.Errorf("%d topics were asked for %d times a minute, want %d", n, got, want)
			}
		})
	}
}
