package protocol

import (
	"bytes"
	"testing"
)

// sendV2 is a SEND_MESSAGE_V2 as the Java client writes it, with a header of 346 bytes in the JSON form.
func sendV2(form Form) []byte {
	h := SendMessageRequest{
		ProducerGroup: []byte("ProducerGroupName"), Topic: []byte("TopicBenchmark"), DefaultTopic: []byte("TBW102"), DefaultTopicQueueNums: 4,
		QueueID: 3, BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x01C000020A2B104E0E2F2A7BD290900012\x02WAIT\x01true"),
		ReconsumeTimes: Some[int32](0), UnitMode: Some(false), Batch: Some(false), RPC: RPC{Broker: []byte("broker-a")},
	}
	w := NewFrame(nil, form, SendMessageV2, 12345, 0, "")
	(*SendMessageRequestV2)(&h).AppendFields(&w)
	return w.Finish()[4:]
}

func forms(b *testing.B, run func(b *testing.B, form Form)) {
	b.Run("json", func(b *testing.B) { run(b, JSON) })
	b.Run("binary", func(b *testing.B) { run(b, Binary) })
}

func BenchmarkCommand_Decode(b *testing.B) {
	forms(b, func(b *testing.B, form Form) {
		frame := sendV2(form)
		work := bytes.Clone(frame)
		var c Command
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			copy(work, frame) // decoding undoes escapes in place
			if err := c.Decode(work); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSendMessageRequest_DecodeV2(b *testing.B) {
	var c Command
	if err := c.Decode(sendV2(JSON)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var h SendMessageRequest
	for b.Loop() {
		if err := h.DecodeV2(c.Fields); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrameWriter_SendAnswer(b *testing.B) {
	forms(b, func(b *testing.B, form Form) {
		h := SendMessageResponse{MsgID: []byte("C0A80001000026FC000000000000ABCD"), QueueID: 3, QueueOffset: 123456, TransactionID: []byte("C000020A2B104E0E2F2A7BD290900012")}
		buf := make([]byte, 0, 512)
		b.ReportAllocs()
		for b.Loop() {
			w := NewFrame(buf[:0], form, Success, 12345, flagResponse, "")
			h.AppendFields(&w)
			buf = w.Finish()
		}
	})
}

// A plain send must cost no allocation from the frame to the answer.
func TestSend_Allocations(t *testing.T) {
	for _, form := range []Form{JSON, Binary} {
		frame := sendV2(form)
		work, out := bytes.Clone(frame), make([]byte, 0, 512)
		var c Command
		var h SendMessageRequest
		run := func() {
			copy(work, frame)
			if err := c.Decode(work); err != nil {
				t.Fatal(err)
			}
			if err := h.DecodeV2(c.Fields); err != nil {
				t.Fatal(err)
			}
			res := SendMessageResponse{MsgID: h.Topic, QueueID: h.QueueID, QueueOffset: 5}
			w := NewFrame(out[:0], form, Success, c.Opaque, flagResponse, "")
			res.AppendFields(&w)
			out = w.Finish()
		}
		run() // the fields grow once
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("form %d: %v allocations", form, n)
		}
	}
}

func BenchmarkHeartbeatData_Unmarshal(b *testing.B) {
	h := HeartbeatData{ClientID: "192.0.2.10@1", ProducerDataSet: []ProducerData{{"CLIENT_INNER_PRODUCER"}}}
	for _, name := range []string{"TopicA", "%RETRY%g"} {
		h.ConsumerDataSet = append(h.ConsumerDataSet, ConsumerData{GroupName: "g", MessageModel: Clustering, ConsumeType: ConsumePassively,
			ConsumeFromWhere: FromLastOffset, SubscriptionDataSet: []SubscriptionData{{Topic: name, SubString: "*", ExpressionType: "TAG", SubVersion: 1700000000000}}})
	}
	body, err := h.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var d HeartbeatData
		if err := d.Unmarshal(body); err != nil {
			b.Fatal(err)
		}
	}
}
