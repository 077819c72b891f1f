package laxjson

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

// Unmarshal reads data into v, a pointer. It takes single quotes, trailing and missing commas, comments, names and keys
// with or without quotes, objects as keys, references to earlier objects ("$ref"), numbers in quotes and with a
// fraction, booleans as numbers, numbers for strings; null and "" for a number are 0. Unknown members are passed
// over. Empty data and null leave v as it is. The error wraps ErrSyntax.
func Unmarshal(data []byte, v any) error {
	r := reader{data: data, budget: 4*len(data) + 4<<10, room: 16*len(data) + 64<<10}
	if c := r.peek(); c == 0 || c == 'n' && string(r.word()) == "null" {
		return nil
	}
	err := r.value(reflect.ValueOf(v).Elem())
	if err == nil && r.peek() != 0 {
		err = r.fail("something follows the value")
	}
	return err
}

type reader struct {
	data   []byte
	i      int
	depth  int
	budget int // bytes of text that references may still stand for
	room   int // bytes of memory that elements, entries and pointers may still take
}

// charge takes what a new value of a type needs from the room: many empty objects are a short text.
func (r *reader) charge(t reflect.Type) error {
	if r.room -= int(t.Size()); r.room < 0 {
		return r.fail("it would take too much memory")
	}
	return nil
}

func (r *reader) fail(format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s", ErrSyntax, r.i, fmt.Sprintf(format, args...))
}

// peek skips white space and comments and returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	for r.i < len(r.data) {
		switch c := r.data[r.i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			r.i++
		case c == '/' && bytes.HasPrefix(r.data[r.i:], []byte("/*")):
			r.skipComment("*/")
		case c == '/' && bytes.HasPrefix(r.data[r.i:], []byte("//")):
			r.skipComment("\n")
		default:
			return c
		}
	}
	return 0
}

func (r *reader) skipComment(end string) {
	if n := bytes.Index(r.data[r.i+2:], []byte(end)); n >= 0 {
		r.i += 2 + n + len(end)
	} else {
		r.i = len(r.data)
	}
}

// word reads what stands bare: a number, a name, true, false, null.
func (r *reader) word() []byte {
	from := r.i
	for r.i < len(r.data) {
		c := r.data[r.i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.' || c == '_' || c == '$' {
			r.i++
			continue
		}
		break
	}
	return r.data[from:r.i]
}

// text reads a string in quotes. It copies only if there are escapes.
func (r *reader) text() ([]byte, error) {
	quote := r.data[r.i]
	from, escaped := r.i+1, false
	for r.i++; r.i < len(r.data); r.i++ {
		switch r.data[r.i] {
		case '\\':
			escaped = true
			r.i++
		case quote:
			s := r.data[from:r.i]
			r.i++
			if !escaped {
				return s, nil
			}
			s, ok := AppendUnescaped(make([]byte, 0, len(s)), s)
			if !ok {
				return nil, r.fail("bad escape")
			}
			return s, nil
		}
	}
	return nil, r.fail("string does not end")
}

// scalar reads a string or a word; null tells a bare null.
func (r *reader) scalar() (s []byte, null bool, err error) {
	switch c := r.peek(); c {
	case '"', '\'':
		s, err = r.text()
		return s, false, err
	default:
		if s = r.word(); len(s) == 0 {
			return nil, false, r.fail("a value is missing")
		}
		return s, string(s) == "null", nil
	}
}

// skip passes over any value and returns its text. Brackets are counted, not matched: nobody looks inside.
func (r *reader) skip() ([]byte, error) {
	c := r.peek()
	from := r.i
	if c != '{' && c != '[' {
		_, _, err := r.scalar()
		return r.data[from:r.i], err
	}
	for depth := 0; ; {
		switch c := r.peek(); c {
		case 0:
			return nil, r.fail("it ends too early")
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				r.i++
				return r.data[from:r.i], nil
			}
		case '"', '\'':
			if _, err := r.text(); err != nil {
				return nil, err
			}
			continue
		}
		r.i++
	}
}

// more steps to the next element of a list or object that ends with end, and past the end.
func (r *reader) more(end byte) bool {
	c := r.peek()
	for c == ',' {
		r.i++
		c = r.peek()
	}
	if c == end {
		r.i++
		return false
	}
	return true
}

func (r *reader) colon() error {
	if r.peek() != ':' {
		return r.fail("a colon is missing")
	}
	r.i++
	return nil
}

