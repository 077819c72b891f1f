package pop

import (
	"os"
	"testing"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/topic"
)

// A file that Java's broker wrote (the store "clean" of the golden data) is taken up: message 0 is acknowledged, message 1 was
// made invisible longer. What is written of it says the same.
func TestService_Orders_Java(t *testing.T) {
	file, err := os.ReadFile("testdata/consumerOrderInfo.json")
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, nil)
	d.topics["GaPopOrder"], d.groups["GaPopOrderG"] = topic.NewConfig("GaPopOrder", 1), topic.NewGroupConfig("GaPopOrderG")
	w, err := d.fs.OpenFile("/store/config/consumerOrderInfo.json", os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d.now = time.UnixMilli(1795567564200)
	d.restart(false)
	c := d.svc.shelf([]byte("GaPopOrderG"), []byte("GaPopOrder")).cursor(0)
	want(t, "blocked", c.blocked("", 1795568164094), true) // until the one that was changed is visible
	want(t, "free", c.blocked("", 1795568364125), false)
	want(t, "the same attempt", c.blocked("attempt-1", d.now.UnixMilli()), false)
	var was, is orderFile
	if err := laxjson.Unmarshal(file, &was); err != nil {
		t.Fatal(err)
	}
	text, err := laxjson.Marshal(d.svc.orderTable(d.now))
	if err != nil {
		t.Fatal(err)
	}
	if err := laxjson.Unmarshal(text, &is); err != nil {
		t.Fatal(err)
	}
	before, _ := laxjson.Marshal(was)
	after, _ := laxjson.Marshal(is)
	want(t, "written again", string(after), string(before))
	want(t, "text", string(text), `{"table":{"GaPopOrder@GaPopOrderG":{0:{"a":"attempt-1","cm":1,"i":600000,"l":1795567564096,"o":[0,1,2],"ot":{1:1795568364125},"popTime":1795567564094}}}}`)
}
