package protocol

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rocketd/internal/laxjson"
	"rocketd/topic"
)

type header interface {
	Fielder
	Decode([]Field) error
}

// requestHeaders has the typed header of each request code that has one, as the header table tells.
var requestHeaders = map[int32]func() header{
	10:     func() header { return new(SendMessageRequest) },
	11:     func() header { return new(PullMessageRequest) },
	12:     func() header { return new(QueryMessageRequest) },
	14:     func() header { return new(QueryConsumerOffsetRequest) },
	15:     func() header { return new(UpdateConsumerOffsetRequest) },
	17:     func() header { return new(CreateTopicRequest) },
	29:     func() header { return new(SearchOffsetRequest) },
	30:     func() header { return new(GetMaxOffsetRequest) },
	31:     func() header { return new(GetMinOffsetRequest) },
	32:     func() header { return new(GetEarliestMsgStoretimeRequest) },
	33:     func() header { return new(ViewMessageRequest) },
	35:     func() header { return new(UnregisterClientRequest) },
	36:     func() header { return new(ConsumerSendMsgBackRequest) },
	37:     func() header { return new(EndTransactionRequest) },
	38:     func() header { return new(GetConsumerListByGroupRequest) },
	39:     func() header { return new(CheckTransactionStateRequest) },
	40:     func() header { return new(NotifyConsumerIdsChangedRequest) },
	100:    func() header { return new(PutKVConfigRequest) },
	101:    func() header { return new(GetKVConfigRequest) },
	102:    func() header { return new(DeleteKVConfigRequest) },
	103:    func() header { return new(RegisterBrokerRequest) },
	104:    func() header { return new(UnRegisterBrokerRequest) },
	105:    func() header { return new(GetRouteInfoRequest) },
	202:    func() header { return new(GetTopicStatsInfoRequest) },
	203:    func() header { return new(GetConsumerConnectionListRequest) },
	204:    func() header { return new(GetProducerConnectionListRequest) },
	205:    func() header { return new(WipeWritePermOfBrokerRequest) },
	207:    func() header { return new(DeleteSubscriptionGroupRequest) },
	208:    func() header { return new(GetConsumeStatsRequest) },
	215:    func() header { return new(DeleteTopicRequest) },
	216:    func() header { return new(DeleteTopicFromNamesrvRequest) },
	217:    func() header { return new(RegisterTopicRequest) },
	219:    func() header { return new(GetKVListByNamespaceRequest) },
	222:    func() header { return new(ResetOffsetRequest) },
	223:    func() header { return new(GetConsumerStatusRequest) },
	224:    func() header { return new(GetTopicsByClusterRequest) },
	300:    func() header { return new(QueryTopicConsumeByWhoRequest) },
	303:    func() header { return new(QueryConsumeTimeSpanRequest) },
	307:    func() header { return new(GetConsumerRunningInfoRequest) },
	308:    func() header { return new(QueryCorrectionOffsetRequest) },
	309:    func() header { return new(ConsumeMessageDirectlyResultRequest) },
	314:    func() header { return new(CloneGroupOffsetRequest) },
	315:    func() header { return new(ViewBrokerStatsDataRequest) },
	317:    func() header { return new(GetConsumeStatsInBrokerRequest) },
	321:    func() header { return new(QueryConsumeQueueRequest) },
	322:    func() header { return new(QueryDataVersionRequest) },
	323:    func() header { return new(ResumeCheckHalfMessageRequest) },
	326:    func() header { return new(ReplyMessageRequest) },
	327:    func() header { return new(AddWritePermOfBrokerRequest) },
	343:    func() header { return new(QueryTopicsByConsumerRequest) },
	345:    func() header { return new(QuerySubscriptionByConsumerRequest) },
	351:    func() header { return new(GetTopicConfigRequest) },
	352:    func() header { return new(GetSubscriptionGroupConfigRequest) },
	353:    func() header { return new(UpdateGroupForbiddenRequest) },
	354:    func() header { return new(CheckRocksdbCqWriteProgressRequest) },
	355:    func() header { return new(ExportRocksDBConfigToJsonRequest) },
	370:    func() header { return new(RecallMessageRequest) },
	901:    func() header { return new(GetBrokerMemberGroupRequest) },
	902:    func() header { return new(AddBrokerRequest) },
	903:    func() header { return new(RemoveBrokerRequest) },
	904:    func() header { return new(BrokerHeartbeatRequest) },
	905:    func() header { return new(NotifyMinBrokerIdChangeRequest) },
	906:    func() header { return new(ExchangeHAInfoRequest) },
	908:    func() header { return new(ResetMasterFlushOffsetRequest) },
	1001:   func() header { return new(AlterSyncStateSetRequest) },
	1002:   func() header { return new(ElectMasterRequest) },
	1003:   func() header { return new(RegisterBrokerToControllerRequest) },
	1004:   func() header { return new(GetReplicaInfoRequest) },
	1008:   func() header { return new(NotifyBrokerRoleChangedRequest) },
	1011:   func() header { return new(CleanControllerBrokerDataRequest) },
	1012:   func() header { return new(GetNextBrokerIdRequest) },
	1013:   func() header { return new(ApplyBrokerIdRequest) },
	3001:   func() header { return new(CreateUserRequest) },
	3002:   func() header { return new(UpdateUserRequest) },
	3003:   func() header { return new(DeleteUserRequest) },
	3004:   func() header { return new(GetUserRequest) },
	3005:   func() header { return new(ListUsersRequest) },
	3006:   func() header { return new(CreateAclRequest) },
	3007:   func() header { return new(UpdateAclRequest) },
	3008:   func() header { return new(DeleteAclRequest) },
	3009:   func() header { return new(GetAclRequest) },
	3010:   func() header { return new(ListAclsRequest) },
	200050: func() header { return new(PopMessageRequest) },
	200051: func() header { return new(AckMessageRequest) },
	200052: func() header { return new(PeekMessageRequest) },
	200053: func() header { return new(ChangeInvisibleTimeRequest) },
	200054: func() header { return new(NotificationRequest) },
	200055: func() header { return new(PollingInfoRequest) },
	200070: func() header { return new(PopLiteMessageRequest) },
	200073: func() header { return new(NotifyUnsubscribeLiteRequest) },
	200075: func() header { return new(GetParentTopicInfoRequest) },
	200076: func() header { return new(GetLiteTopicInfoRequest) },
	200077: func() header { return new(GetLiteClientInfoRequest) },
	200078: func() header { return new(GetLiteGroupInfoRequest) },
	200079: func() header { return new(TriggerLiteDispatchRequest) },
}

