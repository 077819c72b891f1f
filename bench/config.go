// Package bench loads RocketMQ brokers and measures them: any that speak the remoting protocol, ours and Java's.
//
// One thread drives all connections through epoll with requests that were encoded before the run, so that what is
// measured is the server (engine.go). A closed loop keeps a number of requests in flight and asks how many go
// through; an open loop sends at a fixed rate and counts the latency from the moment a message should have left,
// so that a stall is not hidden by the requests that it kept from leaving. Every answer's code is looked at, every
// queue offset is accounted for.
package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rocketd/protocol"
)

// Config says what to do to which broker. The zero value of a field that must not be 0 is refused by Validate.
type Config struct {
	Addr     string        // of the broker, host:port
	Topic    string        // is created by the first message if the broker creates topics
	Topics   int           // sending: spread over so many, named Topic_0 and so on; 1 is Topic itself
	Queues   int           // used of each topic, from queue 0 on
	Create   bool          // sending: create the topics with that many queues first, or change them to it
	Conns    int           // connections that send, or pull
	InFlight int           // requests that one connection keeps open (sending)
	Size     int           // of a message's body, bytes
	Batch    int           // messages a request; more than 1 sends client batches
	Form     protocol.Form // of the request's header
	Tag      string        // of every message; none if empty
	Property string        // of every message, NAME=VALUE; none if empty
	Counter  string        // name of a property that counts the messages of a connection modulo 100, two digits; none if empty
	Rate     float64       // messages a second, all connections together; 0 is the closed loop
	Warmup   time.Duration // before anything counts; Pull has none without Loop
	Duration time.Duration // of what counts; 0 with Count only
	Count    int64         // messages after which sending ends, without warm-up; 0 is no limit
	PID      int           // of the server, for its CPU time and memory; 0 is unknown
	Timeout  time.Duration // without any answer, after which what is open counts as lost

	Group  string // consumer group; with several groups, the start of their names
	Groups int    // consumer groups that each read everything
	Max    int    // messages a pull or a pop asks for
	Broker string // its name, which is part of the handles of popped messages
	Loop   bool   // Pull: begin again at the end of the queues, until Duration is over
	Verify bool   // Pull: check the body's checksum in every record
	SQL    string // Pull: only messages that this SQL92 expression is true of; all if empty
	Pop    bool   // E2E: pop the messages and acknowledge them, instead of pulling

	timed, half bool // what is sent: timed messages, the first halves of transactions
}

// Validate says what is wrong with the configuration, in terms of the command's flags.
func (c *Config) Validate() error {
	for _, v := range []struct {
		flag         string
		n, low, high int
	}{
		{"topics", c.Topics, 1, 100000}, {"queues", c.Queues, 1, 65536}, {"conns", c.Conns, 1, 10000}, {"in-flight", c.InFlight, 1, 100000},
		{"size", c.Size, 1, 4 << 20}, {"batch", c.Batch, 1, 10000}, {"groups", c.Groups, 1, 1024}, {"max", c.Max, 1, 1024},
	} {
		if v.n < v.low || v.n > v.high {
			return fmt.Errorf("--%s is %d; it must be from %d to %d", v.flag, v.n, v.low, v.high)
		}
	}
	switch {
	case c.Topics*c.Queues > 1<<20:
		return fmt.Errorf("--topics times --queues is %d; it must be at most %d", c.Topics*c.Queues, 1<<20)
	case c.Addr == "":
		return errors.New("no broker to talk to")
	case c.Topic == "" || c.Group == "":
		return errors.New("topic and group must not be empty")
	case c.Property != "" && !strings.Contains(c.Property, "="):
		return fmt.Errorf("--property %q: it must be NAME=VALUE", c.Property)
	case c.Pop && c.Groups > 1:
		return errors.New("--pop goes with one group only")
	case c.Rate < 0 || c.Warmup < 0 || c.Duration < 0 || c.Count < 0:
		return errors.New("rate, warm-up, duration and count must not be negative")
	case c.Duration == 0 && c.Count == 0:
		return errors.New("give a --duration or a --count, or the run would never end")
	case c.Timeout <= 0:
		return errors.New("--timeout must be positive")
	}
	return nil
}

// topic is the name of one of the topics.
func (c *Config) topic(i int) string {
	if c.Topics == 1 {
		return c.Topic
	}
	return fmt.Sprintf("%s_%d", c.Topic, i)
}

// elsewhere tells whether the broker stores what is sent in one queue of its own first, whichever it is sent to.
func (c *Config) elsewhere() bool { return c.timed || c.half }
