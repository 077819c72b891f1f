package bench

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
)

// Result is what a run found. Its JSON form is what scripts read.
type Result struct {
	Mode     string           `json:"mode"` // send, pull, pop, e2e, timer, transaction, query, route or storm
	Addr     string           `json:"addr"`
	Topic    string           `json:"topic"`
	Topics   int              `json:"topics,omitempty"`
	Queues   int              `json:"queues"` // of each topic
	Conns    int              `json:"conns"`
	InFlight int              `json:"inFlight,omitempty"`
	Groups   int              `json:"groups,omitempty"`
	Batch    int              `json:"batch,omitempty"`
	Size     int              `json:"size,omitempty"` // of a body, bytes
	Header   string           `json:"header"`         // json or binary
	Rate     float64          `json:"rate,omitempty"` // asked for, messages a second; absent in a closed loop
	Seconds  float64          `json:"seconds"`
	Messages int64            `json:"messages"`
	PerSec   float64          `json:"messagesPerSecond"`
	MBPerSec float64          `json:"megabytesPerSecond"` // of bodies, 10^6 bytes
	Latency  Latency          `json:"latencyMicros"`
	Failures map[string]int64 `json:"failures,omitempty"` // answers that were no success, by code
	Remark   string           `json:"remark,omitempty"`   // of the first failure
	Check    Check            `json:"check"`
	Server   *Cost            `json:"server,omitempty"`   // with a pid
	Client   float64          `json:"generatorCPUMicros"` // a message
}

// Latency is a distribution in microseconds. Send: from the intended start to the answer. Pull: of a request. Storm: of
// a route. E2E: from the intended start to the message in the consumer's hands. Timer: from its time to there. Transaction: from
// the start of its first request to the answer to its second.
type Latency struct {
	Samples uint64  `json:"samples"`
	Min     float64 `json:"min"`
	Mean    float64 `json:"mean"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p999"`
	Max     float64 `json:"max"`
}

// Check accounts for every message of the run, warm-up included.
type Check struct {
	Acknowledged int64 `json:"acknowledged,omitempty"`
	Received     int64 `json:"received,omitempty"`
	Unanswered   int64 `json:"unanswered"` // requests
	Unsent       int64 `json:"unsent"`     // open loop: messages whose time came, but that found no room in flight
	Missing      int64 `json:"missing"`    // gaps in the queue offsets; E2E: acknowledged and not received
	Duplicates   int64 `json:"duplicates"`
	OutOfOrder   int64 `json:"outOfOrder"` // E2E: messages of one producer and queue that overtook each other
	Damaged      int64 `json:"damaged"`    // checksums that do not fit
	Early        int64 `json:"early"`      // timed messages that came before their time
}

// Cost is what the server used.
type Cost struct {
	CPUMicros  float64 `json:"cpuMicrosPerMessage"`
	RSSAnonMiB float64 `json:"rssAnonMiB"` // at the end of the run
}

// OK tells whether nothing failed and nothing is missing. Messages that overtake each other are no fault: a broker
// promises an order only to who waits for the answer before he sends the next.
func (r *Result) OK() bool {
	c := r.Check
	return len(r.Failures) == 0 && c.Unanswered == 0 && c.Missing == 0 && c.Duplicates == 0 && c.Damaged == 0 && c.Early == 0 && r.Messages > 0
}

func (r *run) result(mode string) *Result {
	header := "binary"
	if r.cfg.Form == 0 {
		header = "json"
	}
	seconds := 0.0
	if r.start != never {
		seconds = time.Duration(r.end - r.start).Seconds()
	}
	res := &Result{
		Mode: mode, Addr: r.cfg.Addr, Topic: r.cfg.Topic, Queues: r.cfg.Queues, Conns: r.cfg.Conns, Header: header,
		Rate: r.cfg.Rate, Seconds: seconds, Messages: r.messages, Remark: r.remark, Latency: r.latency.micros(),
	}
	switch mode {
	case "route", "query":
		res.InFlight = r.cfg.InFlight
	case "pop":
	case "storm":
		res.Topics = r.cfg.Topics
	case "pull":
		res.Groups = r.cfg.Groups
	default:
		res.InFlight, res.Batch, res.Size = r.cfg.InFlight, r.cfg.Batch, r.cfg.Size
		res.Topics = r.cfg.Topics
		if mode == "e2e" || mode == "timer" {
			res.Groups = r.cfg.Groups
		}
	}
	for code, n := range r.failures {
		res.fail(code, n, r.remark)
	}
	if r.messages > 0 && seconds > 0 {
		n := float64(r.messages)
		res.PerSec, res.MBPerSec = n/seconds, float64(r.bytes)/seconds/1e6
		res.Client = float64(r.self.Nanoseconds()) / 1e3 / n
		if r.cfg.PID != 0 {
			res.Server = &Cost{float64((r.after.cpu - r.before.cpu).Nanoseconds()) / 1e3 / n, float64(r.after.rss) / (1 << 20)}
		}
	}
	return res
}

