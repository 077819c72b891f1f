package inspect

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// Groups that are ahead of their queues are found in both files, light ones too.
func TestStore_Verify_Offsets(t *testing.T) {
	dir := ownStore(t)
	write(t, filepath.Join(dir, "config", "consumerOffset.json"), `{"offsetTable":{"topicA@g":{0:900000,1:7},"topicB@g@broadcast":{1:900001}}}`)
	write(t, filepath.Join(dir, "config", "lmqConsumerOffset.json"),
		`{"lmqOffsetTable":{"topicA@%LMQ%g":900002,"topicB@%LMQ%g":3,"none@%LMQ%g":900003},"offsetTable":{"topicA@h":{1:900004}}}`)
	var got []string
	for _, f := range verify(t, Config{Dir: dir}).Findings {
		if f.Kind == KindOffset {
			got = append(got, fmt.Sprintf("%s %s/%d %d", f.File, f.Topic, *f.Queue, *f.Offset))
		}
	}
	slices.Sort(got)
	want := []string{
		"config/consumerOffset.json topicA/0 900000", "config/consumerOffset.json topicB/1 900001",
		"config/lmqConsumerOffset.json topicA/0 900002", "config/lmqConsumerOffset.json topicA/1 900004",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
