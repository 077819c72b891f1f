// Package laxjson reads and writes JSON as Java's fastjson speaks it: what is written looks like Java's byte for byte
// (members in alphabetical order, map keys that are numbers or objects stand bare), what is read may deviate from
// JSON in every way that fastjson 1 or 2 lets pass.
//
// Go types are described by json tags as for encoding/json, with omitempty. Lists and maps that are nil are written
// empty, because a Java collection is seldom null; a nil pointer in a struct is not written at all. A type with
// MarshalText and UnmarshalText, such as an enum, is a string.
package laxjson

import (
	"encoding"
	"errors"
	"reflect"
	"sort"
	"strings"
	"sync"
)

// ErrSyntax is wrapped by every error of Unmarshal; the text names the place.
var ErrSyntax = errors.New("bad JSON")

// maxDepth bounds nesting when reading and writing.
const maxDepth = 64

// Defaulter is a struct that does not start from zero values: Defaults is called on it before it is read, so that
// a member that is missing keeps its default.
type Defaulter interface {
	Defaults()
}

var (
	defaulterType   = reflect.TypeFor[Defaulter]()
	marshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// member is one property of a struct.
type member struct {
	name      string
	index     []int
	omitEmpty bool
}

// shape is what is known of a struct type.
type shape struct {
	members  []member // sorted by name, as Java writes them
	byName   map[string]int
	defaults bool
}

var shapes sync.Map // reflect.Type → *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{byName: map[string]int{}, defaults: reflect.PointerTo(t).Implements(defaulterType)}
	for _, f := range reflect.VisibleFields(t) {
		tag, _ := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || tag == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s.members = append(s.members, member{name, f.Index, options == "omitempty"})
	}
	sort.Slice(s.members, func(i, j int) bool { return s.members[i].name < s.members[j].name })
	for i, m := range s.members {
		s.byName[m.name] = i
	}
	was, _ := shapes.LoadOrStore(t, s)
	return was.(*shape)
}

// find looks a member up by its exact name, then ignoring case, as fastjson 1 did for old clients.
func (s *shape) find(name []byte) *member {
	if i, ok := s.byName[string(name)]; ok {
		return &s.members[i]
	}
	for i := range s.members {
		if strings.EqualFold(s.members[i].name, string(name)) {
			return &s.members[i]
		}
	}
	return nil
}
