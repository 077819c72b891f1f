package laxjson

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

type queue struct {
	Broker string `json:"brokerName"`
	ID     int32  `json:"queueId"`
}

type level string

func (l *level) UnmarshalText(text []byte) error {
	*l = level(strings.ToUpper(string(text)))
	return nil
}

type base struct {
	Name string `json:"name"`
}

type all struct {
	base
	Int     int32             `json:"int"`
	Long    int64             `json:"long"`
	Double  float64           `json:"double"`
	Bool    bool              `json:"bool"`
	Note    string            `json:"note,omitempty"`
	Level   level             `json:"level,omitempty"`
	Bytes   []byte            `json:"bytes,omitempty"`
	List    []string          `json:"list"`
	ByID    map[int64]string  `json:"byId"`
	ByQueue map[queue]int64   `json:"byQueue,omitempty"`
	Deep    map[string]*queue `json:"deep,omitempty"`
	Next    *all              `json:"next"`
	Kids    []all             `json:"kids,omitempty"`
}

func (a *all) Defaults() { a.Int = 16 }

// What is written must look like Java's in every byte.
func TestMarshal(t *testing.T) {
	check := func(v any, want string, options ...Option) {
		t.Helper()
		got, err := Marshal(v, options...)
		if err != nil || string(got) != want {
			t.Errorf("Marshal(%+v) = %s, %v, want %s", v, got, err, want)
		}
	}
	check(all{}, `{"bool":false,"byId":{},"double":0.0,"int":0,"list":[],"long":0,"name":""}`)
	check(all{base: base{"a\"\\/\x01\n中<"}}.base, `{"name":"a\"\\/\u0001\n中<"}`)
	check(map[int64]string{10: "b", -1: "m", 2: "a"}, `{-1:"m",2:"a",10:"b"}`)
	check(map[int64]string{10: "b", 2: "a"}, `{"2":"a","10":"b"}`, QuoteKeys)
	check(map[queue]int{{"b", 1}: 5, {"a", 0}: 6}, `{{"brokerName":"a","queueId":0}:6,{"brokerName":"b","queueId":1}:5}`)
	check([]byte{5, 2}, `"BQI="`)
	check([]float64{1, 0.5, 1e10, 12345678, 1e7, 9999999, 1e-5, 0.001, -2.5e-7, math.NaN(), math.Inf(1)},
		`[1.0,0.5,1.0E10,1.2345678E7,1.0E7,9999999.0,1.0E-5,0.001,-2.5E-7,null,null]`)
	if _, err := Marshal(struct{ F func() }{func() {}}); err == nil {
		t.Error("a function was written")
	}
	loop := &all{}
	loop.Next = loop
	if _, err := Marshal(loop); err == nil {
		t.Error("a loop was written")
	}
}

// Files have a member a line, and objects as keys keep that.
func TestMarshalIndent(t *testing.T) {
	got, err := MarshalIndent(map[queue]any{{"b", 1}: []int{1, 2}, {"c", 2}: map[string]int{}})
	want := "{\n\t{\n\t\t\"brokerName\":\"b\",\n\t\t\"queueId\":1\n\t}:[\n\t\t1,\n\t\t2\n\t],\n\t{\n\t\t\"brokerName\":\"c\",\n\t\t\"queueId\":2\n\t}:{}\n}"
	if err != nil || string(got) != want {
		t.Errorf("got\n%s\n%v, want\n%s", got, err, want)
	}
}