func lines(t *testing.T, name string) [][]byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(text), []byte{'\n'})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ext returns the fields of a command as a map, nil if there are none.
func ext(c *Command) map[string]string {
	var m map[string]string
	for _, f := range c.Fields {
		if m == nil {
			m = map[string]string{}
		}
		m[string(f.Key)] = string(f.Value)
	}
	return m
}

// present drops nulls, and in the binary form empty values, which it cannot tell from them.
func present(all map[string]*string, form Form) map[string]string {
	var m map[string]string
	for k, v := range all {
		if v == nil || *v == "" && form == Binary {
			continue
		}
		if m == nil {
			m = map[string]string{}
		}
		m[k] = *v
	}
	return m
}

// decodeWhole reads a frame with its length word and leaves the frame as it is.
func decodeWhole(t *testing.T, frame []byte) *Command {
	t.Helper()
	if n, err := FrameLength(frame, 0); err != nil || n != len(frame) {
		t.Fatalf("FrameLength = %d, %v, want %d", n, err, len(frame))
	}
	c := &Command{}
	if err := c.Decode(bytes.Clone(frame[4:])); err != nil {
		t.Fatalf("%v in %q", err, frame)
	}
	return c
}

// Frames of Java servers and clients must read as Java read them, and come out of the encoder as they went in.
func TestFrames_Java(t *testing.T) {
	for _, line := range lines(t, "testdata/frames.jsonl.gz") {
		var v struct {
			Code, RespCode    int32
			Name, Serialize   string
			RespRemark        string
			ReqExt, RespExt   map[string]*string
			Request, Response string
			Oneway            bool
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		form := JSON
		if v.Serialize == "ROCKETMQ" {
			form = Binary
		}
		check := func(frame string, code int32, fields map[string]*string) *Command {
			t.Helper()
			raw := unhex(t, frame)
			c := decodeWhole(t, raw)
			if want := present(fields, c.Form); !reflect.DeepEqual(ext(c), want) {
				t.Errorf("%s: fields %v, want %v", v.Name, ext(c), want)
			}
			if c.Form == Binary {
				code = int32(int16(code))
			}
			if c.Code != code {
				t.Errorf("%s: code %d, want %d", v.Name, c.Code, code)
			}
			// Java writes empty extFields and remarks, and empty values that the binary form forgets; we write none of them.
			if len(c.Fields) == len(fields) && !bytes.Contains(raw, []byte(`"extFields":{}`)) && !bytes.Contains(raw, []byte(`"remark":""`)) {
				if got := c.Append(nil); !bytes.Equal(got, raw) {
					t.Errorf("%s: encoded as\n%q, want\n%q", v.Name, got, raw)
				}
			} else if again := decodeWhole(t, c.Append(nil)); !reflect.DeepEqual(ext(again), ext(c)) || !bytes.Equal(again.Body, c.Body) {
				t.Errorf("%s: came back as %+v", v.Name, again)
			}
			return c
		}
		req := check(v.Request, v.Code, v.ReqExt)
		if req.Form != form || req.IsResponse() || req.IsOneway() != v.Oneway {
			t.Errorf("%s: %+v", v.Name, req)
		}
		if v.Response == "" {
			continue
		}
		res := check(v.Response, v.RespCode, v.RespExt)
		if !res.IsResponse() || res.Opaque != req.Opaque || res.Remark != v.RespRemark {
			t.Errorf("%s: answer %+v", v.Name, res)
		}
		if v.RespCode == Success {
			checkTyped(t, v.Name, v.Code, req)
		}
	}
}

// checkTyped decodes the fields of a request that Java answered with success into its header type, and back.
func checkTyped(t *testing.T, name string, code int32, c *Command) {
	t.Helper()
	make := requestHeaders[code]
	if make == nil {
		return
	}
	h := make()
	if err := h.Decode(c.Fields); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	w := NewFrame(nil, JSON, code, 0, 0, "")
	h.AppendFields(&w)
	again := make()
	if err := again.Decode(decodeWhole(t, w.Finish()).Fields); err != nil || !reflect.DeepEqual(again, h) {
		t.Errorf("%s: %+v came back as %+v, %v", name, h, again, err)
	}
}

// Headers of both forms with all fields, and odd JSON headers, must read as in Java.
func TestHeaders_Java(t *testing.T) {
	for _, line := range lines(t, "testdata/headers.jsonl") {
		var v struct {
			Kind, Hex, Text string
			Language        string
			Opaque, Flag    int32
			Version         int32
			DecodedCode     int32
			DecodedRemark   string
			DecodedExt      map[string]*string
			Body            *string
			Result          json.RawMessage
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		if v.Kind == "headerDecode" {
			checkOdd(t, v.Text, v.Result)
			continue
		}
		raw := unhex(t, v.Hex)
		c := decodeWhole(t, raw)
		if c.Code != v.DecodedCode || c.Remark != v.DecodedRemark || c.Opaque != v.Opaque || c.Flag != v.Flag ||
			c.Version != v.Version || c.Language.String() != v.Language || !reflect.DeepEqual(ext(c), present(v.DecodedExt, c.Form)) {
			t.Errorf("%s\nreads as %+v, fields %v", line, c, ext(c))
		}
		if c.Version != 0 && len(c.Fields) == len(v.DecodedExt) && len(c.Fields) > 0 && !bytes.Contains(raw, []byte(`"remark":""`)) {
			if got := c.Append(nil); !bytes.Equal(got, raw) {
				t.Errorf("encoded as\n%q, want\n%q", got, raw)
			}
		}
	}
}

func checkOdd(t *testing.T, text string, result []byte) {
	t.Helper()
	frame := append([]byte{0, 0, byte(len(text) >> 8), byte(len(text))}, text...)
	var c Command
	err := c.Decode(frame)
	var want struct {
		Code, Opaque, Version, Flag int32
		Language                    string
		Remark                      string
		Ext                         map[string]*string
	}
	if json.Unmarshal(result, &want) != nil {
		if err == nil {
			t.Errorf("%s reads as %+v, Java says %s", text, c, result)
		}
		return
	}
	if want.Language == "null" {
		want.Language = "OTHER"
	}
	if !strings.Contains(text, "opaque") {
		want.Opaque = 0 // Java counts up a number of its own
	}
	if err != nil || c.Code != want.Code || c.Opaque != want.Opaque || c.Version != want.Version || c.Flag != want.Flag ||
		c.Remark != want.Remark || c.Language.String() != want.Language || !reflect.DeepEqual(ext(&c), present(want.Ext, JSON)) {
		t.Errorf("%s reads as %+v, %v, Java says %s", text, c, err, result)
	}
}

// javaBodies has our type for each class of the vectors.
var javaBodies = map[string]func() any{
	"ConsumeStats":                   func() any { return new(ConsumeStats) },
	"TopicStatsTable":                func() any { return new(TopicStatsTable) },
	"ResetOffsetBody":                func() any { return new(ResetOffsetBody) },
	"GetConsumerStatusBody":          func() any { return new(GetConsumerStatusBody) },
	"ConsumerOffsetSerializeWrapper": func() any { return new(ConsumerOffsetSerializeWrapper) },
	"TopicRouteData":                 func() any { return new(TopicRouteData) },
	"ClusterInfo":                    func() any { return new(ClusterInfo) },
	"SubscriptionGroupWrapper":       func() any { return new(SubscriptionGroupWrapper) },
	"SubscriptionGroupConfig":        func() any { return new(topic.GroupConfig) },
	"TopicConfig":                    func() any { return new(topic.Config) },
	"TopicConfigSerializeWrapper":    func() any { return new(TopicConfigSerializeWrapper) },
	"LockBatchRequestBody":           func() any { return new(LockBatchRequestBody) },
	"LockBatchResponseBody":          func() any { return new(LockBatchResponseBody) },
	"HeartbeatData":                  func() any { return new(HeartbeatData) },
	"ConsumerConnection":             func() any { return new(ConsumerConnection) },
	"TopicList":                      func() any { return new(TopicList) },
	"KVTable":                        func() any { return new(KVTable) },
	"RegisterBrokerBody":             func() any { return new(RegisterBrokerBody) },
}

// Bodies must be written as Java writes them, compact and in files, and read as Java reads them.
func TestBodies_Java(t *testing.T) {
	seen := map[string]bool{}
	for _, line := range lines(t, "testdata/json-bodies.jsonl") {
		var v struct {
			Kind, Class, Text, PrettyText string
			Reencoded                     *string
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		make := javaBodies[v.Class]
		if make == nil {
			continue
		}
		seen[v.Class] = true
		body := make()
		err := laxjson.Unmarshal([]byte(v.Text), body)
		switch v.Kind {
		case "encode", "encodeStandard":
			if err != nil {
				t.Errorf("%s: %v", v.Class, err)
				continue
			}
			var options []laxjson.Option
			if v.Kind == "encodeStandard" {
				options = append(options, laxjson.QuoteKeys)
			}
			text, err := laxjson.Marshal(body, options...)
			checkText(t, v.Class, text, err, v.Text)
			if v.PrettyText != "" {
				text, err = laxjson.MarshalIndent(body)
				checkText(t, v.Class, text, err, v.PrettyText)
			}
		case "decode":
			checkDecoded(t, v.Class, v.Text, err, v.Reencoded, body, make())
		}
	}
	if len(seen) != len(javaBodies) {
		t.Errorf("vectors for %d classes of %d", len(seen), len(javaBodies))
	}
}

// checkText compares texts. Java's maps come in hash order, ours are sorted: then the same members must be there.
func checkText(t *testing.T, class string, got []byte, err error, want string) {
	t.Helper()
	sorted := func(s string) string {
		b := []byte(s)
		slices.Sort(b)
		return string(b)
	}
	ordered := class != "TopicStatsTable" && class != "GetConsumerStatusBody"
	if err != nil || string(got) != want && (ordered || sorted(string(got)) != sorted(want)) {
		t.Errorf("%s: %v\n%s\nJava writes\n%s", class, err, got, want)
	}
}

// checkDecoded compares what we read with what Java read and wrote again. We take more than Java 5.5: what 5.3 took.
func checkDecoded(t *testing.T, class, text string, err error, reencoded *string, body, want any) {
	t.Helper()
	if reencoded == nil || strings.HasPrefix(*reencoded, "error:") {
		lenient := strings.Contains(text, "{offsetTable:") || strings.Contains(text, `{"{\"`)
		if reencoded != nil && !lenient && err == nil {
			t.Errorf("%s: %s was read, Java says %s", class, text, *reencoded)
		}
		return
	}
	if strings.Contains(text, "OffsetTable") && class == "ConsumerOffsetSerializeWrapper" {
		*reencoded = text // another case counts for us, as for 5.3
	}
	if e := laxjson.Unmarshal([]byte(*reencoded), want); e != nil {
		t.Fatal(e)
	}
	got, gotErr := laxjson.Marshal(body)
	again, e := laxjson.Marshal(want) // null collections come back as empty ones
	if err != nil || gotErr != nil || e != nil || string(got) != string(again) && string(got) != *reencoded {
		t.Errorf("%s: %s\nreads as %s, %v, Java reads %s", class, text, got, err, again)
	}
}
