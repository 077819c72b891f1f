package protocol

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func fieldsOf(pairs ...string) (fields []Field) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, Field{[]byte(pairs[i]), []byte(pairs[i+1])})
	}
	return fields
}

// Both versions of a send must decode into the same header.
func TestSendMessageRequest_Versions(t *testing.T) {
	long := fieldsOf("producerGroup", "g", "topic", "T", "defaultTopic", "TBW102", "defaultTopicQueueNums", "4", "queueId", "-1", "sysFlag", "1",
		"bornTimestamp", "1700000000000", "flag", "2", "properties", "K\x01v", "reconsumeTimes", "3", "unitMode", "true", "maxReconsumeTimes", "16",
		"batch", "TRUE", "bname", "b", "unknown", "x")
	short := fieldsOf("a", "g", "b", "T", "c", "TBW102", "d", "4", "e", "-1", "f", "1", "g", "1700000000000", "h", "2", "i", "K\x01v",
		"j", "3", "k", "true", "l", "16", "m", "true", "n", "b")
	var one, two SendMessageRequest
	if err := one.Decode(long); err != nil {
		t.Fatal(err)
	}
	if err := two.DecodeV2(short); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(one, two) || one.QueueID != -1 || !one.Batch.V || one.MaxReconsumeTimes != Some[int32](16) || string(one.RPC.Broker) != "b" {
		t.Errorf("%+v\n%+v", one, two)
	}
	w := NewFrame(nil, JSON, SendMessageV2, 0, 0, "")
	(*SendMessageRequestV2)(&one).AppendFields(&w)
	d := decodeWhole(t, w.Finish())
	var again SendMessageRequest
	if err := again.DecodeV2(d.Fields); err != nil || !reflect.DeepEqual(again, one) {
		t.Errorf("came back as %+v, %v", again, err)
	}
}

// What is mandatory must be there and numbers must be numbers; the error says which field is meant.
func TestHeader_Decode_Errors(t *testing.T) {
	check := func(part string, pairs ...string) {
		t.Helper()
		var h GetMaxOffsetRequest
		err := h.Decode(fieldsOf(pairs...))
		var known *Error
		if !errors.As(err, &known) || known.Code != SystemError || !strings.Contains(known.Remark, part) {
			t.Errorf("%v: %v, want a system error about %s", pairs, err, part)
		}
	}
	check("<topic>")
	check("<queueId> of GetMaxOffsetRequestHeader is missing", "topic", "T")
	check("<queueId>", "topic", "T", "queueId", "")
	check("not a number", "topic", "T", "queueId", "four")
	check("not a number", "topic", "T", "queueId", "4294967296")
	check("not a number", "topic", "T", "queueId", strings.Repeat("9", 1000))
}

// Defaults of Java must hold for fields that are absent, in either form of absence.
func TestHeader_Decode_Defaults(t *testing.T) {
	var h GetMaxOffsetRequest
	if err := h.Decode(fieldsOf("topic", "T", "queueId", "1")); err != nil || !h.Committed {
		t.Errorf("%+v, %v", h, err)
	}
	if err := h.Decode(fieldsOf("topic", "T", "queueId", "1", "committed", "no")); err != nil || h.Committed {
		t.Errorf("%+v, %v", h, err)
	}
	var s SearchOffsetRequest
	if err := s.Decode(fieldsOf("topic", "T", "queueId", "1", "timestamp", "5", "boundaryType", "upper")); err != nil || s.BoundaryType != Upper {
		t.Errorf("%+v, %v", s, err)
	}
	if err := s.Decode(fieldsOf("topic", "T", "queueId", "1", "timestamp", "5", "lo", "true", "ns", "n", "nsd", "x", "oway", "TRUE")); err != nil ||
		s.BoundaryType != Lower || !s.RPC.Logical.V || string(s.RPC.Namespace) != "n" || s.RPC.Namespaced != Some(false) || !s.RPC.Oneway.V {
		t.Errorf("%+v, %v", s, err)
	}
	if (Opt[int32]{}).Or(7) != 7 || Some[int32](3).Or(7) != 3 {
		t.Error("Or is wrong")
	}
}

func TestDataVersion(t *testing.T) {
	v := DataVersion{Counter: 1, StateVersion: 2, Timestamp: 3}
	for _, w := range []DataVersion{{0, 3, 0}, {2, 2, 0}, {1, 2, 4}} {
		if v.Compare(w) != -1 || w.Compare(v) != 1 || v.Equal(w) {
			t.Errorf("%+v is not older than %+v", v, w)
		}
	}
	if v.Compare(v) != 0 || !v.Equal(v) {
		t.Error("a version differs from itself")
	}
}
