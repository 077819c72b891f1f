package sql92

import (
	"bytes"
	"errors"

	"rocketd/message"
)

// expr is a node of a compiled expression.
type expr interface {
	eval(p Properties) value
	boolean() bool // whether the value is true, false or null, by its form
}

var (
	yes  = value{kind: boolean, is: true}
	no   = value{kind: boolean}
	none = value{}
	fail = value{kind: failed}
)

func of(b bool) value {
	if b {
		return yes
	}
	return no
}

// constant is NULL by its zero value.
type constant struct{ value }

func (c *constant) eval(Properties) value { return c.value }
func (c *constant) boolean() bool         { return c.kind == boolean || c.kind == null }

type property struct{ name string }

func (e *property) boolean() bool { return false }

func (e *property) eval(p Properties) value {
	var s []byte
	var ok bool
	if p.Lookup != nil {
		s, ok = p.Lookup(e.name)
	} else {
		s, ok = message.Property(p.Raw, e.name)
	}
	if !ok {
		return none
	}
	return value{kind: text, s: s}
}

// cast is a property where a truth value is wanted: no string is one.
type cast struct{ of *property }

func (*cast) boolean() bool { return true }

func (e *cast) eval(p Properties) value {
	if e.of.eval(p).kind == null {
		return none
	}
	return no
}

// negative turns the sign of a number; anything else becomes null.
type negative struct{ of expr }

func (*negative) boolean() bool { return false }

func (e *negative) eval(p Properties) value {
	switch v := e.of.eval(p); v.kind {
	case integer:
		return value{kind: integer, i: int64(int32(-v.i))}
	case long:
		return value{kind: long, i: -v.i}
	case double:
		return value{kind: double, f: -v.f}
	case failed:
		return fail
	default:
		return none
	}
}

type not struct{ of expr }

func (*not) boolean() bool { return true }

func negated(really bool, e expr) expr {
	if !really {
		return e
	}
	return &not{e}
}

func (e *not) eval(p Properties) value {
	v := e.of.eval(p)
	if v.kind == boolean {
		v.is = !v.is
	}
	return v
}

// logic is OR where true decides, AND where false does. The right side is not looked at when the left one decides.
type logic struct {
	decisive    bool
	left, right expr
}

func (*logic) boolean() bool { return true }

func (e *logic) eval(p Properties) value {
	l := e.left.eval(p)
	if l.kind == failed || l.kind == boolean && l.is == e.decisive {
		return l
	}
	r := e.right.eval(p)
	if r.kind == boolean && l.kind == null && r.is != e.decisive {
		return none
	}
	return r
}

type equal struct{ left, right expr }

func (*equal) boolean() bool { return true }

func (e *equal) eval(p Properties) value {
	l := e.left.eval(p)
	if l.kind == failed {
		return fail
	}
	r := e.right.eval(p)
	switch {
	case r.kind == failed:
		return fail
	case l.kind == null && r.kind == null:
		return yes
	case l.kind == null:
		return none
	case r.kind == null:
		return no
	}
	c, ok := compare(l, r)
	if !ok {
		return fail
	}
	return of(c == 0)
}

// order is one of < <= > >=.
type order struct {
	left, right         expr
	less, same, greater bool
}

var errOrder = errors.New("only numbers have an order")

func newOrder(left expr, op string, right expr) (expr, error) {
	for _, e := range []expr{left, right} {
		c, ok := e.(*constant)
		if ok && c.kind != integer && c.kind != long && c.kind != double || !ok && e.boolean() {
			return nil, errOrder
		}
	}
	return &order{left, right, op[0] == '<', len(op) == 2, op[0] == '>'}, nil
}

func (*order) boolean() bool { return true }

func (e *order) eval(p Properties) value {
	l := e.left.eval(p)
	if l.kind == null || l.kind == failed {
		return l
	}
	r := e.right.eval(p)
	if r.kind == null || r.kind == failed {
		return r
	}
	if l.kind == text && r.kind == text { // two properties are compared as numbers
		var lok, rok bool
		if l, lok = l.double(); !lok {
			return fail
		}
		if r, rok = r.double(); !rok {
			return fail
		}
	}
	c, ok := compare(l, r)
	switch {
	case !ok:
		return fail
	case c < 0:
		return of(e.less)
	case c > 0:
		return of(e.greater)
	default:
		return of(e.same)
	}
}

// in looks a string up in a list.
type in struct {
	of   expr
	list [][]byte
	set  map[string]bool // of a long list
	not  bool
}

func newIn(of expr, list [][]byte, not bool) *in {
	e := &in{of: of, list: list, not: not}
	if len(list) > 8 {
		e.set = make(map[string]bool, len(list))
		for _, s := range list {
			e.set[string(s)] = true
		}
	}
	return e
}

func (*in) boolean() bool { return true }

func (e *in) eval(p Properties) value {
	v := e.of.eval(p)
	if v.kind == null {
		return none
	}
	return of(e.has(v.s) != e.not)
}

func (e *in) has(s []byte) bool {
	if e.set != nil {
		return e.set[string(s)]
	}
	for _, want := range e.list {
		if bytes.Equal(want, s) {
			return true
		}
	}
	return false
}

// search is CONTAINS, STARTSWITH or ENDSWITH. What is not there, is no string or is searched for nothing gives false,
// even with NOT.
type search struct {
	of   expr
	op   string
	what []byte
	not  bool
}

func (*search) boolean() bool { return true }

func (e *search) eval(p Properties) value {
	if len(e.what) == 0 {
		return no
	}
	v := e.of.eval(p)
	if v.kind == failed {
		return fail
	}
	if v.kind != text {
		return no
	}
	var found bool
	switch e.op {
	case "CONTAINS":
		found = bytes.Contains(v.s, e.what)
	case "STARTSWITH":
		found = bytes.HasPrefix(v.s, e.what)
	default:
		found = bytes.HasSuffix(v.s, e.what)
	}
	return of(found != e.not)
}