// Everything that some fastjson accepts must be accepted.
func TestUnmarshal(t *testing.T) {
	base := all{Int: 16}
	with := func(change func(*all)) all { a := base; change(&a); return a }
	for _, c := range []struct {
		name, in string
		want     all
	}{
		{"empty", ``, all{}},
		{"null", ` null `, all{}},
		{"defaults", `{}`, base},
		{"numbers in quotes", `{"int":"7","long":"-8","double":"1.5"}`, with(func(a *all) { a.Int, a.Long, a.Double = 7, -8, 1.5 })},
		{"fractions", `{"int":7.0,"long":1.0E10}`, with(func(a *all) { a.Int, a.Long = 7, 10000000000 })},
		{"null and empty numbers", `{"int":null,"long":"","double":""}`, with(func(a *all) { a.Int = 0 })},
		{"booleans", `{"bool":"TRUE"}`, with(func(a *all) { a.Bool = true })},
		{"boolean number", `{"bool":1}`, with(func(a *all) { a.Bool = true })},
		{"number for text", `{"note":12}`, with(func(a *all) { a.Note = "12" })},
		{"object for text", `{"note":{"a":[1]}}`, with(func(a *all) { a.Note = `{"a":[1]}` })},
		{"single quotes, trailing commas", `{'note':'it"s',"list":["a",],}`, with(func(a *all) { a.Note, a.List = `it"s`, []string{"a"} })},
		{"bare names", `{note:"x"}`, with(func(a *all) { a.Note = "x" })},
		{"another case", `{"NOTE":"x"}`, with(func(a *all) { a.Note = "x" })},
		{"comments", "/* { */{// }\n\"note\":/**/\"x\"}", with(func(a *all) { a.Note = "x" })},
		{"escapes", `{"note":"\u4e2d\ud83d\ude00\ud83d\t\/"}`, with(func(a *all) { a.Note = "中😀?\t/" })},
		{"bare number keys", `{"byId":{0:"a","1":"b"}}`, with(func(a *all) { a.ByID = map[int64]string{0: "a", 1: "b"} })},
		{"object keys", `{"byQueue":{{"brokerName":"b","queueId":1}:5 , {"queueId":2}:6}}`, with(func(a *all) { a.ByQueue = map[queue]int64{{"b", 1}: 5, {"", 2}: 6} })},
		{"quoted object key", `{"byQueue":{"{\"queueId\":2}":6}}`, with(func(a *all) { a.ByQueue = map[queue]int64{{"", 2}: 6} })},
		{"unknown members", `{"x":{0:[1,{}]},"y":{{"a":1}:2},"note":"n"}`, with(func(a *all) { a.Note = "n" })},
		{"unknown object key", `{{"a":1}:2,"note":"n"}`, with(func(a *all) { a.Note = "n" })},
		{"enum", `{"level":"high"}`, with(func(a *all) { a.Level = "HIGH" })},
		{"base64", `{"bytes":"BQI="}`, with(func(a *all) { a.Bytes = []byte{5, 2} })},
		{"null collections", `{"list":null,"byId":null,"next":null,"bytes":null}`, base},
		{"reference", `{"deep":{"a":{"queueId":4},"b":{"$ref":"$.deep.a"}}}`,
			with(func(a *all) { a.Deep = map[string]*queue{"a": {"", 4}, "b": {"", 4}} })},
		{"reference as key", `{"x":[{"queueId":3}],"byQueue":{{"$ref":"$.x[0]"}:9}}`, with(func(a *all) { a.ByQueue = map[queue]int64{{"", 3}: 9} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got all
			if err := Unmarshal([]byte(c.in), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// Bad data must be an error with a place, and must not cost more than it weighs.
func TestUnmarshal_Errors(t *testing.T) {
	for name, in := range map[string]string{
		"cut":              `{"note":"a`,
		"cut object":       `{"next":{"int":1`,
		"list for object":  `[]`,
		"object for list":  `{"list":{}}`,
		"word for list":    `{"list":5}`,
		"no colon":         `{"note" "a"}`,
		"overflow":         `{"int":3000000000}`,
		"not a number":     `{"long":"x"}`,
		"bad escape":       `{"note":"\q"}`,
		"rest":             `{}{}`,
		"bad base64":       `{"bytes":"*"}`,
		"deep":             strings.Repeat(`{"next":`, 100) + "{}",
		"loop":             `{"next":{"$ref":"$"}}`,
		"dangling":         `{"next":{"$ref":"$.nope[3]"}}`,
		"relative":         `{"next":{"$ref":".."}}`,
		"bomb":             `{"list":["` + strings.Repeat("x", 10000) + `"],"next":{"list":{"$ref":"$.list"},"next":{"list":{"$ref":"$.list"},"next":{"list":{"$ref":"$.list"},"next":{"list":{"$ref":"$.list"},"next":{"list":{"$ref":"$.list"}}}}}}}`,
		"many from little": `{"kids":[` + strings.Repeat(`{},`, 100000) + `]}`,
	} {
		var got all
		if err := Unmarshal([]byte(in), &got); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Reading never panics, and what was written is read back the same.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{"byQueue":{{"brokerName":"b","queueId":1}:5},"byId":{0:"a"}}`, `{"deep":{"a":{"queueId":4},"b":{"$ref":"$.deep.a"}}}`,
		`{'list':["a\u4e2d",],"next":{"int":"3"},/**/"double":1.0E10}`, `{"next":{"$ref":"$"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a, b all
		if Unmarshal(data, &a) != nil {
			return
		}
		text, err := Marshal(a)
		if err != nil {
			return // nested too deeply to be written
		}
		if err := Unmarshal(text, &b); err != nil {
			t.Fatalf("cannot read own %q: %v", text, err)
		}
		again, _ := Marshal(b)
		if string(again) != string(text) {
			t.Errorf("%q became %q", text, again)
		}
	})
}
