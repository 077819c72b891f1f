package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A command must come back from either form as it went in.
func TestCommand_Append_RoundTrip(t *testing.T) {
	for _, form := range []Form{JSON, Binary} {
		c := Command{Code: 310, Language: LanguageCPP, Version: 317, Opaque: -5, Flag: 2, Remark: "a\"\\\n\x01中", Form: form, Body: []byte("body")}
		c.Set("topic", "T中")
		c.Set("pr\"ops", "KEYS\x01k\x02")
		frame := c.Append([]byte("before"))[6:]
		d := decodeWhole(t, frame)
		if v, _ := d.Get("pr\"ops"); string(v) != "KEYS\x01k\x02" || d.Remark != c.Remark || d.Opaque != -5 || !d.IsOneway() ||
			string(d.Body) != "body" || d.Language != LanguageCPP || d.Version != 317 || d.Code != 310 {
			t.Errorf("form %d: got %+v", form, d)
		}
		if b := d.Append(nil); !bytes.Equal(b, frame) {
			t.Errorf("form %d: encoded again\n%q, want\n%q", form, b, frame)
		}
	}
}

// A clone must not change with the frame that it was decoded from, and Set must replace.
func TestCommand_Clone(t *testing.T) {
	c := Command{Body: []byte("body")}
	c.Set("k", "old")
	frame := c.Append(nil)
	d := Command{}
	if err := d.Decode(frame[4:]); err != nil {
		t.Fatal(err)
	}
	e := d.Clone()
	clear(frame)
	e.Set("k", "new")
	e.Set("l", "more")
	if v, ok := e.Get("k"); !ok || string(v) != "new" || string(e.Body) != "body" || len(e.Fields) != 2 {
		t.Errorf("got %+v", e)
	}
	if _, ok := e.Get("x"); ok {
		t.Error("a field that is not there was found")
	}
}

// A request of ours must carry its typed header, our language and our version.
func TestNewRequest(t *testing.T) {
	h := GetRouteInfoRequest{Topic: []byte("T\x01"), AcceptStandardJsonOnly: Some(true)}
	c := NewRequest(GetRouteinfoByTopic, &h, []byte("body"))
	c.Opaque = 7
	d := decodeWhole(t, c.Append(nil))
	var again GetRouteInfoRequest
	if err := again.Decode(d.Fields); err != nil {
		t.Fatal(err)
	}
	if d.Code != 105 || d.Opaque != 7 || d.Language != LanguageGo || d.Version != Version || string(again.Topic) != "T\x01" ||
		again.AcceptStandardJsonOnly != Some(true) || string(d.Body) != "body" || d.IsResponse() {
		t.Errorf("got %+v, header %+v", d, again)
	}
}

