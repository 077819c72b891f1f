package laxjson

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
)

// Option changes how Marshal writes.
type Option int

// QuoteKeys writes the number keys of maps in quotes, as standard JSON wants them. Object keys still stand bare.
const QuoteKeys Option = 1

// Marshal writes v compactly, as Java sends it. The error says which Go type cannot be written, or that v is nested
// too deeply.
func Marshal(v any, options ...Option) ([]byte, error) {
	w := writer{quoteKeys: slices.Contains(options, QuoteKeys)}
	err := w.value(reflect.ValueOf(v), 0)
	return w.buf, err
}

// MarshalIndent writes v as Java writes its files: a member a line, tabs, no space after a colon.
func MarshalIndent(v any) ([]byte, error) {
	w := writer{indent: true}
	err := w.value(reflect.ValueOf(v), 0)
	return w.buf, err
}

type writer struct {
	buf       []byte
	quoteKeys bool
	indent    bool
}

func (w *writer) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("cannot write JSON: deeper than %d", maxDepth)
	}
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	if v.Type().PkgPath() != "" && v.Type().Implements(marshalerType) {
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		w.text(string(text))
		return err
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return w.value(v.Elem(), depth)
	case reflect.Bool:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.buf = strconv.AppendUint(w.buf, v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		w.float(v.Float())
	case reflect.String:
		w.text(v.String())
	case reflect.Slice, reflect.Array:
		return w.list(v, depth)
	case reflect.Map:
		return w.mapping(v, depth)
	case reflect.Struct:
		return w.object(v, depth)
	default:
		return fmt.Errorf("cannot write JSON: no form for %s", v.Type())
	}
	return nil
}

func (w *writer) text(s string) {
	w.buf = append(w.buf, '"')
	w.buf = append(AppendEscaped(w.buf, s), '"')
}

// float writes as Java's Double.toString does: with a decimal point always, with an exponent below 0.001 and from
// ten million on. What is no number is null.
func (w *writer) float(f float64) {
	a := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		w.buf = append(w.buf, "null"...)
	case a == 0 || a >= 1e-3 && a < 1e7:
		from := len(w.buf)
		w.buf = strconv.AppendFloat(w.buf, f, 'f', -1, 64)
		if !bytes.Contains(w.buf[from:], []byte{'.'}) {
			w.buf = append(w.buf, ".0"...)
		}
	default:
		mantissa, exponent, _ := bytes.Cut(strconv.AppendFloat(nil, f, 'e', -1, 64), []byte{'e'})
		w.buf = append(w.buf, mantissa...)
		if !bytes.Contains(mantissa, []byte{'.'}) {
			w.buf = append(w.buf, ".0"...)
		}
		n, _ := strconv.Atoi(string(exponent))
		w.buf = strconv.AppendInt(append(w.buf, 'E'), int64(n), 10)
	}
}

func (w *writer) line(depth int) {
	if w.indent {
		w.buf = append(w.buf, '\n')
		for range depth {
			w.buf = append(w.buf, '\t')
		}
	}
}

func (w *writer) list(v reflect.Value, depth int) error {
	if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
		w.buf = append(w.buf, '"')
		w.buf = base64.StdEncoding.AppendEncode(w.buf, v.Bytes())
		w.buf = append(w.buf, '"')
		return nil
	}
	w.buf = append(w.buf, '[')
	if v.Len() == 0 {
		w.line(depth + 1) // an empty list, unlike an empty object, takes three lines of a file
		w.line(depth)
	}
	for i := range v.Len() {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.line(depth + 1)
		if err := w.value(v.Index(i), depth+1); err != nil {
			return err
		}
	}
	if v.Len() > 0 {
		w.line(depth)
	}
	w.buf = append(w.buf, ']')
	return nil
}

func (w *writer) object(v reflect.Value, depth int) error {
	w.buf = append(w.buf, '{')
	n := 0
	for _, m := range shapeOf(v.Type()).members {
		f, err := v.FieldByIndexErr(m.index)
		if err != nil || absent(f, m.omitEmpty) {
			continue
		}
		if n++; n > 1 {
			w.buf = append(w.buf, ',')
		}
		w.line(depth + 1)
		w.text(m.name)
		w.buf = append(w.buf, ':')
		if err := w.value(f, depth+1); err != nil {
			return err
		}
	}
	if n > 0 {
		w.line(depth)
	}
	w.buf = append(w.buf, '}')
	return nil
}

// absent tells whether Java would have a null here: a nil pointer, or what is empty and may be omitted.
func absent(f reflect.Value, omitEmpty bool) bool {
	switch f.Kind() {
	case reflect.Pointer, reflect.Interface:
		return f.IsNil()
	case reflect.Slice, reflect.Map, reflect.String:
		return omitEmpty && f.Len() == 0
	}
	return omitEmpty && f.IsZero()
}

// mapping writes a map in the order of its keys: strings by bytes, numbers by value, objects by their text.
func (w *writer) mapping(v reflect.Value, depth int) error {
	type entry struct {
		text  []byte
		order int64
		value reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		e := entry{value: it.Value()}
		k := writer{quoteKeys: w.quoteKeys, indent: w.indent}
		if it.Key().CanInt() {
			e.order = it.Key().Int()
		}
		if err := k.value(it.Key(), depth+1); err != nil {
			return err
		}
		if e.text = k.buf; it.Key().CanInt() && w.quoteKeys {
			e.text = fmt.Appendf(nil, `"%s"`, k.buf)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.order != b.order {
			return cmp.Compare(a.order, b.order)
		}
		return bytes.Compare(a.text, b.text)
	})
	w.buf = append(w.buf, '{')
	for i, e := range entries {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.line(depth + 1)
		w.buf = append(w.buf, e.text...)
		w.buf = append(w.buf, ':')
		if err := w.value(e.value, depth+1); err != nil {
			return err
		}
	}
	if len(entries) > 0 {
		w.line(depth)
	}
	w.buf = append(w.buf, '}')
	return nil
}