func (r *reader) value(v reflect.Value) error {
	if r.depth++; r.depth > maxDepth {
		return r.fail("deeper than %d", maxDepth)
	}
	defer func() { r.depth-- }()
	c := r.peek()
	if c == '{' {
		if target, ok, err := r.reference(); ok || err != nil {
			return r.follow(target, v, err)
		}
	}
	if v.Kind() == reflect.Pointer {
		if c == 'n' && bytes.HasPrefix(r.data[r.i:], []byte("null")) {
			r.word()
			v.SetZero()
			return nil
		}
		if v.IsNil() {
			if err := r.charge(v.Type().Elem()); err != nil {
				return err
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		return r.value(v.Elem())
	}
	if v.Type().PkgPath() != "" && v.CanAddr() && reflect.PointerTo(v.Type()).Implements(unmarshalerType) {
		return r.named(v)
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map:
		if c == '{' {
			r.i++
			if v.Kind() == reflect.Map {
				return r.mapping(v)
			}
			return r.object(v)
		}
		return r.nothing(v, "an object")
	case reflect.Slice:
		if c == '[' {
			r.i++
			return r.list(v)
		}
		if v.Type().Elem().Kind() == reflect.Uint8 && (c == '"' || c == '\'') {
			return r.bytes(v)
		}
		return r.nothing(v, "a list")
	case reflect.String:
		if c == '{' || c == '[' {
			s, err := r.skip()
			v.SetString(string(s))
			return err
		}
	}
	return r.primitive(v)
}

// nothing accepts null or "" where a collection or an object is wanted.
func (r *reader) nothing(v reflect.Value, want string) error {
	if s, null, err := r.scalar(); err != nil || !null && len(s) > 0 {
		return r.fail("%s is wanted", want)
	}
	v.SetZero()
	return nil
}

// named reads an enum or whatever reads itself from text.
func (r *reader) named(v reflect.Value) error {
	s, null, err := r.scalar()
	if err != nil {
		return err
	}
	v.SetZero()
	if null {
		return nil
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(s); err != nil {
		return r.fail("%v", err)
	}
	return nil
}

func (r *reader) object(v reflect.Value) error {
	s := shapeOf(v.Type())
	if s.defaults {
		v.Addr().Interface().(Defaulter).Defaults()
	}
	for r.more('}') {
		if c := r.peek(); c == '{' || c == '[' {
			if _, err := r.skip(); err != nil { // an object as key of something we do not know
				return err
			}
			if err := r.colon(); err != nil {
				return err
			}
			if _, err := r.skip(); err != nil {
				return err
			}
			continue
		}
		name, _, err := r.scalar()
		if err != nil {
			return err
		}
		if err := r.colon(); err != nil {
			return err
		}
		if m := s.find(name); m == nil {
			_, err = r.skip()
		} else {
			err = r.value(v.FieldByIndex(m.index))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) mapping(v reflect.Value) error {
	t := v.Type()
	m := reflect.MakeMap(t)
	key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
	for r.more('}') {
		key.SetZero()
		value.SetZero()
		if err := r.charge(t.Key()); err != nil {
			return err
		}
		if err := r.charge(t.Elem()); err != nil {
			return err
		}
		if err := r.key(key); err != nil {
			return err
		}
		if err := r.colon(); err != nil {
			return err
		}
		if err := r.value(value); err != nil {
			return err
		}
		m.SetMapIndex(key, value)
	}
	v.Set(m)
	return nil
}

// key reads the key of a map entry. An object may stand bare or be quoted.
func (r *reader) key(v reflect.Value) error {
	c := r.peek()
	if v.Kind() != reflect.Struct || c == '{' {
		return r.value(v)
	}
	s, _, err := r.scalar()
	if err != nil {
		return err
	}
	in := reader{data: s, depth: r.depth, room: 16*len(s) + 1<<10}
	if err := in.value(v); err != nil {
		return r.fail("key: %v", err)
	}
	return nil
}

func (r *reader) list(v reflect.Value) error {
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for r.more(']') {
		if err := r.charge(v.Type().Elem()); err != nil {
			return err
		}
		list = reflect.Append(list, reflect.Zero(v.Type().Elem()))
		if err := r.value(list.Index(list.Len() - 1)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (r *reader) bytes(v reflect.Value) error {
	s, err := r.text()
	if err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(string(s))
	if err != nil {
		return r.fail("bad base64")
	}
	v.SetBytes(b)
	return nil
}

func (r *reader) primitive(v reflect.Value) error {
	s, null, err := r.scalar()
	if err != nil {
		return err
	}
	if null {
		v.SetZero()
		return nil
	}
	ok := true
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(s))
	case reflect.Bool:
		v.SetBool(bytes.EqualFold(s, []byte("true")) || string(s) == "1")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		n, ok = integer(s)
		ok = ok && !v.OverflowInt(n)
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var n int64
		n, ok = integer(s)
		ok = ok && n >= 0 && !v.OverflowUint(uint64(n))
		v.SetUint(uint64(n))
	case reflect.Float32, reflect.Float64:
		var f float64
		if len(s) > 0 {
			f, err = strconv.ParseFloat(string(s), 64)
		}
		ok = err == nil
		v.SetFloat(f)
	default:
		return r.fail("no form for %s", v.Type())
	}
	if !ok {
		return r.fail("%.40q is no %s", s, v.Kind())
	}
	return nil
}

// integer reads a whole number; a fraction is dropped, nothing at all is 0.
func integer(s []byte) (int64, bool) {
	if len(s) == 0 {
		return 0, true
	}
	if n, err := strconv.ParseInt(string(s), 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || math.Abs(f) >= 1<<63 || f != f || !bytes.ContainsAny(s, ".eE") {
		return 0, false
	}
	return int64(f), true
}
