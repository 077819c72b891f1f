package protocol

import "bytes"

// Opt is a header field that may be absent: what Java holds as a nullable box.
type Opt[T any] struct {
	V   T
	Set bool
}

// Some makes a field that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{v, true} }

// Or returns the value, or def if there is none.
func (o Opt[T]) Or(def T) T {
	if o.Set {
		return o.V
	}
	return def
}

// RPC is what every request header may carry beside its own fields; 5.x clients and proxies set it.
// Source: Java RpcRequestHeader, TopicRequestHeader.
type RPC struct {
	Namespace  []byte    // ns
	Broker     []byte    // bname: the broker that is meant
	Namespaced Opt[bool] // nsd
	Oneway     Opt[bool] // oway
	Logical    Opt[bool] // lo: the queue is one of a static topic
}

func (r *RPC) take(f *Field) {
	switch string(f.Key) {
	case "ns":
		r.Namespace = f.Value
	case "bname":
		r.Broker = f.Value
	case "nsd":
		r.Namespaced = Some(parseBool(f.Value))
	case "oway":
		r.Oneway = Some(parseBool(f.Value))
	case "lo":
		r.Logical = Some(parseBool(f.Value))
	}
}

func (r *RPC) appendFields(w *FrameWriter, broker string) {
	if r.Namespace != nil {
		w.Bytes("ns", r.Namespace)
	}
	if r.Broker != nil {
		w.Bytes(broker, r.Broker)
	}
	if r.Namespaced.Set {
		w.Bool("nsd", r.Namespaced.V)
	}
	if r.Oneway.Set {
		w.Bool("oway", r.Oneway.V)
	}
	if r.Logical.Set {
		w.Bool("lo", r.Logical.V)
	}
}

// Boundary says which of several messages with one store time is meant. Source: Java BoundaryType.
type Boundary uint8

// Lower is the first of them and the default, Upper the last.
const (
	Lower Boundary = iota
	Upper
)

func (b Boundary) String() string {
	if b == Upper {
		return "UPPER"
	}
	return "LOWER"
}

func parseBoundary(b []byte) Boundary {
	if bytes.EqualFold(b, []byte("upper")) {
		return Upper
	}
	return Lower
}

// parseBool is Java's Boolean.parseBoolean.
func parseBool(b []byte) bool {
	return string(b) == "true" || len(b) == 4 && bytes.EqualFold(b, []byte("true"))
}

func badField(header string, f *Field) error {
	const most = 64
	v := f.Value
	if len(v) > most {
		v = v[:most]
	}
	return Errorf(SystemError, "the field <%s> of %s is not a number: %q", f.Key, header, v)
}

// missingField names the first of the mandatory fields whose bit is not in seen.
func missingField(header string, seen uint32, mandatory ...string) error {
	for i, name := range mandatory {
		if seen&(1<<i) == 0 {
			return Errorf(SystemError, "the field <%s> of %s is missing", name, header)
		}
	}
	return nil
}
