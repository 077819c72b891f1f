package laxjson

import (
	"bytes"
	"reflect"
	"strconv"
)

// reference reads {"$ref":"path"} and returns the path. If something else stands there, nothing was read.
func (r *reader) reference() (path string, ok bool, err error) {
	at := r.i
	r.i++
	if c := r.peek(); c != '"' && c != '\'' || !bytes.HasPrefix(r.data[r.i+1:], []byte("$ref")) {
		r.i = at
		return "", false, nil
	}
	name, err := r.text()
	if err != nil || string(name) != "$ref" {
		r.i = at
		return "", false, err
	}
	if err := r.colon(); err != nil {
		return "", false, err
	}
	s, _, err := r.scalar()
	if err != nil {
		return "", false, err
	}
	if r.more('}') {
		return "", false, r.fail("a reference has other members")
	}
	return string(s), true, nil
}

// follow reads the value that a path from the root names. References relative to the place of the reference ("@",
// "..") would be loops and are refused.
func (r *reader) follow(path string, v reflect.Value, err error) error {
	if err != nil {
		return err
	}
	at := reader{data: r.data, depth: r.depth}
	if path == "" || path[0] != '$' || !at.walk(path[1:]) {
		return r.fail("reference %.80q leads nowhere", path)
	}
	from := at.i
	if _, err := at.skip(); err != nil {
		return err
	}
	if r.budget -= at.i; r.budget < 0 {
		return r.fail("references stand for too much")
	}
	at.i, at.budget, at.room = from, r.budget, r.room
	err = at.value(v)
	r.budget, r.room = at.budget, at.room
	return err
}

// walk moves from the root along a path such as ".offsetTable.a[3]" and reports whether it exists.
func (r *reader) walk(path string) bool {
	for path != "" {
		end := byte('}')
		if path[0] == '[' {
			end = ']'
		} else if path[0] != '.' {
			return false
		}
		step, rest := cutStep(path[1:], path[0])
		if path = rest; r.peek() != end-2 {
			return false
		}
		r.i++
		index, err := strconv.Atoi(step)
		if end == ']' && err != nil {
			return false
		}
		if !r.enter(end, step, index) {
			return false
		}
	}
	return true
}

// enter stops before the member or element that is looked for, inside the object or list that was just opened.
func (r *reader) enter(end byte, step string, index int) bool {
	for n := 0; r.more(end); n++ {
		if r.peek() == 0 {
			return false
		}
		found := n == index
		if end == '}' {
			key, err := r.skip()
			if err != nil || r.colon() != nil {
				return false
			}
			found = string(bytes.Trim(key, `"'`)) == step
		}
		if found {
			return true
		}
		if _, err := r.skip(); err != nil {
			return false
		}
	}
	return false
}

// cutStep takes the next step off a path that goes on after a dot or an opening bracket.
func cutStep(path string, kind byte) (step, rest string) {
	for i := range len(path) {
		switch {
		case kind == '[' && path[i] == ']':
			return path[:i], path[i+1:]
		case kind == '.' && (path[i] == '.' || path[i] == '['):
			return path[:i], path[i:]
		}
	}
	return path, ""
}