// fail adds answers that were no success.
func (r *Result) fail(code int32, n int64, remark string) {
	if r.Failures == nil {
		r.Failures = map[string]int64{}
	}
	r.Failures[fmt.Sprint(code)] += n
	r.Remark = cmp.Or(r.Remark, remark)
}

func (h *Histogram) micros() Latency {
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()/10) / 100 }
	return Latency{h.Count(), us(h.Min()), us(h.Mean()), us(h.Quantile(.5)), us(h.Quantile(.9)), us(h.Quantile(.99)), us(h.Quantile(.999)), us(h.Max())}
}

// Print writes the result for people.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s at %s, ", r.Mode, r.Topic, r.Addr)
	if r.Topics > 1 {
		fmt.Fprintf(&b, "%d topics of ", r.Topics)
	}
	fmt.Fprintf(&b, "%d queues, %d connections", r.Queues, r.Conns)
	if r.InFlight > 0 {
		fmt.Fprintf(&b, " x %d in flight", r.InFlight)
	}
	if r.Size > 0 {
		fmt.Fprintf(&b, ", %d-byte bodies", r.Size)
	}
	if r.Batch > 1 {
		fmt.Fprintf(&b, " in batches of %d", r.Batch)
	}
	if r.Groups > 1 {
		fmt.Fprintf(&b, ", %d groups", r.Groups)
	}
	fmt.Fprintf(&b, ", %s header", r.Header)
	if r.Rate > 0 {
		fmt.Fprintf(&b, ", open loop at %s/s", thousands(int64(r.Rate)))
	}
	what := "messages"
	switch r.Mode {
	case "route":
		what = "routes"
	case "query":
		what = "queries"
	case "storm":
		what = "masters"
	case "transaction":
		what = "transactions"
	}
	fmt.Fprintf(&b, "\n  rate     %s %s/s   %.1f MB/s   (%s %s in %.2f s)\n",
		thousands(int64(r.PerSec)), what, r.MBPerSec, thousands(r.Messages), what, r.Seconds)
	l := r.Latency
	fmt.Fprintf(&b, "  latency  p50 %s   p90 %s   p99 %s   p99.9 %s   max %s\n", span(l.P50), span(l.P90), span(l.P99), span(l.P999), span(l.Max))
	if r.Server != nil {
		fmt.Fprintf(&b, "  server   %.2f µs CPU a message, %.0f MiB anonymous memory\n", r.Server.CPUMicros, r.Server.RSSAnonMiB)
	}
	fmt.Fprintf(&b, "  client   %.2f µs CPU a message\n", r.Client)
	c := r.Check
	if r.OK() {
		fmt.Fprintf(&b, "  check    ok: ")
	} else {
		fmt.Fprintf(&b, "  check    FAILED: %d unanswered, %d missing, %d duplicates, %d damaged, %d early; ", c.Unanswered, c.Missing, c.Duplicates, c.Damaged, c.Early)
	}
	switch r.Mode {
	case "send":
		fmt.Fprintf(&b, "%s acknowledged", thousands(c.Acknowledged))
	case "pull":
		fmt.Fprintf(&b, "%s received", thousands(c.Received))
	case "route":
		b.WriteString("every answer was a route")
	case "transaction":
		b.WriteString("every transaction was committed, and its message is there")
	case "storm":
		b.WriteString("every master was registered, and every answer was a route")
	case "query":
		b.WriteString("every answer had the message that was asked for")
	default:
		fmt.Fprintf(&b, "%s acknowledged, %s received, %d out of order", thousands(c.Acknowledged), thousands(c.Received), c.OutOfOrder)
	}
	b.WriteByte('\n')
	if c.Unsent > 0 {
		fmt.Fprintf(&b, "  behind   %s messages could not leave in time: the broker is slower than the rate, and the latencies are too good\n", thousands(c.Unsent))
	}
	for code, n := range r.Failures {
		fmt.Fprintf(&b, "  failed   %s answers with code %s (the first: %s)\n", thousands(n), code, r.Remark)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// span writes microseconds with a unit that reads well.
func span(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 1e6:
		return fmt.Sprintf("%.2f ms", us/1e3)
	}
	return fmt.Sprintf("%.2f s", us/1e6)
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