func TestFrameLength(t *testing.T) {
	check := func(n uint32, limit, total int) {
		t.Helper()
		got, err := FrameLength([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, limit)
		if got != total || (err != nil) != (total == 0) || err != nil && !errors.Is(err, ErrFrameLength) {
			t.Errorf("length %d, limit %d: %d, %v, want %d", n, limit, got, err, total)
		}
	}
	check(3, 0, 0)
	check(4, 0, 8)
	check(MaxFrame-4, 0, MaxFrame)
	check(MaxFrame-3, 0, 0)
	check(96, 100, 100)
	check(97, 100, 0)
	check(1<<31, 0, 0)
	check(1<<32-1, 0, 0)
}

// jsonFrame is a frame without its length word around a JSON header.
func jsonFrame(header string) []byte {
	n := len(header)
	return append([]byte{byte(JSON), byte(n >> 16), byte(n >> 8), byte(n)}, header...)
}

// JSON headers may be odd in many ways.
func TestCommand_Decode_LenientJSON(t *testing.T) {
	for _, c := range []struct{ name, header, want string }{
		{"order", `{"version":3,"opaque":-4,"flag":2,"extFields":{"b":"2","a":"1"},"code":1}`, "1 JAVA 3 -4 2 '' b=2 a=1"},
		{"white space", " {\n\t\"code\" :\r1 , \"extFields\" : { \"a\" : \"1\" } } ", "1 JAVA 0 0 0 '' a=1"},
		{"escapes", `{"remark":"\"\\\/\b\f\n\r\t\u0001\u00e9\u4e2d\ud83d\ude00","extFields":{"\u0061":"x\u0001y\u0002"}}`, "0 JAVA 0 0 0 '\"\\/\b\f\n\r\t\x01é中😀' a=x\x01y\x02"},
		{"half pairs", `{"remark":"\ud83d-\ude00\ud83d\u0041"}`, "0 JAVA 0 0 0 '?-??A'"},
		{"nulls", `{"code":null,"remark":null,"extFields":null,"language":null,"flag":""}`, "0 JAVA 0 0 0 ''"},
		{"null field", `{"extFields":{"a":null,"b":"","c":"null"}}`, "0 JAVA 0 0 0 '' b= c=null"},
		{"numbers and booleans", `{"code":"17","opaque":"-2","flag":2.0,"extFields":{"n":-1.5e3,"b":true}}`, "17 JAVA 0 -2 2 '' n=-1.5e3 b=true"},
		{"objects as values", `{"extFields":{"o":{"k":["}",1]},"l":[1]},"x":{0:[{}]},"code":1}`, `1 JAVA 0 0 0 '' o={"k":["}",1]} l=[1]`},
		{"quotes and commas", `{'code':1,'extFields':{'a':'it"s',},}`, "1 JAVA 0 0 0 '' a=it\"s"},
		{"language", `{"language":"node_js"}`, "0 NODE_JS 0 0 0 ''"},
		{"language number", `{"language":9}`, "0 GO 0 0 0 ''"},
		{"language unknown", `{"language":"KLINGON"}`, "0 OTHER 0 0 0 ''"},
		{"twice", `{"code":1,"code":2,"extFields":{"a":"1"},"extFields":{"b":"2"}}`, "2 JAVA 0 0 0 '' b=2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Command
			if err := d.Decode(jsonFrame(c.header)); err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %s %d %d %d '%s'", d.Code, d.Language, d.Version, d.Opaque, d.Flag, d.Remark)
			for _, f := range d.Fields {
				got += fmt.Sprintf(" %s=%s", f.Key, f.Value)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A frame that makes no sense is an error, never a panic.
func TestCommand_Decode_Errors(t *testing.T) {
	many := `{"extFields":{` + strings.Repeat(`"a":"",`, maxFields+1) + `}}`
	var manyBinary []byte
	for range maxFields + 1 {
		manyBinary = append(manyBinary, 0, 1, 'k', 0, 0, 0, 1, 'v')
	}
	binary := func(tail ...byte) []byte {
		b := append(make([]byte, 13), tail...)
		return append([]byte{1, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	n := len(manyBinary)
	for name, frame := range map[string][]byte{
		"empty":            {},
		"short":            {0, 0, 0},
		"header too long":  {0, 0, 0, 3, '{', '}'},
		"unknown form":     {2, 0, 0, 0},
		"no object":        jsonFrame(`[]`),
		"nothing":          jsonFrame(``),
		"cut":              jsonFrame(`{"code":1`),
		"cut string":       jsonFrame(`{"remark":"abcdefgh`),
		"cut escape":       jsonFrame(`{"remark":"\`),
		"bad escape":       jsonFrame(`{"remark":"\q"}`),
		"bad unicode":      jsonFrame(`{"remark":"\u12g4"}`),
		"no colon":         jsonFrame(`{"code" 1}`),
		"no value":         jsonFrame(`{"code":}`),
		"bare name":        jsonFrame(`{code:1}`),
		"overflow":         jsonFrame(`{"code":2147483648}`),
		"not a number":     jsonFrame(`{"opaque":"x"}`),
		"fields in a list": jsonFrame(`{"extFields":[]}`),
		"rest":             jsonFrame(`{}x`),
		"cut nested":       jsonFrame(`{"x":[{"y":"z"}`),
		"many fields":      jsonFrame(many),
		"binary short":     {1, 0, 0, 2, 0, 0},
		"remark too long":  binary(0, 0, 0, 5, 0, 0, 0, 0),
		"remark negative":  binary(255, 255, 255, 255, 0, 0, 0, 0),
		"ext too long":     binary(0, 0, 0, 0, 0, 0, 0, 1),
		"ext cut":          binary(0, 0, 0, 0, 0, 0, 0, 1, 0),
		"key too long":     binary(0, 0, 0, 0, 0, 0, 0, 3, 0, 2, 'k'),
		"value missing":    binary(0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 'k'),
		"value too long":   binary(0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 'k', 0, 0, 0, 2, 'v'),
		"many in binary":   binary(append([]byte{0, 0, 0, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}, manyBinary...)...),
	} {
		var c Command
		if err := c.Decode(frame); !errors.Is(err, ErrFrameHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An answer must fit the frame format whatever a client made us quote.
func TestFrameWriter_LongRemark(t *testing.T) {
	for _, form := range []Form{JSON, Binary} {
		w := NewFrame(nil, form, 1, 2, flagResponse, strings.Repeat("\x01", MaxFrame))
		d := decodeWhole(t, w.Finish())
		if len(d.Remark) != maxRemark || !d.IsResponse() || len(d.Fields) != 0 {
			t.Errorf("form %d: remark of %d bytes, %d fields", form, len(d.Remark), len(d.Fields))
		}
	}
}

// Bodies may be written in place.
func TestFrameWriter_Buf(t *testing.T) {
	for _, form := range []Form{JSON, Binary} {
		w := NewFrame([]byte("before"), form, 0, 2, flagResponse, "")
		w.Int("n", -1<<63)
		w.Bool("b", true)
		w.Bytes("s", []byte{})
		w.Body()
		buf := w.Buf()
		*buf = append(*buf, "records"...)
		w.Append([]byte("+more"))
		d := decodeWhole(t, w.Finish()[6:])
		n, _ := d.Get("n")
		b, _ := d.Get("b")
		_, s := d.Get("s")
		if string(d.Body) != "records+more" || string(n) != "-9223372036854775808" || string(b) != "true" || s != (form == JSON) {
			t.Errorf("form %d: got %+v", form, d)
		}
	}
}

func TestParseInt(t *testing.T) {
	check := func(s string, want int64, ok bool) {
		t.Helper()
		if got, is := parseInt([]byte(s)); is != ok || ok && got != want {
			t.Errorf("%q: %d, %v, want %d, %v", s, got, is, want, ok)
		}
	}
	check("0", 0, true)
	check("-0", 0, true)
	check("+17", 17, true)
	check("9223372036854775807", 1<<63-1, true)
	check("-9223372036854775808", -1<<63, true)
	check("9223372036854775808", 0, false)
	check("-9223372036854775809", 0, false)
	check("99999999999999999999", 0, false)
	check("-000000000000000000000012", -12, true)
	check("000000000000000000000-12", 0, false)
	check("", 0, false)
	check("-", 0, false)
	check("--1", 0, false)
	check("1 ", 0, false)
	check("0x1", 0, false)
	if _, ok := parseInt32([]byte("2147483648")); ok {
		t.Error("2147483648 is no int32")
	}
	if n, ok := parseInt32([]byte("-2147483648")); !ok || n != -1<<31 {
		t.Error("-2147483648 is an int32")
	}
}

func TestLanguage(t *testing.T) {
	for i := range languageNames {
		l := Language(i)
		if ParseLanguage([]byte(l.String())) != l || ParseLanguage([]byte(strings.ToLower(l.String()))) != l || ParseLanguage(fmt.Append(nil, i)) != l {
			t.Errorf("%s is read as another", l)
		}
	}
	if Language(200).String() != "OTHER" || ParseLanguage([]byte("14")) != LanguageOther || ParseLanguage(nil) != LanguageOther {
		t.Error("an unknown language is not OTHER")
	}
}

func TestRequestName(t *testing.T) {
	if RequestName(SendMessageV2) != "send_message_v2" || RequestName(PopMessage) != "pop_message" || RequestName(-7) != "" {
		t.Error("wrong name")
	}
}

// Decoding never panics or reads past the end, and what was decoded comes back from either form.
func FuzzCommand_Decode(f *testing.F) {
	seed := Command{Code: 310, Version: 3, Remark: "r\n", Body: []byte("b")}
	seed.Set("a", "x\x01")
	seed.Set("中", "")
	f.Add(seed.Append(nil)[4:])
	seed.Form = Binary
	f.Add(seed.Append(nil)[4:])
	f.Add(jsonFrame(`{'code':"1",'extFields':{"a":"\ud83d\ude00\u0041","n":1.5,"o":{"k":[1,"}"]}},"language":9,}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var c Command
		if c.Decode(bytes.Clone(frame)) != nil {
			return
		}
		if c.Version == 0 {
			c.Version = 1 // 0 stands for our own
		}
		if len(c.Remark) > maxRemark {
			return
		}
		for _, form := range []Form{JSON, Binary} {
			c.Form = form
			var d Command
			if err := d.Decode(c.Append(nil)[4:]); err != nil {
				t.Fatalf("form %d: cannot read own frame: %v", form, err)
			}
			code := c.Code
			want := listed(&c)
			if form == Binary {
				code = int32(int16(code))
				want = filled(want)
			}
			got := listed(&d)
			if d.Code != code || d.Remark != c.Remark || !bytes.Equal(d.Body, c.Body) || d.Opaque != c.Opaque || d.Flag != c.Flag || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("form %d: %+v came back as %+v", form, c, d)
			}
		}
		for _, make := range requestHeaders {
			h := make()
			if h.Decode(c.Fields) == nil {
				w := NewFrame(nil, JSON, 0, 0, 0, "")
				h.AppendFields(&w)
				var d Command
				if err := d.Decode(w.Finish()[4:]); err != nil {
					t.Fatal(err)
				}
				if err := make().Decode(d.Fields); err != nil {
					t.Fatalf("%T: %v", h, err)
				}
			}
		}
	})
}

// listed and filled list fields in order, all of them or those that the binary form can say.
func listed(c *Command) (list []string) {
	for _, f := range c.Fields {
		list = append(list, string(f.Key)+"="+string(f.Value))
	}
	return list
}

func filled(all []string) (list []string) {
	for _, s := range all {
		if !strings.HasSuffix(s, "=") && strings.Index(s, "=") < 1<<15 {
			list = append(list, s)
		}
	}
	return list
}
